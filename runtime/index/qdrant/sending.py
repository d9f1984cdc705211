"""Points on their way: in requests of bounded size, a few at a time, so that neither side has to hold much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType

from pydantic_core import to_json
from qdrant_client import models

from runtime.index.qdrant.collection import Collection

MOST_POINTS, MOST_BYTES = 256, 4 * 2**20
"""Of one request; a server takes 32 MiB by default."""

AT_ONCE = 4
_AROUND = 600
"""Bytes of a point's JSON beside its vector, its text and its meta, about."""

_NUMBER = 12
"""Bytes of one number of a vector as JSON."""


class Sender:
    """Sends points in threads; `send` waits while enough is under way, `settle` until all is written.

    What a request fails with is raised by whichever of the two comes next.
    """

    def __init__(self, collection: Collection, at_once: int = AT_ONCE) -> None:
        self._collection, self._at_once = collection, at_once
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="qdrant")
        self._open: set[Future[None]] = set()

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def send(self, points: Iterable[models.PointStruct], unless: models.Filter | None) -> None:
        """`unless`: see Collection.upsert."""
        for some in portions(points):
            if len(self._open) >= self._at_once:
                self._wait(FIRST_COMPLETED)
            self._open.add(self._threads.submit(self._collection.upsert, some, unless))

    def settle(self) -> None:
        while self._open:
            self._wait("ALL_COMPLETED")

    def _wait(self, until: str) -> None:
        done, self._open = wait(self._open, return_when=until)
        for one in done:
            one.result()


def portions(points: Iterable[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    """Points in order, in lists that are not too long and not too large; a point alone may be."""
    some: list[models.PointStruct] = []
    size = 0
    for point in points:
        each = _size(point)
        if some and (len(some) >= MOST_POINTS or size + each > MOST_BYTES):
            yield some
            some, size = [], 0
        some.append(point)
        size += each
    if some:
        yield some


def _size(point: models.PointStruct) -> int:
    payload = point.payload or {}
    vectors = point.vector if isinstance(point.vector, dict) else {}
    numbers = sum(len(one) for one in vectors.values() if isinstance(one, list))
    words = 2 * len(payload.get("text", "")) + 40 * len(payload.get("terms", ()))
    return _AROUND + _NUMBER * numbers + words + len(to_json(payload.get("meta") or {}))
