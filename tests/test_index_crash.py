"""Killed before every one of its steps, whatever changes an index leaves a whole version to the readers and all work to
the next one; what it left behind goes with the next cleanup."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.index import layout, plan
from runtime.index.port import FaissIndex
from tests.crashing import LATER, Place, Scene, commit_rows
from tests.indexing import fresh_store, house, put
from tests.migrating import pair


@pytest.fixture
def scene(store_settings: StoreSettings, broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Scene:
    store = fresh_store(store_settings)
    settings = store_settings.model_copy(update={"bucket": store.bucket})
    home = house(store, redis_client, tmp_path, later=LATER)
    return Scene(home, Place(settings, broker_url, tmp_path / "builder"), redis_client)


def build(index: FaissIndex, name: str) -> None:
    index.build(name)


def rollback(index: FaissIndex, name: str, generation: int) -> None:
    index.rollback(name, generation)


def release(index: FaissIndex, name: str) -> None:
    index.release(name)


def cleanup(index: FaissIndex, name: str) -> None:
    index.cleanup(name, 0)


def compact(index: FaissIndex, name: str) -> None:
    plan.MANY_SEGMENTS = 1  # in the process that will be killed, too
    index.compact(name)


def migrate(index: FaissIndex, name: str) -> None:
    index.migrate(name, pair()[1], run="run", task="run", stop=lambda: False, report=lambda *_: None)


def ends_well(scene: Scene) -> None:
    """Nothing is lost, nothing is left behind, and the batches alone would do."""
    scene.build()
    assert scene.seen() == scene.served() == scene.expected
    cleans_well(scene)
    for item in list(scene.home.store.list(scene.home.store.bucket, layout.root(scene.name))):
        scene.home.store.delete(scene.home.store.bucket, item.key)
    FaissIndex(scene.home.store, scene.client, scene.place.cache.parent / "another").build(scene.name)
    assert scene.seen() == scene.expected


def cleans_well(scene: Scene) -> None:
    cleanup(scene.home.index, scene.name)
    assert scene.orphans() == set()
    assert scene.served() == scene.expected


def test_a_batch(scene: Scene) -> None:
    """Its own two parts, and what counts it; whoever does its documents again completes it."""
    for at in count(1):
        docs = [put("a", at, f"a {at}"), put(f"b{at}", at)]
        through = scene.kill(at, commit_rows, f"b{at}", docs, scene.name)
        scene.build()
        commit_rows(scene.home.index, f"b{at}", docs, scene.name)
        scene.build()
        scene.expected |= {doc.key: doc.contents for doc in docs}
        assert scene.served() == scene.expected
        if through:
            break
    assert at == 4
    ends_well(scene)


def test_the_first_version(scene: Scene) -> None:
    for at in count(1):
        scene.name, scene.expected = f"i{at}", {}
        scene.commit(("a", f"a {at}"), ("b", f"b {at}"))
        scene.commit(("c", f"c {at}"))
        through = scene.kill(at, build, scene.name)
        assert scene.seen() in ({}, scene.expected)
        scene.build()
        cleans_well(scene)
        if through:
            break
    assert at > 10
    ends_well(scene)


def test_a_new_version_over_older_ones(scene: Scene) -> None:
    """One document is overwritten, one removed, one new; from time to time there are so many segments that some are
    merged."""
    scene.commit(("a", "a"), *((f"b{at}", f"b {at}") for at in range(100)))
    scene.build()
    for at in count(1):
        before = dict(scene.expected)
        scene.commit(("a", f"a {at}"), (f"b{at}", ""), (f"c{at}", "c"))
        through = scene.kill(at, build, scene.name)
        assert scene.served() in (before, scene.expected)
        assert scene.seen() in (before, scene.expected)
        scene.build()
        assert scene.served() == scene.expected
        if through:
            break
    assert at > 10
    ends_well(scene)


def test_a_rollback(scene: Scene) -> None:
    scene.commit(("a", "a"))
    first, old = scene.build(), dict(scene.expected)
    for at in count(1):
        scene.commit(("a", f"a {at}"), ("b", f"b {at}"))
        scene.build()
        through = scene.kill(at, rollback, scene.name, first)
        assert scene.seen() in (old, scene.expected)
        rollback(scene.home.index, scene.name, first)
        assert scene.seen() == scene.served() == old
        release(scene.home.index, scene.name)
        scene.build()
        assert scene.served() == scene.expected
        if through:
            break
    assert at > 4
    ends_well(scene)


def test_a_release(scene: Scene) -> None:
    scene.commit(("a", "a"))
    first, old = scene.build(), dict(scene.expected)
    for at in count(1):
        scene.commit(("a", f"a {at}"))
        scene.build()
        rollback(scene.home.index, scene.name, first)
        scene.commit(("b", f"b {at}"))
        through = scene.kill(at, release, scene.name)
        assert scene.seen() == scene.served() == old
        release(scene.home.index, scene.name)
        scene.build()
        assert scene.served() == scene.expected
        if through:
            break
    assert at > 4
    ends_well(scene)


def test_a_compaction(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    scene.commit(("a", "a"), *((f"b{at}", f"b {at}") for at in range(100)))
    scene.build()
    for at in count(1):
        scene.commit(("a", f"a {at}"), (f"b{at}", ""), (f"c{at}", "c"))
        scene.build()
        through = scene.kill(at, compact, scene.name)
        assert scene.seen() == scene.expected
        compact(scene.home.index, scene.name)
        assert scene.served() == scene.expected
        if through:
            break
    assert at > 10
    ends_well(scene)


def test_a_migration(scene: Scene) -> None:
    """Batches, versions that are not the index's own yet, the switch, and what is forgotten after it."""
    for at in count(1):
        scene.name, scene.expected = f"m{at}", {}
        scene.commit(("a", "a 1"), ("b", "b"))
        scene.commit(("a", "a 2"), ("b", ""), ("c", "c"))
        scene.build()
        through = scene.kill(at, migrate, scene.name)
        assert scene.seen() == scene.expected
        migrate(scene.home.index, scene.name)
        current = scene.home.index.current(scene.name)
        assert current and current.dimensions == 8
        cleans_well(scene)
        if through:
            break
    assert at > 15
    ends_well(scene)


def test_a_cleanup(scene: Scene) -> None:
    """Old versions and their parts, batches that were replaced, and what others left behind, one object at a time."""
    scene.commit(("a", "a 1"), ("b", "b 1"))
    scene.build()
    scene.commit(("a", "a 2"), ("b", "b 2"), ("c", "c"))
    scene.build()
    scene.commit(("c", ""))
    scene.build()
    scene.home.index.rebuild(scene.name, "It is tried out.")
    scene.kill(2, commit_rows, "half", [put("d", 9)], scene.name)
    at, there = 1, objects(scene)
    for _ in range(len(there)):
        through = scene.kill(at, cleanup, scene.name)
        left = objects(scene)
        at, removed, there = (at if left != there else at + 1), there - left, left
        assert len(removed) <= 1 and scene.seen() == scene.expected
        if through:
            break
    assert through
    ends_well(scene)


def objects(scene: Scene) -> set[str]:
    return {item.key for item in scene.home.store.list(scene.home.store.bucket) if f"/{scene.name}/" in item.key}
