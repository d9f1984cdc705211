"""Killed before every one of its steps, between the store, the broker and Qdrant: searches have a whole version, the
alias names a filled collection, the next one loses nothing, and no collection is left behind.

That takes minutes: every twelfth step is tried here, and all of them by `make chaos`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.index import manifest
from runtime.index.engines import Indexes
from runtime.index.qdrant import collection
from tests.indexing import fresh_store, gone, put, write
from tests.qdrant_killing import Action, Scene, few_indexes, scene_of
from tests.qdrant_server import Served, serve

Scenes = Callable[[str, int], Scene]
EVERY = int(os.environ.get("TUNDISH_TEST_EVERY", "12"))
"""One step of so many is tried."""
FIRST = {"a": ["a1", "a1 too"], "b": ["b"]}
LAST = {"a": ["a3"], "c": ["c"]}


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def scenes(
    served: Served,
    store_settings: StoreSettings,
    broker_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scenes:
    monkeypatch.setattr(collection, "_INDEXED", collection._INDEXED)  # as it was, at the end
    few_indexes()
    store = fresh_store(store_settings)
    settings = store_settings.model_copy(update={"bucket": store.bucket})
    return lambda engine, at: scene_of(settings, broker_url, redis_client, tmp_path, served, engine, at)


def build(index: Indexes, name: str) -> None:
    index.build(name)


def anew(index: Indexes, name: str) -> None:
    index.rebuild(name, "for a test")


def rollback(index: Indexes, name: str) -> None:
    index.rollback(name, 1)


def cleanup(index: Indexes, name: str) -> None:
    index.cleanup(name, 0)


def move_in(index: Indexes, name: str) -> None:
    move(index, name, "qdrant", "killed")


def move_out(index: Indexes, name: str) -> None:
    move(index, name, "faiss", "killed")


def move(index: Indexes, name: str, engine: str, run: str) -> None:
    told = index.move(
        name, engine, recall=0.99, run=run, task=run, stop=lambda: False, report=lambda done, total, message: None
    )
    assert told.state == "done"


def first(scene: Scene) -> None:
    index, name = scene.place.index(), scene.place.name
    write(index, "one", put("a", 1, "a1", "a1 too"), put("b", 2, "b"), name=name)
    index.build(name)


def second(scene: Scene) -> None:
    """What is to be built: something new, something changed, something removed."""
    index, name = scene.place.index(), scene.place.name
    write(index, "two", put("a", 3, "a3"), name=name)
    write(index, "three", gone("b", 4), put("c", 5, "c"), name=name)


def ends_well(scene: Scene, at: int, expected: dict[str, list[str]] = LAST) -> None:
    assert scene.place.contents() == expected, at
    assert scene.wrong == scene.half_filled() == [], at
    assert scene.orphans() == set(), at
    assert scene.place.contents() == expected, at
    assert scene.half_filled() == [], at
    scene.drop()


@pytest.mark.parametrize("action", [build, anew])
def test_a_build(scenes: Scenes, action: Action) -> None:
    for at in count(1, EVERY):
        scene = scenes("qdrant", at)
        first(scene)
        second(scene)
        through = scene.kill(at, action)
        assert scene.place.contents() in (FIRST, LAST), at
        assert scene.place.contents(1) == FIRST, at
        assert scene.half_filled() == [], at
        scene.place.index().build(scene.place.name)
        assert scene.place.contents(1) == FIRST, at
        ends_well(scene, at)
        if through:
            break
    assert at > 10


def test_the_first_build(scenes: Scenes) -> None:
    for at in count(1, EVERY):
        scene = scenes("qdrant", at)
        second(scene)
        through = scene.kill(at, build)
        assert scene.place.contents() in ({}, LAST), at
        assert scene.half_filled() == [], at
        scene.place.index().build(scene.place.name)
        ends_well(scene, at)
        if through:
            break
    assert at > 10


def test_a_rollback_and_a_cleanup(scenes: Scenes) -> None:
    for action in (rollback, cleanup):
        for at in count(1, EVERY):
            scene = scenes("qdrant", at)
            first(scene)
            second(scene)
            scene.place.index().rebuild(scene.place.name, "for a test")
            through = scene.kill(at, action)
            assert scene.place.contents() in ((FIRST, LAST) if action is rollback else (LAST,)), at
            assert scene.half_filled() == [], at
            if action is rollback:
                rollback(scene.place.index(), scene.place.name)
            ends_well(scene, at, FIRST if action is rollback else LAST)
            if through:
                break
        assert at > 2


@pytest.mark.parametrize(("engine", "action"), [("faiss", move_in), ("qdrant", move_out)], ids=["in", "out"])
def test_a_move(scenes: Scenes, engine: str, action: Action) -> None:
    """The old engine answers until the new one does, and takes what comes between a kill and the next try."""
    other = "qdrant" if engine == "faiss" else "faiss"
    for at in count(1, EVERY):
        scene = scenes(engine, at)
        first(scene)
        second(scene)
        index, name = scene.place.index(), scene.place.name
        index.build(name)
        through = scene.kill(at, action)
        current = manifest.newest(scene.place.store, name)
        assert current and current.engine in ((other,) if through else (engine, other)), at
        assert scene.place.contents() == LAST, at
        assert scene.half_filled() == [], at
        write(scene.place.index(), "four", put("d", 6, "d"), name=name)
        scene.place.index().build(name)
        expected = {**LAST, "d": ["d"]}
        assert scene.place.contents() == expected, at
        move(scene.place.index(), name, other, "again")
        current = manifest.newest(scene.place.store, name)
        assert current and current.engine == other, at
        ends_well(scene, at, expected)
        if through:
            break
    assert at > 10
