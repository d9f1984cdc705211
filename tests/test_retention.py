"""Cleaning up: what goes, and that nothing that is needed goes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.index import batches, layout, manifest, retention
from runtime.index.cache import SegmentCache
from runtime.index.lease import BuildLease
from runtime.index.port import FaissIndex
from runtime.index.retention import Retention
from runtime.testing import MemoryStore
from tests.indexing import House, fresh_store, gone, house, put, write

DAY = 86_400.0


@pytest.fixture
def home(redis_client: redis.Redis, tmp_path: Path) -> House:
    """Everything in it is ten days old when it is cleaned."""
    return house(MemoryStore(), redis_client, tmp_path, later=10 * DAY)


@pytest.fixture
def young(redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(MemoryStore(), redis_client, tmp_path)


def names(home: House, prefix: str) -> set[str]:
    return {item.key[len(prefix) :].split("/")[0] for item in home.store.list(home.store.bucket, prefix)}


def history(home: House) -> None:
    """Four versions: `a` overwritten, `b` deleted, `c` as it was."""
    write(home.index, "first", put("a", 1, "a1"))
    home.index.build("default")
    write(home.index, "second", put("b", 2, "b1"), put("c", 3, "c1"))
    home.index.build("default")
    write(home.index, "third", put("a", 4, "a2"))
    home.index.build("default")
    write(home.index, "fourth", gone("b", 5))
    home.index.build("default")


def test_young_things_stay(young: House) -> None:
    history(young)
    assert not any(young.index.cleanup("default", 7 * DAY).values())
    assert [version.generation for version in young.index.versions("default")] == [4, 3, 2, 1]


def test_what_no_version_needs_goes(home: House) -> None:
    history(home)
    counts = home.index.cleanup("default", 7 * DAY)
    assert counts["manifests"] == 3
    assert [version.generation for version in home.index.versions("default")] == [4]
    assert names(home, layout.batches("default")) == {"second", "third", "fourth"}, "only `first` is superseded"
    newest = manifest.newest(home.store, "default")
    assert newest is not None
    assert names(home, layout.segments("default")) == {ref.segment for ref in newest.segments}
    assert names(home, layout.tombstones("default")) == {ref.tombstones for ref in newest.segments if ref.tombstones}
    home.reader.refresh("default")
    assert home.contents() == {"a": ["a2"], "c": ["c1"]}
    assert not any(home.index.cleanup("default", 7 * DAY).values()), "nothing is left to do"


def test_the_index_can_be_rebuilt_from_what_is_left(home: House, redis_client: redis.Redis, tmp_path: Path) -> None:
    history(home)
    home.index.cleanup("default", 0)
    for item in list(home.store.list(home.store.bucket, layout.root("default"))):
        home.store.delete(home.store.bucket, item.key)
    again = house(home.store, redis_client, tmp_path / "again")
    again.index.build("default")
    again.reader.refresh("default")
    assert again.contents() == {"a": ["a2"], "c": ["c1"]}


def test_a_batch_that_was_not_built_yet_stays(home: House) -> None:
    history(home)
    write(home.index, "pending", put("d", 6, "d1"))
    home.index.cleanup("default", 0)
    home.index.build("default")
    home.reader.refresh("default")
    assert home.contents() == {"a": ["a2"], "c": ["c1"], "d": ["d1"]}


def test_without_a_version_no_batch_goes(home: House) -> None:
    write(home.index, "first", put("a", 1))
    assert not any(home.index.cleanup("default", 0).values())


def test_half_batches_go_after_a_day(home: House) -> None:
    path = write(home.index, "half", put("a", 1))
    home.store.delete(home.store.bucket, path + layout.ROWS)
    assert home.index.cleanup("default", 30 * DAY)["half_batches"] == 0
    assert home.index.cleanup("default", 7 * DAY)["half_batches"] == 1
    assert batches.listing(home.store, "default") == {}


def test_a_half_batch_may_be_one_that_is_being_written(young: House) -> None:
    path = write(young.index, "half", put("a", 1))
    young.store.delete(young.store.bucket, path + layout.ROWS)
    assert young.index.cleanup("default", 0)["half_batches"] == 0


def test_orphans_of_a_build_that_died_have_a_grace(young: House, redis_client: redis.Redis, tmp_path: Path) -> None:
    history(young)
    orphan = layout.segment("default", "f" * 64) + "meta.json"
    young.store.put(young.store.bucket, orphan, b"{}")
    assert young.index.cleanup("default", 0)["segments"] == 0
    cache = SegmentCache(tmp_path / "cache", young.store)
    patient = Retention(young.store, redis_client, cache, clock=lambda: time.time() + 2 * retention.GRACE_SECONDS)
    assert patient.cleanup("default", 7 * DAY)["segments"] == 1
    assert "f" * 64 not in names(young, layout.segments("default"))
    young.reader.refresh("default")
    assert young.contents() == {"a": ["a2"], "c": ["c1"]}


def test_a_merged_index_keeps_the_batches_it_needs(home: House) -> None:
    for number in range(12):
        write(home.index, f"b{number}", put(f"k{number % 5}", number, f"content {number}"))
        home.index.build("default")
    home.index.cleanup("default", 0)
    assert names(home, layout.batches("default")) == {f"b{number}" for number in range(7, 12)}
    home.index.build("default")
    write(home.index, "more", *(put(f"m{number}", 100 + number) for number in range(3)))
    home.index.build("default")
    home.reader.refresh("default")
    assert len(home.contents()) == 8


def test_on_the_real_store(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> None:
    real = house(fresh_store(store_settings), redis_client, tmp_path, later=10 * DAY)
    history(real)
    counts = real.index.cleanup("default", 7 * DAY)
    assert (counts["manifests"], counts["batches"]) == (3, 1)
    elsewhere = FaissIndex(real.store, redis_client, tmp_path / "elsewhere")
    assert not elsewhere.build("default").published
    real.reader.refresh("default")
    assert real.contents() == {"a": ["a2"], "c": ["c1"]}


def test_a_version_counts_from_when_another_took_its_place(redis_client: redis.Redis, tmp_path: Path) -> None:
    """It was the current one for a month, and may be wanted back tomorrow."""
    store = MemoryStore()
    home = house(store, redis_client, tmp_path)
    write(home.index, "first", put("a", 1, "a1"))
    home.index.build("default")
    age(store, 30 * DAY)
    write(home.index, "second", put("a", 2, "a2"))
    home.index.build("default")
    assert home.index.cleanup("default", 7 * DAY)["manifests"] == 0
    age(store, 6 * DAY)
    assert home.index.cleanup("default", 7 * DAY)["manifests"] == 0
    assert home.index.rollback("default", 1).restores == 1, "with all its parts"
    home.index.rollback("default", 2)
    age(store, 2 * DAY)
    assert home.index.cleanup("default", 7 * DAY)["manifests"] == 1, "generation 1"


def test_what_was_current_a_moment_ago_stays(redis_client: redis.Redis, tmp_path: Path) -> None:
    """A gateway that began to load it gets all of it, whatever somebody asks to remove."""
    store = MemoryStore()
    home = house(store, redis_client, tmp_path)
    history(home)
    age(store, 30 * DAY)
    home.index.rebuild("default", "It is tried out.")
    counts = home.index.cleanup("default", 0)
    assert [version.generation for version in home.index.versions("default")] == [5, 4]
    assert counts["manifests"] == 3
    slow = house(store, redis_client, tmp_path / "slow")
    before = manifest.read(store, "default", 4)
    for ref in before.segments:
        slow.index._cache.open("default", ref.segment)
    age(store, retention.GRACE_SECONDS + 1)
    assert home.index.cleanup("default", 0)["manifests"] == 1


def test_what_is_written_again_meanwhile_stays(redis_client: redis.Redis, tmp_path: Path) -> None:
    """A build that died left tombstones; the next one comes to the same and writes them while cleanup is at them."""
    store = MemoryStore()
    home = house(store, redis_client, tmp_path)
    history(home)
    name = layout.tombstones("default") + "f" * 64
    store.put(store.bucket, name, b"x")
    age(store, 30 * DAY)
    whole = store.head
    store.head = lambda bucket, key: (store.put(bucket, key, b"x"), whole(bucket, key))[1]  # type: ignore[method-assign]
    assert home.index.cleanup("default", 7 * DAY)["tombstones"] == 0
    assert store.get(store.bucket, name).data == b"x"


def test_builds_have_their_turn(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleanup of very much gives the lease away from time to time, and looks whether somebody published."""
    monkeypatch.setattr(retention, "TURN_SECONDS", 0.0)
    history(home)
    taken: list[BuildLease] = []
    take = BuildLease.take

    def counted(lease: BuildLease) -> None:
        taken.extend([lease] if type(lease) is BuildLease else [])
        take(lease)

    monkeypatch.setattr(BuildLease, "take", counted)
    removed = sum(home.index.cleanup("default", 7 * DAY).values())
    assert len(taken) == removed > 3


def test_a_manifest_that_cannot_be_read_holds_up_what_it_may_name(home: House) -> None:
    history(home)
    home.index.cleanup("default", 30 * DAY)
    home.store.put(home.store.bucket, layout.manifest("default", 3), b"{")
    counts = home.index.cleanup("default", 30 * DAY)
    assert not any(counts.values())
    home.reader.refresh("default")
    assert home.contents() == {"a": ["a2"], "c": ["c1"]}


def age(store: MemoryStore, seconds: float) -> None:
    """Everything in it is older than it was."""
    for place, (found, info) in store._objects.items():
        store._objects[place] = found, replace(info, modified=info.modified - seconds)
