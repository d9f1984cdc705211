"""Asking for documents, with patience while the model is being loaded."""

from __future__ import annotations

import re
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


def lines(answer: Mapping[str, Any], query: str) -> Iterator[str]:
    """One line per result: score, place, and the passage that says most about the query's words."""
    for hit in answer["results"]:
        yield f"{hit['score']:.3f}  {hit['bucket']}/{hit['key']}  {snippet(passage(hit['text'], query))}"


def passage(text: str, query: str) -> str:
    """The text from its sentence on that shares most words with the query."""
    wanted = _words(query)
    starts = [0, *(match.end() for match in re.finditer(r"(?:[.!?:]\s+|\n\s*)(?=\S)", text))]
    ends = [*starts[1:], len(text)]
    best = max(range(len(starts)), key=lambda n: len(wanted & _words(text[starts[n] : ends[n]])))
    return text[starts[best] :]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 2}
