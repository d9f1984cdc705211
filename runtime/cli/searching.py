"""Asking for documents, with patience while the model is being loaded."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from runtime.cli.client import Client, Refused
from runtime.cli.output import snippet

WARMING_SECONDS = 90.0
_NUMBER = r"(-?\d+(?:\.\d+)?)?"
_RANGE = re.compile(rf"{_NUMBER}\.\.{_NUMBER}", re.ASCII)


def ask(
    client: Client, text: str, count: int, index: str = "default", limits: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The answer of /search; 503 (the model is warming up) is asked again for a while. Raises Refused.

    `limits`: further parameters.
    """
    asked = {"q": text, "k": str(count), "index": index, **(limits or {})}
    until = time.monotonic() + WARMING_SECONDS
    while True:
        try:
            answer: dict[str, Any] = client.get("/search", **asked)
            return answer
        except Refused as error:
            if error.status != 503 or time.monotonic() > until:
                raise
        time.sleep(0.5)


def lines(answer: Mapping[str, Any], query: str) -> Iterator[str]:
    """One line per result: score, place, and the passage that says most about the query's words."""
    for hit in answer["results"]:
        others = f" (+{hit['further']})" if hit.get("further") else ""
        yield f"{hit['score']:.3f}  {hit['bucket']}/{hit['key']}{others}  {snippet(passage(hit['text'], query))}"


def limited(options: Mapping[str, Any]) -> dict[str, str]:
    """The options of the command that say what may be found, as parameters. Raises UsageError."""
    fields = {"type" if name == "kind" else name: value for name, value in options.items() if value}
    least, group, mode = options.get("min_score"), fields.pop("group", False), fields.pop("mode", None)
    fields.pop("min_score", None)
    if "meta" in fields:
        fields["meta"] = metadata(fields["meta"])
    return {
        **({"filter": json.dumps(fields)} if fields else {}),
        **({} if least is None else {"min_score": str(least)}),
        **({"group": "document"} if group else {}),
        **({"mode": mode} if mode else {}),
    }


def metadata(given: Iterable[str]) -> dict[str, list[Any]]:
    """`lang=en`, `year=2020..2024`, `year=2020..` as a filter's `meta`. Raises UsageError for what has no name."""
    found: dict[str, list[Any]] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--meta {one}: write it like lang=en, or year=2020..2024.")
        found.setdefault(name, []).append(_range(value) or value)
    return found


def _range(value: str) -> dict[str, float] | None:
    limits = _RANGE.fullmatch(value)
    ends = {"min": limits[1], "max": limits[2]} if limits else {}
    return {name: float(end) for name, end in ends.items() if end} or None


def passage(text: str, query: str) -> str:
    """The text from its sentence on that shares most words with the query."""
    wanted = _words(query)
    starts = [0, *(match.end() for match in re.finditer(r"(?:[.!?:]\s+|\n\s*)(?=\S)", text))]
    ends = [*starts[1:], len(text)]
    best = max(range(len(starts)), key=lambda n: len(wanted & _words(text[starts[n] : ends[n]])))
    return text[starts[best] :]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 2}
