"""What Tundish relies upon in Qdrant, asked of Qdrant's own engine: conditions, filters, memory, quantized vectors.

tests/test_index_engines.py asks it for everything that an index does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge
import redis
from qdrant_client import models

from runtime.config.engine import EngineSpec
from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.qdrant.collection import _INDEXED, Collection
from runtime.index.qdrant.conditions import equal, within
from runtime.index.qdrant.connection import Connection
from runtime.index.qdrant.engine import Connections
from runtime.index.qdrant.filling import NEVER
from runtime.index.qdrant.points import ALIVE, VECTOR
from runtime.index.qdrant.searching import Searcher
from runtime.index.search import Search
from tests.engines import Place
from tests.indexing import DIMENSIONS, put, vector, write
from tests.qdrant_edge import EdgeClient, edge_client
from tests.qdrant_server import Served, serve

ONE, TWO = (str(uuid.uuid5(uuid.NAMESPACE_OID, name)) for name in ("one", "two"))
MEMORY: dict[str, object] = {"on_disk": True, "quantization": "int8"}


@pytest.fixture
def served() -> Iterator[Served]:
    with edge_client() as client, serve(client=client) as running:
        yield running


@pytest.fixture
def collection(served: Served) -> Collection:
    """An empty one, with the settings that ask the most of the engine."""
    made = Collection(Connection("default", EngineSpec.model_validate({"url": served.url, **MEMORY})), "points")
    made.create(DIMENSIONS)
    return made


def point(name: str, text: str, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=name, vector={VECTOR: vector(text).tolist()}, payload=payload)


def below(seq: int) -> models.Filter:
    return models.Filter(must=[within("seq", None, seq - 1)])


def held(collection: Collection) -> dict[str, dict[str, Any]]:
    return {str(one.id): one.payload or {} for page in collection.scroll(models.Filter()) for one in page}


def test_an_older_point_does_not_take_the_place_of_a_newer_one(collection: Collection) -> None:
    collection.upsert([point(ONE, "five", seq=5, more=1)], below(5))
    assert held(collection) == {ONE: {"seq": 5, "more": 1}}, "what is not there is written, whatever the condition"
    collection.upsert([point(ONE, "four", seq=4), point(TWO, "two", seq=4)], below(4))
    assert held(collection) == {ONE: {"seq": 5, "more": 1}, TWO: {"seq": 4}}, "each point has its own answer"
    collection.upsert([point(ONE, "five again", seq=5)], below(5))
    assert held(collection)[ONE] == {"seq": 5, "more": 1}
    collection.upsert([point(ONE, "six", seq=6)], below(6))
    assert held(collection)[ONE] == {"seq": 6}, "payload and vector are replaced whole"
    (page,) = collection.scroll(models.Filter(), vectors=True)
    found: dict[str, Any] = {str(one.id): one.vector for one in page}
    assert np.allclose(found[ONE][VECTOR], vector("six"), atol=1e-6)


def test_what_is_written_only_where_nothing_is(collection: Collection) -> None:
    collection.upsert([point(ONE, "first", epoch=1)], NEVER)
    collection.upsert([point(ONE, "second", epoch=2), point(TWO, "two", epoch=2)], NEVER)
    assert held(collection) == {ONE: {"epoch": 1}, TWO: {"epoch": 2}}


def test_a_request_of_several_changes(collection: Collection) -> None:
    """One after the other: the end of what is old goes by what is there, and a condition sees what came before it."""
    collection.upsert([point(ONE, "one", seq=1, died=ALIVE), point(TWO, "two", seq=2, died=ALIVE)])
    assert collection.count(models.Filter(must=[within("died", ALIVE, None)])) == 2, "no digit of it is lost"
    old = models.Filter(must=[within("seq", None, 1), within("died", ALIVE, None)])
    end = models.SetPayload(payload={"died": 7}, filter=old)
    new = models.PointsList(points=[point(TWO, "three", seq=3, died=ALIVE)], update_filter=below(3))
    late = models.PointsList(points=[point(TWO, "late", seq=2, died=ALIVE)], update_filter=below(2))
    for _ in range(2):
        collection.change(
            [
                models.SetPayloadOperation(set_payload=end),
                models.UpsertOperation(upsert=new),
                models.UpsertOperation(upsert=late),
            ]
        )
        assert held(collection) == {ONE: {"seq": 1, "died": 7}, TWO: {"seq": 3, "died": ALIVE}}
    assert collection.count(models.Filter(must=[within("died", 7, 7)])) == 1, "the index knows of the new value"


def test_removing_what_is_gone_is_no_error(collection: Collection) -> None:
    collection.upsert([point(ONE, "one", seq=1), point(TWO, "two", seq=2)])
    for _ in range(2):
        collection.remove(models.Filter(must=[equal("seq", 1)]))
        assert set(held(collection)) == {TWO}
    assert collection.drop() and not collection.drop()


def test_every_index_is_made_on_disk(served: Served, collection: Collection) -> None:
    shard = served.client.shard(collection.name)
    schema = shard.info().payload_schema
    assert set(schema) == set(_INDEXED)
    assert all(one.params.memory == edge.Memory.Cold for one in schema.values())
    assert schema["tenant"].params.is_tenant and schema["key"].params.prefix


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_asked_of_a_server(on_disk: bool) -> None:
    with serve() as local:
        spec = EngineSpec.model_validate(
            {"url": local.url, "shards": 6, "replicas": 2, "on_disk": on_disk, "quantization": "int8"}
        )
        Collection(Connection("default", spec), "points").create(DIMENSIONS)
    body, *indexes = local.made
    assert (body["shard_number"], body["replication_factor"], body["write_consistency_factor"]) == (6, 2, 2)
    assert body["payload"] == {"memory": "cold"}, "always"
    memory = "cold" if on_disk else None
    assert body["vectors"][VECTOR].get("memory") == memory
    assert (body.get("hnsw_config") or {}).get("memory") == memory
    assert body["quantization_config"]["scalar"].get("memory") == ("pinned" if on_disk else None)
    assert [one["field_name"] for one in indexes] == list(_INDEXED)
    assert {one["field_schema"].get("memory") for one in indexes} == {memory}
    flags = {"on_disk", "always_ram", "on_disk_payload"}
    told = [body, body["vectors"][VECTOR], *(one["field_schema"] for one in indexes)]
    assert not [one for one in told if flags & one.keys()], "the older words for it would say it twice"


def test_quantized_vectors_are_scored_again(served: Served, redis_client: redis.Redis, tmp_path: Path) -> None:
    """The graph over vectors of a byte a dimension finds what an exact scan finds; scores are those of the floats."""
    place = Place("qdrant", MemoryStore(), redis_client, tmp_path, served, extra=MEMORY)
    index = place.index()
    texts = [f"text {number}" for number in range(400)]
    write(index, "one", *(put(f"{number:03}", number + 1, text) for number, text in enumerate(texts)))
    index.build("default")
    version = manifest.newest(place.store, "default")
    assert version and version.remote
    info = served.client.shard(version.remote.collection).info()
    assert info.indexed_vectors_count >= len(texts), "it has a graph"
    stored = np.stack([vector(text) for text in texts])
    shares = []
    for number in range(20):
        query = vector(f"query {number}")
        scores = np.sort(stored @ query)[::-1][:10]
        hits = place.search(Search(query, 10)).hits
        assert all(hit.score == pytest.approx(float(vector(hit.text) @ query), abs=1e-5) for hit in hits)
        shares.append(np.mean([hit.score >= scores[-1] - 1e-5 for hit in hits]))
    assert np.mean(shares) >= 0.99
    raw = served.client.query_points(
        version.remote.collection,
        query=vector("query 0").tolist(),
        using=VECTOR,
        with_payload=["text"],
        search_params=models.SearchParams(quantization=models.QuantizationSearchParams(rescore=False)),
    )
    off = [abs(one.score - float(vector(one.payload["text"]) @ vector("query 0"))) for one in raw.points]
    assert max(off) > 1e-5, "without that they are those of the bytes"


def test_an_exact_search_knows_of_no_bytes(served: Served, redis_client: redis.Redis, tmp_path: Path) -> None:
    place = Place("qdrant", MemoryStore(), redis_client, tmp_path, served, extra=MEMORY)
    index = place.index()
    write(index, "one", *(put(f"{number:03}", number + 1) for number in range(100)))
    index.build("default")
    version = manifest.newest(place.store, "default")
    assert version

    async def ask() -> list[float]:
        searcher = Searcher(Connections(place.project.engine_of))
        try:
            return [hit.score for hit in (await searcher.search(version, Search(vector("x"), 100), exact=True)).hits]
        finally:
            await searcher.close()

    every = [float(vector(f"{number:03} at {number + 1}") @ vector("x")) for number in range(100)]
    assert asyncio.run(ask()) == pytest.approx(sorted(every, reverse=True), abs=1e-5)


def test_it_is_all_there_after_a_restart(served: Served, redis_client: redis.Redis, tmp_path: Path) -> None:
    place = Place("qdrant", MemoryStore(), redis_client, tmp_path, served, extra=MEMORY)
    index = place.index()
    write(index, "one", put("a", 1, "first", "second"), put("b", 2, "b"))
    index.build("default")
    client: EdgeClient = served.client
    reopen: Callable[[str], None] = client.reopen
    for one in client.get_collections().collections:
        reopen(one.name)
    assert place.contents() == {"a": ["first", "second"], "b": ["b"]}
    write(index, "two", put("a", 1, "first", "second"), put("b", 3, "b3"))
    index.build("default")
    assert place.contents() == {"a": ["first", "second"], "b": ["b3"]}
    assert place.contents(1) == {"a": ["first", "second"], "b": ["b"]}
