"""Cleaning up while a build, a compaction, a load or a migration is under way: none of them misses anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from runtime.index import layout, manifest, plan, retention, spaces
from runtime.index.cache import SegmentCache
from runtime.index.manifest import Manifest
from runtime.index.port import FaissIndex
from runtime.testing import MemoryStore
from tests.indexing import House, gone, house, put, write
from tests.migrating import contents, migrate, pair
from tests.test_retention import DAY, age


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def home(store: MemoryStore, redis_client: redis.Redis, tmp_path: Path) -> House:
    """Two versions, a month old: one document was overwritten, one removed."""
    made = house(store, redis_client, tmp_path)
    write(made.index, "first", put("a", 1, "a1"), put("b", 2, "b1"), put("c", 3, "c1"))
    made.index.build("default")
    write(made.index, "second", put("a", 4, "a2"), gone("b", 5))
    made.index.build("default")
    age(store, 30 * DAY)
    return made


@pytest.mark.parametrize("action", ["build", "compact"])
def test_who_is_about_to_publish(
    home: House, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Its parts are in the store and in no version, and the broker has lost its lease."""
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    other = FaissIndex(home.store, redis_client, tmp_path / "other")
    commit, removed = manifest.commit, list[int]()

    def late(store: MemoryStore, made: Manifest) -> Manifest:
        redis_client.flushall()
        removed.append(sum(other.cleanup("default", 0).values()))
        return commit(store, made)

    monkeypatch.setattr(manifest, "commit", late)
    write(home.index, "third", put("d", 6, "d1"), put("a", 7, "a3"))
    home.index.build("default")
    if action == "compact":
        assert home.index.compact("default").published
    assert removed and removed[0] > 0, "there was something to remove"
    home.reader.refresh("default")
    assert home.contents() == {"a": ["a3"], "c": ["c1"], "d": ["d1"]}
    fresh = house(home.store, redis_client, tmp_path / "fresh")
    fresh.reader.refresh("default")
    assert fresh.contents() == home.contents()


def test_a_gateway_whose_load_is_slow(
    home: House, store: MemoryStore, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it fetches, the index is built anew, and everything that nobody needs is removed."""
    monkeypatch.setattr(retention, "PATIENCE_SECONDS", 0.0)
    slow = house(store, redis_client, tmp_path / "slow")
    whole, seen = SegmentCache.open, list[str]()

    def late(cache: SegmentCache, index: str, sha: str) -> object:
        if not seen:
            seen.append(sha)
            home.index.rebuild("default", "It is tried out.")
            home.index.cleanup("default", 0)
        return whole(cache, index, sha)

    monkeypatch.setattr(SegmentCache, "open", late)
    slow.reader.refresh("default")
    assert slow.contents() == {"a": ["a2"], "c": ["c1"]}
    assert seen and slow.reader.refresh("default"), "there is a newer version by now"


def test_a_migration_that_takes_long(home: House, store: MemoryStore, redis_client: redis.Redis) -> None:
    """What it has embedded stays, however old, until it goes on; then it is there."""
    _, small = pair()
    assert migrate(home, small, stop=lambda: small.embedded > 0).state == "running"
    age(store, 30 * DAY)
    home.index.cleanup("default", 0)
    (target,) = (space for space in spaces.spaces(store, "default") if space != "default")
    assert [item.key for item in store.list(store.bucket, layout.batches(target))]
    embedded = small.embedded
    assert migrate(home, small).state == "done"
    assert small.embedded == 4, "a document of a batch that was removed needs no other vectors"
    assert embedded < small.embedded and contents(home, 8) == {"a": ["a2"], "c": ["c1"]}


def test_what_a_migration_left_behind(home: House, store: MemoryStore, redis_client: redis.Redis) -> None:
    """The old model's batches are those that all could be built from; what was replaced goes in both models."""
    _, small = pair()
    assert migrate(home, small).state == "done"
    target = manifest.newest(store, "default")
    assert target
    write(home.index, "third", put("a", 7, "a3"), put("c", 8, "c2"), dimensions=8, model="small")
    home.index.build("default")
    age(store, 30 * DAY)
    home.index.cleanup("default", 7 * DAY)
    assert spaces.waiting(store, "default", target.space).batches == (), "nothing is late, for ever"
    names = {item.key.split("/")[-2] for item in store.list(store.bucket, layout.batches("default"))}
    assert names == {"second"}, "it says that b is gone"
    assert contents(home, 8) == {"a": ["a3"], "c": ["c2"]}


def test_a_migration_that_was_given_up(home: House, store: MemoryStore, redis_client: redis.Redis) -> None:
    """Its batches and its chain of versions go, when they are as old as all that goes."""
    _, small = pair()
    shadow = layout.shadow("default", "small")
    migrate(home, small, stop=lambda: small.embedded > 0)
    manifest.commit(store, Manifest(shadow, 1, 0.0, "", 8, "small", "", 0, ()))
    redis_client.flushall()
    age(store, 30 * DAY)
    home.index.cleanup("default", 7 * DAY)
    left = [item.key for item in store.list(store.bucket) if "/models/" in item.key or "/migrations/" in item.key]
    assert left == []
