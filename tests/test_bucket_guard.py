"""What keeps a trigger from running away, and one bad object from holding up the others. Real workers."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.buckets import documents
from runtime.buckets.entry import Entry
from runtime.config.settings import Batch, Guard, StoreSettings
from runtime.invocations import submit
from runtime.invocations.invocation import read_many
from tests.triggering import House, until
from triggers.batching import Cut, Room, Waiting, cut
from triggers.ledger import CLAIM, Change, Known, Ledger

LIMITS = Batch(max_items=8, max_bytes=100, window=0.1)


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Any:
    def make(handler: str = "note", **options: Any) -> House:
        house = House.build(redis_client, broker_url, store_settings, tmp_path, **options)
        house.handler = handler
        return house

    return make


def test_a_function_that_writes_under_its_own_trigger_is_stopped(build: Any) -> None:
    house = build("echo", guard=Guard(max_hops=3))
    with house.working():
        house.put("a", b"x")
        house.tell("a")
        names = ["a" + ".again" * count for count in range(4)]
        house.poke(lambda: house.state(names[3]) == "dead", *names)
        reason = house.entry(names[3]).reason
        assert "loop" in reason and "note" in reason and "max_hops is 3" in reason
        time.sleep(0.5)  # nothing more comes of it
        assert {one.object_name for one in house.s3.list_objects(house.bucket)} == set(names)
    assert len(house.calls()) == 3


def test_a_function_that_overwrites_its_object_is_stopped(build: Any) -> None:
    house = build("restless", guard=Guard(max_hops=4))
    with house.working():
        house.put("a", b"x")
        house.poke(lambda: house.state("a") == "dead" and "loop" in house.entry("a").reason, "a")
        assert house.s3.get_object(house.bucket, "a").data == b"x!!!!"
    assert len(house.calls()) == 4


def test_a_loop_is_stopped_when_only_listings_find_it(build: Any) -> None:
    house = build("echo", guard=Guard(max_hops=2), rescan=0.1)
    with house.working():
        house.put("a", b"x")
        until(lambda: house.state("a.again.again") == "dead")
        house.settle_listing()
    assert len(house.calls()) == 2


def test_a_key_that_others_write_all_the_time_is_called_at_a_bounded_rate(
    build: Any, caplog: pytest.LogCaptureFixture
) -> None:
    house = build(guard=Guard(key_runs_per_minute=5))
    with house.running():
        for number in range(12):
            house.put("busy", b"%d" % number)
            house.tell("busy")
            if number < 5:
                until(partial(_called, house, number + 1))
                house.finish("busy")
        until(lambda: "busy" in caplog.text)
        house.put("other")
        house.tell("other")
        house.finish("other")
        assert len(house.calls()) == 6, "five for the busy key, one for the other"
        assert house.entry("busy").etag != house.s3.stat_object(house.bucket, "busy").etag
        # A minute later: the newest of all that came meanwhile.
        raw: Any = house.client.hget(house.watch.ledger, "busy")
        entry = Entry.decode(raw)
        house.client.hset(house.watch.ledger, "busy", entry.moved(entry.at + 60).encode())
    with house.running():
        until(lambda: len(house.calls()) == 7)
        house.finish("busy")
        last = house.calls()[-1].arguments["objects"][0]
        assert last["etag"] == house.s3.stat_object(house.bucket, "busy").etag


def _called(house: House, count: int) -> bool:
    return len(house.calls()) == count


def test_heat_cools_with_time() -> None:
    entry = Entry("done", at=100.0, heat=30.0)
    assert entry.cooled(110.0) == 20.0 and entry.cooled(200.0) == 0.0 and entry.cooled(90.0) == 30.0
    assert entry.moved(110.0, state="dead") == Entry("dead", at=110.0, heat=20.0)


@pytest.mark.parametrize("guard", [Guard(objects_per_minute=3), Guard(bytes_per_minute=12)])
def test_budgets_hold_for_all_processes_together(build: Any, guard: Guard) -> None:
    house = build(guard=guard, rescan=0.1, batch=Batch(max_items=2, window=0.0))
    for number in range(9):
        house.put(f"{number}", b"1234")
    until(lambda: 2 < time.time() % 60 < 45)  # the minute must not end while we look
    with house.running(count=2):
        until(lambda: len(house.changes()) == 3)
        house.end_all()
        house.settle_listing()
        assert len(house.changes()) == 3
        spent = house.client.hgetall(keys.budget(house.watch.name, house.bucket))
        assert (spent[b"objects"], spent[b"bytes"]) == (b"3", b"12")
        # The next minute.
        house.client.hset(keys.budget(house.watch.name, house.bucket), "minute", 0)
        until(lambda: len(house.changes()) == 6)
    assert len(set(house.changes())) == 6


def test_the_minute_of_a_budget_is_the_brokers(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build(guard=Guard(objects_per_minute=1))
    book = Ledger(house.client, house.watch)

    def claim(key: str) -> str | None:
        change = Change(key, Known(b"", None), Entry("pending", "e", 1, "created", 1, key))
        names, arguments = book.claim_arguments(key, 9, [change])
        call = submit.Call("note", {"objects": []}, trigger="bucket", id=key)
        return submit.submit_with(house.client, house.deployment, call, CLAIM, names, arguments)

    until(lambda: time.time() % 60 < 50)
    assert claim("a")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 60)  # a host whose clock is ahead
    assert claim("b") is None


@pytest.mark.parametrize(
    ("sizes", "room", "expected"),
    [
        ([1, 1, 1], Room(2, 100, 30.0, False), Cut(2)),
        ([1, 1, 1], Room(0, 100, 30.0, False), Cut(0, 30.0)),
        ([5, 5, 5], Room(9, 12, 30.0, False), Cut(2)),
        ([50], Room(9, 12, 30.0, False), Cut(0, 30.0)),
        ([50, 1], Room(9, 12, 30.0, True), Cut(1)),
    ],
)
def test_a_batch_keeps_within_the_budget(sizes: list[int], room: Room, expected: Cut) -> None:
    assert cut([Waiting(size, 10.0) for size in sizes], LIMITS, out=0, in_flight=2, now=10.0, room=room) == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([2, 2, 2], 2), ([2, 0, 0], 1), ([0, 0, 2], 2), ([1, 1], 1), ([0] * 9, 8)],
)
def test_objects_of_a_failed_batch_go_in_smaller_ones(shares: list[int], expected: int) -> None:
    found = cut([Waiting(1, 10.0, share) for share in shares], LIMITS, out=1, in_flight=2, now=20.0)
    assert found == Cut(expected)


def test_one_bad_object_holds_up_no_other_and_becomes_a_dead_letter(build: Any) -> None:
    house = build("picky", batch=Batch(max_items=8, window=0.0))
    names = [f"{number}.txt" for number in range(8)]
    for name in names:
        house.put(name, b"bad" if name == "5.txt" else b"good")
    with house.working():
        until(lambda: house.state("5.txt") == "dead")
        until(lambda: all(house.state(name) == "done" for name in names if name != "5.txt"))
        found = documents.document_status(house.client, house.project, house.bucket, "5.txt")
        assert found and found["status"] == "failed" and "5.txt is bad" in found["reason"]
        letters: Any = house.client.zrange(keys.ended("dead"), 0, -1)
        (letter,) = read_many(house.client, [name.decode() for name in letters]).values()
        assert letter and letter.attempts == 2, "the last one was retried as the function says"
        (told,) = letter.arguments["objects"]
        assert (told["key"], told["etag"]) == ("5.txt", house.s3.stat_object(house.bucket, "5.txt").etag)
        for name in names:  # nothing is tried again until it changes
            house.tell(name)
        until(lambda: not house.client.xlen(keys.EVENTS))
        calls = len(house.calls())
        house.put("5.txt", b"good")
        house.tell("5.txt")
        until(lambda: house.state("5.txt") == "done")
    assert len(house.calls()) == calls + 1
    split = [call for call in house.calls() if call.state == "failed"]
    assert [len(call.arguments["objects"]) for call in split] == [8, 4, 2]


def test_a_function_that_puts_everything_off_is_called_at_a_bounded_rate(build: Any) -> None:
    house = build("never", guard=Guard(key_runs_per_minute=3), batch=Batch(window=0.0))
    house.put("a")
    with house.working():
        until(lambda: sum(call.terminal for call in house.calls()) == 3)
        house.put("b")
        house.tell("b")
        until(lambda: [key for _, key in house.changes()].count("b") == 3)  # time enough for more of `a`
    assert [key for _, key in house.changes()].count("a") == 3
