"""`tundish index verify` of an index in Qdrant: what differs is found, named and mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from qdrant_client import models

from runtime.config.settings import StoreSettings
from runtime.doctor.engines import there
from runtime.doctor.patient import Patient
from tests.qdrant_server import Served, serve
from tests.verifying import World

KEY = "nobody sees this"


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(key=KEY) as running:
        yield running


@pytest.fixture
def world(
    served: Served, store_settings: StoreSettings, broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> World:
    made = World(store_settings, broker_url, redis_client, tmp_path)
    made.take_engine(served.url, KEY)
    made.settled("a", "b")
    return made


def chunks(served: Served) -> list[models.Record]:
    (collection,) = (one.name for one in served.client.get_collections().collections)
    records, _ = served.client.scroll(collection, limit=1000)
    return [one for one in records if one.payload and one.payload["kind"] == "chunk"]


def test_agreement(world: World) -> None:
    code, output = world.verify("--recall", "--sample", "4")
    assert code == 0 and "2 documents with 6 chunks" in output and "agree" in output
    assert "recall@10 1.00000 (qdrant" in output
    assert world.found() == {}


def test_differences(world: World) -> None:
    world.store.put(world.bucket, "docs/a.txt", b"changed")
    world.store.delete(world.bucket, "docs/b.txt")
    world.put("docs/c.txt")
    assert world.found() == {"a": "changed", "b": "extra", "c": "missing"}
    world.embed(c=world.put("docs/c.txt"))
    assert world.found() == {"a": "changed", "b": "extra", "c": "pending"}


def test_a_lost_chunk(world: World, served: Served) -> None:
    lost = next(one for one in chunks(served) if one.payload and one.payload["chunk"] == 1)
    (collection,) = (one.name for one in served.client.get_collections().collections)
    served.client.delete(collection, points_selector=[lost.id])
    found = world.found()
    assert sorted(found.values()) == ["chunks", "damaged"]
    code, output = world.verify("--repair")
    assert code == 0 and "built anew from the batches" in output
    assert world.found() == {} and world.newest().generation == 2


def test_a_collection_that_is_gone(world: World, served: Served) -> None:
    (collection,) = (one.name for one in served.client.get_collections().collections)
    served.client.delete_collection(collection)
    assert world.found() == {"": "damaged"}
    code, _ = world.verify("--repair")
    assert code == 0 and len(chunks(served)) == 6


def test_an_alias_that_is_wrong(world: World, served: Served) -> None:
    served.client.update_collection_aliases(
        change_aliases_operations=[
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="tundish_default"))
        ]
    )
    assert world.found() == {"": "damaged"}
    assert world.verify("--repair")[0] == 0
    assert world.newest().generation == 1, "nothing is built for that"


def test_qdrant_away(world: World, served: Served) -> None:
    served.key = "another"
    code, output = world.verify()
    assert code != 0 and "api_key" in output and KEY not in output


def test_the_doctor_looks_at_engines(world: World, served: Served) -> None:
    def found() -> tuple[str, str]:
        (verdict,) = there(Patient(world.environ))
        return verdict.state, verdict.found

    assert found() == ("ok", f"Qdrant of index default answers at {served.url.removeprefix('http://')}")
    served.version = "1.15.4"
    assert found()[0] == "fail" and "is 1.15; 1.19 is needed" in found()[1]
    served.key = "another"
    assert found()[0] == "fail" and "refuses the key" in found()[1]
    served.key, served.version = KEY, "1.20.1"
    world.publish(remote=None, segments=())
    state, told = list(there(Patient(world.environ)))[1].state, list(there(Patient(world.environ)))[1].mend
    assert state == "warn" and "tundish index migrate --engine qdrant --index default" in str(told)
    assert KEY not in str(list(there(Patient(world.environ))))
