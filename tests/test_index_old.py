"""An index of an earlier release goes on working: segments that name their batches in meta.json, and old batches."""

from __future__ import annotations

import dataclasses
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.index import layout, manifest, plan
from runtime.index.included import BATCHES, of_segment
from runtime.index.segment import META, TABLE, digests, encode_meta, load_docs
from tests.indexing import House, fresh_store, gone, house, put, write


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def turn_back(home: House, folder: Path) -> None:
    """The only segment of the newest version, written as it was written before there was a file of batches."""
    current = manifest.newest(home.store, "default")
    assert current is not None
    (ref,) = current.segments
    cache = home.index._cache
    meta, source = cache.meta("default", ref.segment), cache.folder("default", ref.segment)
    docs, names = np.array(load_docs(source)), list(of_segment(cache, "default", ref.segment))
    docs["batch"] = len(names) - 1 - docs["batch"]  # in no order
    folder.mkdir()
    kept = [name for name in meta.files if name not in (BATCHES, TABLE)]
    for name in kept:
        (folder / name).write_bytes((source / name).read_bytes())
    np.save(folder / TABLE, docs, allow_pickle=False)
    old = dataclasses.replace(meta, batches=names[::-1], files=digests(folder, [*kept, TABLE]))
    data = encode_meta(old)
    (folder / META).write_bytes(data)
    sha = sha256(data).hexdigest()
    for name in (*old.files, META):
        home.store.put(home.store.bucket, layout.segment("default", sha) + name, (folder / name).read_bytes())
    made = dataclasses.replace(current, segments=(dataclasses.replace(ref, segment=sha),), digest="", etag="")
    manifest.commit(home.store, manifest.successor(current, made))


def test_an_index_of_an_earlier_release(home: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write(home.index, f"b{3 - number}", put(f"k{number}", number + 1), put(f"same {number}", number + 1))
    home.index.build("default")
    turn_back(home, tmp_path / "old")
    expected = {
        f"{name}{number}": [f"{name}{number} at {number + 1}"] for name in ("k", "same ") for number in range(4)
    }
    home.reader.refresh("default")
    assert home.contents() == expected
    assert not home.index.build("default").published, "its batches are known"
    assert not home.index.build("default", ["b0", "b3"]).published
    write(home.index, "new", put("k1", 100, "new"), gone("k2", 101))
    assert home.index.build("default", ["new"]).batches == 1
    expected["k1"] = ["new"]
    del expected["k2"]
    home.reader.refresh("default")
    assert home.contents() == expected
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    assert home.index.compact("default").merged == 2
    home.reader.refresh("default")
    assert home.contents() == expected
    assert not home.index.build("default").published, "they are remembered through the merge"
    home.index.cleanup("default", 0)
    for item in list(home.store.list(home.store.bucket, layout.root("default"))):
        home.store.delete(home.store.bucket, item.key)
    again = house(home.store, home.index._client, tmp_path / "again")
    again.index.build("default")
    again.reader.refresh("default")
    assert again.contents() == expected, "documents still know their batch"
