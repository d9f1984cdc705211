"""functions.yaml does not say any more where the Qdrant of an index is; one index's Qdrant is away, another is fine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from runtime.config.load import load_settings
from runtime.config.settings import StoreSettings
from runtime.doctor.engines import there
from runtime.doctor.patient import Patient
from runtime.index.engines import open_index
from tests.indexing import put, write
from tests.qdrant_server import Cut, Served, serve
from tests.verifying import World


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def world(
    served: Served, store_settings: StoreSettings, broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> World:
    made = World(store_settings, broker_url, redis_client, tmp_path)
    with (tmp_path / "functions.yaml").open("a") as file:
        file.write(f"indexes: {{default: {{engine: qdrant, url: '{served.url}'}}, notes: {{}}}}\n")
    made.project = load_settings(made.environ).project
    made.index = open_index(lambda: made.project, made.store, redis_client, tmp_path / "cache")
    made.settled("a")
    return made


def test_the_doctor_misses_it(world: World, tmp_path: Path, served: Served) -> None:
    """Every search of such an index is answered 503: nobody may say that all is well."""
    file = tmp_path / "functions.yaml"
    file.write_text(file.read_text().partition("indexes:")[0])
    (verdict,) = there(Patient(world.environ))
    assert verdict.state == "fail" and "Index default is held by qdrant" in verdict.found
    assert "url: http://HOST:6333" in str(verdict.mend)


def test_the_others_are_compared_all_the_same(
    world: World, served: Served, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.index.qdrant.connection.FIRST_PAUSE", 0.001)

    def away(method: str, path: str) -> None:
        raise Cut

    write(world.index, "one", put("z", 1), name="notes")
    world.index.build("notes")
    served.trouble.hook = away
    code, output = world.verify()
    assert code == 1 and "index default" in output and "Qdrant at" in output
    assert "index notes" in output, "it is told of as well"
