"""The curve over the size of what a call brings and takes away. What is large travels by reference to the store.

The peer is the store alone: the same bytes put and got by hand, once for arguments and once more for a result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from bench.curves_house import House, house, seconds
from bench.curves_load import Point, calls
from runtime.store.port import MinioStore

AXIS = "payload"
_CODE = "def length(text: str) -> int:\n    return len(text)\n\ndef echo(text: str) -> str:\n    return text\n"
_YAML = """version: 1
queues: {q: {concurrency: 2}}
defaults: {queue: q}
functions:
  length: {handler: code.py:length, triggers: [{http: {}}]}
  echo: {handler: code.py:echo, triggers: [{http: {}}]}
"""
_BUDGET = 40_000_000
"""Bytes that are sent at one size: large calls are fewer."""


def curve(sizes: Sequence[int], count: int) -> Iterator[Point]:
    with house(store=True) as here:
        here.deploy(_YAML, {"code.py": _CODE})
        here.ready(here.worker("q"))
        here.gateway()
        store = MinioStore(here.settings().store)
        store.ensure_bucket(store.bucket)
        for size in sizes:
            yield _point(here, store, size, count)


def _point(here: House, store: MinioStore, size: int, count: int) -> Point:
    point, most = Point(AXIS, size), max(5, min(count, _BUDGET // size))
    body = json.dumps({"text": "x" * size}).encode()
    for name in ("length", "echo"):
        calls(here, point, name, [f"/function/{name}"], most, body)
    point.times["store_alone"] = [seconds(lambda: _by_hand(store, body)) for _ in range(most)]
    return point


def _by_hand(store: MinioStore, body: bytes) -> None:
    store.put(store.bucket, "bench", body)
    store.get(store.bucket, "bench")
