"""Which back ends have made the vectors of a batch, of a version, of a result: said in all three."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import redis

from runtime.config.settings import StoreSettings
from runtime.index import batches, layout, manifest
from tests import test_embed_batch
from tests.indexing import House, fresh_store, house, put, rows_of, vector


def write(home: House, batch: str, key: str, seq: int, *backends: str) -> None:
    rows = rows_of([put(key, seq, key)])
    home.index.write_batch("default", batch, rows, np.array([vector(key)]), "model", backends=backends)


def backends_of(home: House) -> tuple[str, ...]:
    home.index.build("default")
    newest = manifest.newest(home.store, "default")
    assert newest is not None
    return newest.backends


def test_a_version_names_the_back_ends_of_all_its_batches(
    store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    home = house(fresh_store(store_settings), redis_client, tmp_path)
    write(home, "a" * 64, "a", 1)
    assert backends_of(home) == (), "as earlier releases wrote it"
    write(home, "b" * 64, "b", 2, "torch-bf16")
    write(home, "c" * 64, "c", 3, "torch-fp32", "torch-bf16")
    assert backends_of(home) == ("torch-bf16", "torch-fp32")
    write(home, "d" * 64, "d", 4, "openvino")
    assert backends_of(home) == ("openvino", "torch-bf16", "torch-fp32")
    assert home.index.compact("default") and backends_of(home) == ("openvino", "torch-bf16", "torch-fp32")
    assert batches.read(home.store, "default", "c" * 64).backends == ("torch-fp32", "torch-bf16")
    home.index.rebuild("default", "a test")
    assert backends_of(home) == ("openvino", "torch-bf16", "torch-fp32")
    kept = list(home.index.kept("default", [("documents", "c", "c")], "model"))
    assert [one.backends for one in kept] == [("torch-fp32", "torch-bf16")]


def test_a_manifest_of_an_earlier_release_is_read() -> None:
    made = manifest.Manifest("default", 1, 0.0, "b", 4, "model", "1.15", 1, (), backends=("torch-fp32",))
    stored = json.loads(manifest.encode(made))
    path = layout.manifest("default", 1)
    assert manifest.decode(path, json.dumps(stored).encode()).backends == ("torch-fp32",)
    del stored["backends"]
    assert manifest.decode(path, json.dumps(stored).encode()).backends == ()


def test_a_result_names_what_ran_the_model() -> None:
    here = test_embed_batch.House()
    here.put("a.txt", "apple")
    assert here.embed(here.event("a.txt")).backend == here.models.backend == "fake"
    again = here.embed(here.event("a.txt"))
    assert (again.embedded_chunks, again.backend) == (0, "")
