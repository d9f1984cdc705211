"""Asking for documents, with patience while the model is being loaded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.cli.client import Client, Refused
from runtime.cli.output import snippet

WARMING_SECONDS = 90.0


def ask(client: Client, text: str, count: int, index: str = "default") -> dict[str, Any]:
    """The answer of /search; 503 (the model is warming up) is asked again for a while. Raises Refused."""
    until = time.monotonic() + WARMING_SECONDS
    while True:
        try:
            answer: dict[str, Any] = client.get("/search", q=text, k=str(count), index=index)
            return answer
        except Refused as error:
            if error.status != 503 or time.monotonic() > until:
                raise
        time.sleep(0.5)


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """One line per result: score, place, and the beginning of the text."""
    for hit in answer["results"]:
        yield f"{hit['score']:.3f}  {hit['bucket']}/{hit['key']}  {snippet(hit['text'])}"
