"""The status of a document whose index's Qdrant does not answer, refuses, or has lost the collection: it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
import redis

from gateway.objects.document import _held
from gateway.state import Gateway
from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.held import Held
from runtime.index.qdrant.engine import Connections
from runtime.index.qdrant.searching import Searcher
from tests.engines import Place
from tests.indexing import put, write
from tests.qdrant_server import Cut, Served, Status, serve


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


def status(place: Place) -> Held | None:
    """As `GET /documents/documents/a` asks."""
    current = manifest.newest(place.store, "default")
    assert current

    async def asked() -> Held | None:
        searcher = Searcher(Connections(place.project.engine_of))

        async def document(index: str, bucket: str, key: str) -> Held | None:
            return await searcher.document(current, bucket, key)

        gateway: Any = SimpleNamespace(indexes=SimpleNamespace(document=document))
        trigger = {"status": "completed", "index": "default", "seq": 1, "etag": "first"}
        try:
            return await _held(cast(Gateway, gateway), "documents", "a", trigger)
        finally:
            await searcher.close()

    return anyio.run(asked)


@pytest.mark.parametrize("trouble", [Cut(), Status(503), Status(403), Status(404)], ids=["cut", "503", "403", "gone"])
def test_it_is_not_searchable_and_told(
    served: Served, redis_client: redis.Redis, tmp_path: Path, trouble: Exception
) -> None:
    place = Place("qdrant", MemoryStore(), redis_client, tmp_path, served)
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    found = status(place)
    assert found and found.seq == 1

    def hook(method: str, path: str) -> None:
        raise trouble

    served.trouble.hook = hook
    assert status(place) is None
