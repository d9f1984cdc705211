"""How much is on its way to Qdrant at a time: a reader of a billion points must not run ahead of what is written."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from qdrant_client import models

from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.qdrant.collection import Collection
from runtime.index.qdrant.conditions import equal
from runtime.index.qdrant.sending import AT_ONCE, MOST_BYTES, MOST_POINTS, Sender
from tests.engines import Place
from tests.indexing import put, write
from tests.qdrant_server import Served, serve
from tests.workers import until

SERVER_BYTES = 32 * 2**20
"""What a server takes in one request, if nobody has told it otherwise."""


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def collection(served: Served, redis_client: redis.Redis, tmp_path: Path) -> Collection:
    place = Place("qdrant", MemoryStore(), redis_client, tmp_path, served)
    index = place.index()
    write(index, "one", put("a", 1, "a"))
    index.build("default")
    current = manifest.newest(place.store, "default")
    assert current and current.remote
    return Collection(index.remote.connect("default"), current.remote.collection)


class Line:
    """Upserts that have come to the server wait until they may go on."""

    def __init__(self, served: Served) -> None:
        self.open, self.lock = threading.Event(), threading.Lock()
        self.waiting, self.sizes, self.counts = 0, list[int](), list[int]()
        served.trouble.reading = self._reading
        served.trouble.part = lambda points: self.counts.append(len(points))

    def _reading(self, method: str, path: str, length: int) -> None:
        if method == "PUT" and path.endswith("/points"):
            with self.lock:
                self.waiting += 1
                self.sizes.append(length)
            self.open.wait(60)
            with self.lock:
                self.waiting -= 1


def point(text: str, **payload: object) -> models.PointStruct:
    return models.PointStruct(id=str(uuid.uuid4()), vector={}, payload={"kind": "sent", "text": text, **payload})


def test_who_sends_waits_while_enough_is_under_way(served: Served, collection: Collection) -> None:
    line, taken = Line(served), list[int]()

    def points() -> Iterator[models.PointStruct]:
        for number in range(7 * MOST_POINTS + 1):
            taken.append(number)
            yield point("short")

    with Sender(collection) as sender:
        sending = threading.Thread(target=sender.send, args=(points(), None))
        sending.start()
        # So many requests, one more that waits for its turn, and the point by which it was seen to be full.
        ahead = (AT_ONCE + 1) * MOST_POINTS + 1
        until(lambda: line.waiting == AT_ONCE and len(taken) >= ahead)
        sending.join(0.3)
        assert (len(taken), line.waiting, sending.is_alive()) == (ahead, AT_ONCE, True)
        line.open.set()
        sending.join(60)
        sender.settle()
    assert sorted(line.counts) == [1] + [MOST_POINTS] * 7
    assert collection.count(models.Filter(must=[equal("kind", "sent")])) == 7 * MOST_POINTS + 1


@pytest.mark.parametrize(("letter", "most"), [("a", MOST_BYTES), ("😀", SERVER_BYTES)], ids=["ascii", "emoji"])
def test_a_request_is_one_that_a_server_takes(served: Served, collection: Collection, letter: str, most: int) -> None:
    line = Line(served)
    line.open.set()
    with Sender(collection) as sender:
        sender.send((point(letter * 300_000, meta={"note": letter * 1000}) for _ in range(20)), None)
        sender.settle()
    assert sum(line.counts) == 20 and len(line.counts) > 1
    assert max(line.sizes) <= most, "the bound is of an estimate, which is below what JSON makes of some letters"
