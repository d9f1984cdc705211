"""Beside builds that never stop, and after losses: a cleanup, a migration, a merge, numbers, the builders' lease."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.index import batches, layout, lease, manifest, plan, publication
from runtime.index.lease import BuildLease
from runtime.index.unneeded import Removal, Unneeded
from runtime.testing import MemoryStore
from tests.indexing import House, gone, house, put, write
from tests.migrating import contents, migrate, pair
from tests.test_retention import DAY, age


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def home(store: MemoryStore, redis_client: redis.Redis, tmp_path: Path) -> House:
    """Two versions, a month old: one document was overwritten, one embedded again, one removed."""
    made = house(store, redis_client, tmp_path)
    write(made.index, "first", put("a", 1, "a1"), put("b", 2, "b1"), put("c", 3, "c1"))
    made.index.build("default")
    write(made.index, "second", put("a", 4, "a2"), gone("b", 5), put("c", 6, "c1"))
    made.index.build("default")
    age(store, 30 * DAY)
    return made


def newest(home: House) -> manifest.Manifest:
    found = manifest.newest(home.store, "default")
    assert found
    return found


@pytest.mark.parametrize("then", ["builds", "a rollback", "a build anew"])
def test_a_cleanup_while_somebody_publishes_all_the_time(
    home: House, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Somebody does whenever it is decided what is to go."""
    decide, numbers, plans = Unneeded.removals, count(100), list[int]()

    def slowly(unneeded: Unneeded) -> Iterator[Removal]:
        found = list(decide(unneeded))
        plans.append(len(found))
        if then == "a rollback" and len(plans) == 1:
            home.index.rollback("default", 1)
        elif then == "a build anew" and len(plans) == 1:
            home.index.rebuild("default", "It is tried out.")
        elif then == "builds":
            seq = next(numbers)
            write(home.index, f"n{seq}", put(f"k{seq}", seq))
            home.index.build("default", [f"n{seq}"])
        return iter(found)

    monkeypatch.setattr(Unneeded, "removals", slowly)
    counts = home.index.cleanup("default", 7 * DAY)
    home.reader.refresh("default")
    if then == "builds":
        assert (counts["batches"], counts["manifests"], len(plans)) == (1, 1, 1)
        assert home.contents() == {"a": ["a2"], "c": ["c1"], "k100": ["k100 at 100"]}
    else:
        assert len(plans) == 2, "it was decided anew"
        kept = {"a": ["a1"], "b": ["b1"], "c": ["c1"]} if then == "a rollback" else {"a": ["a2"], "c": ["c1"]}
        assert home.contents() == kept
    fresh = house(home.store, home.index._client, home.cache / "fresh")
    fresh.reader.refresh("default")
    assert fresh.contents() == home.contents()


def test_a_half_batch_that_is_completed_while_a_cleanup_decides(
    home: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors are those of a worker that died a month ago; only its commit is written now."""
    path = write(home.index, "half", put("d", 9, "d1"))
    store.delete(store.bucket, path + layout.ROWS)
    age(store, 30 * DAY)
    decide = Unneeded.removals

    def slowly(unneeded: Unneeded) -> Iterator[Removal]:
        found = list(decide(unneeded))
        write(home.index, "half", put("d", 9, "d1"))
        return iter(found)

    monkeypatch.setattr(Unneeded, "removals", slowly)
    assert home.index.cleanup("default", 7 * DAY)["half_batches"] == 0
    assert home.index.build("default").documents == 3


def test_a_migration_while_documents_come_all_the_time(
    home: House, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is written at each look at what there is, and published unless builds have to wait."""
    numbers, look = count(100), batches.listing
    expected = {"a": ["a2"], "c": ["c1"]}
    _, small = pair()

    def listing(store: Any, space: str) -> Any:
        found = look(store, space)
        if space == "default":
            seq = next(numbers)
            write(home.index, f"n{seq}", put(f"k{seq}", seq))
            expected[f"k{seq}"] = [f"k{seq} at {seq}"]
            if not redis_client.exists(keys.index_build("default")):
                home.index.build("default", [f"n{seq}"])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(batches, "listing", listing)
        assert migrate(home, small).state == "done"
    assert newest(home).model == "small"
    assert home.index.build("default").late or set(contents(home, 8)) == set(expected)
    assert migrate(home, small, run="late", task="late").state == "done"
    assert contents(home, 8) == expected


def test_many_batches_that_came_too_late_are_read_once(
    home: House, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "MANY_BEATEN", 3)
    for number in range(4):
        write(home.index, f"late{number}", put("a", 0, f"of old {number}"))
        assert not home.index.build("default", [f"late{number}"]).published, "there is nothing new in it"
    read, names = batches.read, list[str]()

    def told(store: Any, index: str, batch_id: str) -> batches.Batch:
        names.append(batch_id)
        return read(store, index, batch_id)

    monkeypatch.setattr(batches, "read", told)
    before = newest(home)
    home.index._builder._listings.due.clear()
    home.index.build("default")
    home.index.build("default")
    assert sorted(names) == [f"late{number}" for number in range(4)]
    assert home.index._builder.build("default")[1] == newest(home)
    after = newest(home)
    assert (after.vectors, after.documents) == (before.vectors, before.documents)
    assert home.reader.refresh("default") and home.contents() == {"a": ["a2"], "c": ["c1"]}
    age(store, 30 * DAY)
    assert home.index.cleanup("default", 7 * DAY)["batches"] == 5, "they and the first one"
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    assert home.index.compact("default").published
    assert home.reader.refresh("default") and home.contents() == {"a": ["a2"], "c": ["c1"]}


def test_what_a_rollback_took_away_is_back_with_the_first_build(home: House) -> None:
    """Also where that build is told of other batches, and has listed all of them a moment ago."""
    write(home.index, "third", put("d", 7, "d1"))
    home.index.build("default")
    home.index.rollback("default", 2)
    write(home.index, "held", put("e", 8, "e1"))
    home.index.build("default", ["held"])
    home.index.build("default")
    home.index.release("default")
    write(home.index, "fourth", put("f", 9, "f1"))
    home.index.build("default", ["fourth"])
    home.reader.refresh("default")
    assert home.contents() == {"a": ["a2"], "c": ["c1"], "d": ["d1"], "e": ["e1"], "f": ["f1"]}


def test_a_lost_part_that_only_a_merge_reads(
    home: House, store: MemoryStore, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Builds would go on upon it for ever, and all fail at the end, on a host that has no copy."""
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 2)
    monkeypatch.setattr(plan, "MOST_SEGMENTS", 2)
    store.delete(store.bucket, layout.beginning("default", newest(home).segments[0].segment))
    other = house(store, redis_client, tmp_path / "other")
    write(other.index, "third", put("d", 9, "d1"))
    report = other.index.build("default", ["third"])
    assert report.published and "built anew" in report.warnings[0]
    other.reader.refresh("default")
    assert other.contents() == {"a": ["a2"], "c": ["c1"], "d": ["d1"]}


def test_a_build_after_the_broker_was_emptied(home: House, redis_client: redis.Redis) -> None:
    """Its counter starts above the numbers of batches that were not built yet, whoever is first."""
    write(home.index, "waits", put("x", 5000))
    redis_client.flushall()
    write(home.index, "third", put("d", 9, "d1"))
    assert home.index.build("default", ["third"]).published
    assert home.index.next_seq("default") > 5000


def test_segments_of_a_migration_have_words(store: MemoryStore, redis_client: redis.Redis, tmp_path: Path) -> None:
    asked: set[str] = set()

    def hybrid(index: str) -> bool:
        asked.add(index)
        return False

    made = house(store, redis_client, tmp_path, hybrid=hybrid)
    write(made.index, "first", put("a", 1))
    made.index.build("default")
    shadow = layout.shadow("default", "small")
    manifest.commit(store, manifest.Manifest(shadow, 1, 0.0, "", 8, "small", "", 0, ()))
    made.index._compactor.compact(shadow)
    assert asked == {"default"}


def hold(url: str, told: Any) -> None:
    with BuildLease(broker.connect(url), "default"):
        told.put(os.getpid())
        time.sleep(60)


def test_a_killed_builder_is_waited_for_no_longer_than_its_lease(redis_client: redis.Redis, broker_url: str) -> None:
    context = multiprocessing.get_context("forkserver")
    told = context.Queue()
    process = context.Process(target=hold, args=(broker_url, told))
    process.start()
    os.kill(told.get(timeout=30), signal.SIGKILL)
    process.join()
    began = time.monotonic()
    with BuildLease(redis_client, "default") as mine:
        assert mine.held and time.monotonic() - began <= lease.SECONDS + 1


def test_a_lease_is_kept_while_it_is_needed(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SECONDS", 1)
    with BuildLease(redis_client, "default") as mine, BuildLease(redis_client, "default", patience=2.5) as other:
        assert mine.held and not other.held
    assert not redis_client.exists(keys.index_build("default"))
