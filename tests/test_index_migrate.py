"""Another model for an index, on a real store and broker: one switch, nothing lost, back and forth."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import redis

from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.errors import BadInput, CorruptSegment, PreconditionFailed, Retry
from runtime.index import batches, layout, manifest, spaces
from runtime.index.migration_state import MigrationState
from runtime.index.port import FaissIndex
from tests.indexing import House, fresh_store, gone, house, put, rows_of, vector, write
from tests.migrating import OLD, OtherModels, contents, migrate, pair

NEW = "small"


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def filled(home: House) -> dict[str, list[str]]:
    """Two documents that are there, one of which was another before, and one that is gone."""
    write(home.index, "b1", put("a", 1, "one", "two"), put("b", 2, "old"))
    home.index.build("default")
    write(home.index, "b2", put("b", 3, "new"), put("c", 4, "never"))
    write(home.index, "b3", gone("c", 5))
    home.index.build("default")
    return {"a": ["one", "two"], "b": ["new"]}


def newest(home: House) -> manifest.Manifest:
    found = manifest.newest(home.store, "default")
    assert found
    return found


def _over(models: OtherModels, count: int) -> Callable[[], bool]:
    """Whether so many texts were embedded, and one more."""
    return lambda: models.embedded > count


def test_one_switch(home: House) -> None:
    expected = filled(home)
    before = newest(home)
    _, small = pair()
    done = migrate(home, small)
    assert (done.state, done.done, done.total, done.damaged) == ("done", 3, 3, [])
    after = newest(home)
    assert done.generation == after.generation == before.generation + 1, "one manifest is the switch"
    assert (after.model, after.dimensions, after.native) == (NEW, 8, OLD)
    assert (after.documents, after.vectors, after.max_seq) == (before.documents, before.vectors, before.max_seq)
    assert contents(home, 8) == expected
    (hit,) = home.reader.search("default", vector("two", 8), 1).hits
    assert (hit.key, hit.chunk, hit.etag, round(hit.score, 4)) == ("a", 1, "one|two", 1.0)
    assert not list(spaces.shadows(home.store, "default")), "what led to it is forgotten"
    embedded = small.embedded
    assert migrate(home, small, run="again", task="again").state == "done"
    assert (newest(home), small.embedded) == (after, embedded), "asked once more, nothing is done"


def test_the_old_version_answers_and_takes_documents_meanwhile(home: House, redis_client: redis.Redis) -> None:
    expected = filled(home)
    _, small = pair()
    seq = iter(range(10, 100))

    def meanwhile() -> None:
        assert contents(home, 16) == expected
        if redis_client.exists(keys.index_build("default")):
            return  # it is about to switch, and a build here would wait for who waits for it
        if (number := next(seq)) < 14:
            write(home.index, f"m{number}", put(f"m{number}", number))
            expected[f"m{number}"] = [f"m{number} at {number}"]
            home.index.build("default")

    small.before = meanwhile
    assert migrate(home, small).state == "done"
    assert newest(home).model == NEW
    assert contents(home, 8) == expected
    assert len(expected) > 2, "documents came meanwhile"


def test_new_documents_after_the_switch(home: House) -> None:
    expected = filled(home)
    _, small = pair()
    migrate(home, small)
    assert home.index.model("default").name in (NEW, OLD)
    path = write(home.index, "n1", put("d", 20), gone("a", 21), dimensions=8, model=NEW)
    assert path.startswith(layout.models("default"))
    assert home.index.read_batch("default", "n1") and home.index.read_batch("default", "n1", OLD) is None
    report = home.index.build("default", ["n1"])
    assert (report.published, report.late) == (True, 0)
    late = write(home.index, "n2", put("c", 4, "a late word of what is deleted"), dimensions=8, model=NEW)
    assert late and not home.index.build("default").published
    del expected["a"]
    assert contents(home, 8) == {**expected, "d": ["d at 20"]}


def test_a_late_batch_of_the_old_model(home: House) -> None:
    expected = filled(home)
    _, small = pair()
    migrate(home, small)
    write(home.index, "late", put("late", 30))
    report = home.index.build("default", ["late"])
    assert (report.published, report.late) == (False, 1), "the build tells that it cannot use it"
    assert report.warnings == ()
    done = migrate(home, small, run="late", task="late")
    assert (done.state, done.generation) == ("done", newest(home).generation)
    assert contents(home, 8) == {**expected, "late": ["late at 30"]}
    state = MigrationState(home.index._client, "default").read()
    assert state and state.run == "run", "that is no migration: people are not told of one"


def test_rollback_to_the_old_model_and_forward(home: House) -> None:
    expected = filled(home)
    before = newest(home).generation
    big, small = pair()
    switched = migrate(home, small).generation
    write(home.index, "n1", put("new", 40), dimensions=8, model=NEW)
    home.index.build("default")
    home.index.rollback("default", before)
    assert (newest(home).model, newest(home).dimensions, newest(home).space) == (OLD, 16, "default")
    assert contents(home, 16) == expected
    with pytest.raises(BadInput, match="held by a rollback"):
        migrate(home, small, run="x", task="x")
    home.index.release("default")
    report = home.index.build("default", ["n1"])
    assert report.late == 1, "what came in the new model is not there yet"
    migrate(home, big, run="back", task="back")
    expected["new"] = ["new at 40"]
    assert contents(home, 16) == expected
    assert big.embedded == 1, "what the old model has embedded once is not embedded again"
    home.index.rollback("default", switched)
    home.index.release("default")
    home.index.build("default")
    assert contents(home, 8) == expected
    # And by the command that people know: its batches are all there.
    embedded = big.embedded
    assert migrate(home, big, run="there", task="there").state == "done"
    assert (newest(home).model, newest(home).space, big.embedded) == (OLD, "default", embedded)
    assert contents(home, 16) == expected


def test_stopping_and_going_on(home: House) -> None:
    for number in range(6):
        write(home.index, f"b{number}", put(f"k{number}", number + 1))
    home.index.build("default")
    _, small = pair()
    for step in range(5):
        left = migrate(home, small, task=f"t{step}" if step else "run", stop=_over(small, step))
        assert (left.state, left.done, left.total, newest(home).model) == ("running", step + 1, 6, OLD)
    assert migrate(home, small, task="last").state == "done"
    assert small.embedded == 6
    state = MigrationState(home.index._client, "default").read()
    assert state and (state.run, state.state, state.done, state.total) == ("run", "done", 6, 6)
    assert state.identity == state.model == NEW


def test_cancelled(home: House) -> None:
    filled(home)
    _, small = pair()
    state = MigrationState(home.index._client, "default")
    assert state.cancel() is None
    small.before = state.cancel
    assert migrate(home, small).state == "cancelled"
    assert newest(home).model == OLD
    assert migrate(home, small, task="next").state == "cancelled", "a step that was on its way does nothing"
    small.before = lambda: None
    assert migrate(home, small, run="r2", task="r2").state == "done"


def test_another_one_takes_its_place(home: House) -> None:
    filled(home)
    _, small = pair()
    small.before = lambda: MigrationState(home.index._client, "default").begin("r2", "r2", "another")
    assert migrate(home, small).state == "cancelled"
    told = MigrationState(home.index._client, "default").read()
    assert told and (told.run, told.model, told.state) == ("r2", "another", "running")


def test_a_large_batch_goes_in_parts(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.index.migrate.PART_ROWS", 4)
    monkeypatch.setattr("runtime.index.migrate.SLICE", 2)
    docs = [put(f"k{number}", number + 1, "x", "y", f"z{number}") for number in range(5)]
    write(home.index, "b1", *docs, gone("k9", 9))
    home.index.build("default")
    big, small = pair()
    assert migrate(home, small, stop=lambda: small.embedded >= 8).state == "running"
    assert migrate(home, small, task="next").state == "done"
    assert small.embedded == 15 + 2, "of a part that was not whole two texts were for nothing"
    assert contents(home, 8) == {doc.key: doc.contents for doc in docs}
    migrate(home, big, run="back", task="back")
    assert big.embedded == 0, "parts are no batches of their own"


def test_damage_is_named_and_keeps_the_old_model(home: House) -> None:
    filled(home)
    place = layout.batch("default", "b1") + layout.ROWS
    home.store.put(home.store.bucket, place, b"damage")
    _, small = pair()
    with pytest.raises(CorruptSegment, match=r"1 of its documents are not the same.*b1.*not msgpack"):
        migrate(home, small)
    assert newest(home).model == OLD
    told = MigrationState(home.index._client, "default").read()
    assert told and told.state == "failed" and "not msgpack" in told.message


def test_damage_that_nothing_needs_is_only_named(home: House) -> None:
    expected = filled(home)
    write(home.index, "b4", put("a", 9, "three"))
    home.index.build("default")
    write(home.index, "b5", put("b", 10, "four"))
    home.index.build("default")
    home.store.put(home.store.bucket, layout.batch("default", "b1") + layout.ROWS, b"damage")
    _, small = pair()
    done = migrate(home, small)
    assert done.state == "done" and "not msgpack" in done.damaged[0]
    assert contents(home, 8) == {**expected, "a": ["three"], "b": ["four"]}


def test_nothing_to_migrate(home: House) -> None:
    _, small = pair()
    with pytest.raises(BadInput, match="has no vectors yet"):
        migrate(home, small)
    with pytest.raises(BadInput, match="cannot be the name"):
        migrate(home, small, name="default~0123456789abcdef")


def test_two_indexes_do_not_meet(home: House) -> None:
    filled(home)
    write(home.index, "b1", put("x", 1), name="other")
    home.index.build("other")
    _, small = pair()
    migrate(home, small)
    assert home.index.current("other") and home.index.current("other").model == OLD  # type: ignore[union-attr]
    assert home.index.names() == ["default", "other"]
    assert set(batches.listing(home.store, "other")) == {"b1"}


def test_a_fresh_broker_knows_the_numbers_of_every_model(home: House, redis_client: redis.Redis) -> None:
    filled(home)
    _, small = pair()
    migrate(home, small)
    home.index.write_batch("default", "n1", rows_of([put("n", 7_000_000)]), np.array([vector("n", 8)]), NEW)
    redis_client.flushall()
    fresh = house(home.store, redis_client, home.cache.parent / "fresh")
    assert fresh.index.next_seq("default") > 7_000_000


def test_builders_and_compaction_at_the_same_time(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others publish between any two steps of a migration is in the new version, or comes to it."""
    monkeypatch.setattr("runtime.index.plan.MANY_SEGMENTS", 2)
    expected = filled(home)
    _, small = pair()
    others = FaissIndex(home.store, home.index._client, home.cache.parent / "others")
    numbers = iter(range(100, 200))
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            number = next(numbers)
            write(others, f"o{number}", put(f"o{number}", number))
            expected[f"o{number}"] = [f"o{number} at {number}"]
            with contextlib.suppress(Retry, PreconditionFailed):
                others.build("default", [f"o{number}"])
            with contextlib.suppress(Retry, PreconditionFailed, CorruptSegment):
                others.compact("default")
            if number >= 130:
                return

    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish)
        while migrate(home, small).state != "done":
            pass
        stop.set()
        publishing.result()
    assert newest(home).model == NEW
    while home.index.build("default").late or others.build("default").late:
        migrate(home, small, run="late", task="late")
    migrate(home, small, run="late", task="late")
    assert contents(home, 8) == expected
