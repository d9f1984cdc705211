"""Bucket triggers on a real store and broker: nothing is missed, nothing is done twice."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.buckets import documents, holds
from runtime.buckets.watch import watches
from runtime.config.settings import Batch, StoreSettings
from runtime.host.free_ports import Ports
from runtime.system import services
from tests.conftest import running
from tests.triggering import House, kill, until
from tests.workers import worker


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Any:
    return lambda **options: House.build(redis_client, broker_url, store_settings, tmp_path, **options)


def status(house: House, key: str) -> Any:
    found = documents.document_status(house.client, house.project, house.bucket, key)
    return found and found["status"]


def test_a_dropped_object_is_handed_out_once_with_all_that_is_known_of_it(build: Any) -> None:
    house = build(index="papers", arguments={"depth": 2})
    with house.running():
        house.put("a b+ü.txt", b"hello")
        house.tell("a b+ü.txt", "a b+ü.txt")
        (call,) = until(house.calls)
        (told,) = call.arguments["objects"]
        etag = house.s3.stat_object(house.bucket, "a b+ü.txt").etag
        assert told == {
            "bucket": house.bucket,
            "key": "a b+ü.txt",
            "event": "created",
            "etag": etag,
            "size": 5,
            "seq": 1,
        }
        assert call.arguments["index"] == "papers" and call.arguments["depth"] == 2
        assert call.trigger == "bucket"
        assert status(house, "a b+ü.txt") == "pending"
        house.client.hset(keys.invocation(call.id), "state", "running")
        assert status(house, "a b+ü.txt") == "processing"
        house.finish("a b+ü.txt")
        assert status(house, "a b+ü.txt") == "completed"
        house.tell("a b+ü.txt")
        until(lambda: not house.client.xlen(keys.EVENTS))
    assert len(house.calls()) == 1


def test_the_same_bytes_again_are_no_change_and_other_bytes_are(build: Any) -> None:
    house = build()
    with house.running():
        house.put("a.txt", b"one")
        house.tell("a.txt")
        until(house.calls)
        house.finish("a.txt")
        house.put("a.txt", b"one")
        house.tell("a.txt")
        until(lambda: not house.client.xlen(keys.EVENTS))
        assert len(house.calls()) == 1
        house.put("a.txt", b"two")
        house.tell("a.txt")
        until(lambda: len(house.calls()) == 2)
        house.finish("a.txt")
    assert [one.arguments["objects"][0]["seq"] for one in house.calls()] == [1, 2]


def test_a_key_that_changes_while_it_is_under_way_is_handed_out_again_afterwards(build: Any) -> None:
    house = build()
    with house.running():
        house.put("a.txt", b"one")
        house.tell("a.txt")
        (first,) = until(house.calls)
        for number in range(20):
            house.put("a.txt", b"%d" % number)
            house.tell("a.txt")
        until(lambda: house.entry("a.txt").again and not house.client.xlen(keys.EVENTS))
        assert len(house.calls()) == 1
        assert status(house, "a.txt") == "pending"
        house.end(first)
        until(lambda: len(house.calls()) == 2)
        house.finish("a.txt")
    last = house.calls()[-1].arguments["objects"][0]
    assert last["etag"] == house.s3.stat_object(house.bucket, "a.txt").etag
    assert len(house.calls()) == 2


def test_a_newer_change_for_an_index_does_not_wait_for_the_retry_of_an_older_one(build: Any) -> None:
    house = build(index="papers")
    with house.running():
        house.put("a.txt", b"broken")
        house.tell("a.txt")
        (first,) = until(house.calls)
        house.client.hset(keys.invocation(first.id), "state", "retrying")
        house.put("a.txt", b"mended")
        house.tell("a.txt")
        until(lambda: len(house.calls()) == 2)
        second = house.calls()[1]
        house.end(first, "dead", error={"type": "ValueError", "message": "broken"})
        house.end(second)
        until(lambda: house.state("a.txt") == "done")
    assert house.entry("a.txt").invocation == second.id


def test_a_newer_change_waits_for_the_retry_of_an_older_one_where_only_order_tells(build: Any) -> None:
    house = build()
    with house.running():
        house.put("a.txt")
        house.tell("a.txt")
        house.finish("a.txt")
        house.remove("a.txt")
        house.tell("a.txt")
        (_, removal) = until(lambda: len(house.calls()) == 2 and house.calls())
        house.client.hset(keys.invocation(removal.id), "state", "retrying")
        house.put("a.txt", b"newer")
        house.tell("a.txt")
        until(lambda: house.entry("a.txt").again and not house.client.xlen(keys.EVENTS))
        assert len(house.calls()) == 2, "the removal that is tried again would come last"
        house.end(removal)
        house.finish("a.txt")
    assert house.changes() == [("created", "a.txt"), ("removed", "a.txt"), ("created", "a.txt")]


def test_an_object_that_was_gone_when_it_was_read_does_not_pass_for_done_when_it_is_back(build: Any) -> None:
    house = build()
    with house.running():
        house.put("a.txt", b"one")
        house.tell("a.txt")
        (call,) = until(house.calls)
        house.remove("a.txt")  # and nobody is told: neither of this nor of the return
        house.put("a.txt", b"one")
        house.end(call, result={"read": [{"bucket": house.bucket, "key": "a.txt", "etag": ""}]})
        until(lambda: len(house.calls()) == 2)
        house.finish("a.txt")
        assert house.entry("a.txt").etag == house.s3.stat_object(house.bucket, "a.txt").etag
    assert house.changes() == [("created", "a.txt"), ("created", "a.txt")]


def test_a_removed_object_is_told_and_may_come_back(build: Any) -> None:
    house = build()
    with house.running():
        house.put("a.txt")
        house.tell("a.txt")
        until(house.calls)
        house.finish("a.txt")
        house.remove("a.txt")
        house.tell("a.txt")
        until(lambda: len(house.calls()) == 2)
        house.finish("a.txt", state="removed")
        assert status(house, "a.txt") == "removed"
        house.put("a.txt")
        house.tell("a.txt")
        until(lambda: len(house.calls()) == 3)
        house.finish("a.txt")
    assert house.changes() == [("created", "a.txt"), ("removed", "a.txt"), ("created", "a.txt")]


def test_a_rename_is_a_removal_and_a_new_object(build: Any) -> None:
    body = """{"event_type": "rename", "key": "/buckets/%s/old.txt", "message":
        {"old_entry": {"name": "old.txt"}, "new_entry": {"name": "new.txt"}, "new_parent_path": "/buckets/%s"}}"""
    house = build()
    house.put("old.txt")
    with house.running():
        house.finish("old.txt")
        house.put("new.txt")
        house.remove("old.txt")
        told = body % (house.bucket, house.bucket)
        house.client.xadd(keys.EVENTS, {"source": "seaweedfs", "body": told, "at": 0})
        house.finish("new.txt")
        house.finish("old.txt", state="removed")
    assert sorted(house.changes()[1:]) == [("created", "new.txt"), ("removed", "old.txt")]


def test_without_any_event_everything_arrives_by_the_listing(build: Any) -> None:
    house = build(rescan=0.1, suffix=(".txt",))
    house.put("before.txt")
    house.put("folder/", b"")
    house.put("picture.png")
    with house.running():
        house.finish("before.txt")
        house.put("later.txt")
        house.finish("later.txt")
        house.put("later.txt", b"changed")
        until(lambda: len(house.calls()) == 3)
        house.finish("later.txt")
        house.remove("before.txt")
        house.finish("before.txt", state="removed")
        house.settle_listing()
    assert house.changes() == [
        ("created", "before.txt"),
        ("created", "later.txt"),
        ("created", "later.txt"),
        ("removed", "before.txt"),
    ]
    assert status(house, "picture.png") == "unwatched"
    assert status(house, "never.txt") is None


def test_two_functions_of_one_bucket_keep_their_own_ledgers(build: Any) -> None:
    house = build()
    one = house.project.functions["note"]
    two = one.model_copy(update={"name": "other"})
    project = house.project.model_copy(update={"functions": {"note": one, "other": two}})
    first, second = watches(project)
    assert first.name != second.name and first.ledger != second.ledger
    both = one.model_copy(update={"buckets": (house.trigger, house.trigger)})
    project = house.project.model_copy(update={"functions": {"note": both}})
    assert len({watch.name for watch in watches(project)}) == 2


def test_two_processes_hand_every_object_out_once(build: Any) -> None:
    house = build(rescan=0.1, in_flight=3, batch=Batch(max_items=5, window=0.01))
    names = [f"{number:03}.txt" for number in range(60)]
    for name in names[:30]:
        house.put(name)
    with house.running(count=2):
        for name in names[30:]:
            house.put(name)
            house.tell(name)
        house.finish(*names)
        house.settle_listing()
    told = [key for _, key in house.changes()]
    assert sorted(told) == names
    assert max(len(call.arguments["objects"]) for call in house.calls()) <= 5


def test_no_more_batches_are_out_than_in_flight_allows(build: Any) -> None:
    house = build(in_flight=2, batch=Batch(max_items=3, window=0.0))
    for number in range(20):
        house.put(f"{number:02}.txt")
    with house.running():
        until(lambda: len(house.calls()) == 2)
        assert [len(call.arguments["objects"]) for call in house.calls()] == [3, 3]
        house.finish(*[f"{number:02}.txt" for number in range(20)])
    assert len(house.calls()) == 7


def test_an_object_that_failed_waits_for_another_etag(build: Any) -> None:
    house = build(rescan=0.1)
    house.put("bad.txt", b"bad")
    house.put("good.txt", b"good")
    with house.running():
        until(lambda: len(house.changes()) == 2)
        for call in house.calls():
            listed = [one for one in call.arguments["objects"] if one["key"] == "bad.txt"]
            failed = [{**one, "reason": "it is not a text"} for one in listed]
            house.end(call, result={"failed": failed})
        until(lambda: house.state("bad.txt") == "dead" and house.state("good.txt") == "done")
        found = documents.document_status(house.client, house.project, house.bucket, "bad.txt")
        assert found and found["status"] == "failed" and found["reason"] == "it is not a text"
        house.settle_listing()
        assert len(house.changes()) == 2
        house.put("bad.txt", b"better")
        until(lambda: len(house.changes()) == 3)
        house.finish("bad.txt")


def test_an_invocation_that_dies_is_the_reason_of_its_objects(build: Any) -> None:
    house = build()
    house.put("a.txt")
    with house.running():
        (call,) = until(house.calls)
        house.end(call, "dead", error={"type": "MemoryError", "message": "too large"})
        until(lambda: house.state("a.txt") == "dead")
    assert house.entry("a.txt").reason == "MemoryError: too large"


def test_a_batch_whose_record_is_gone_is_handed_out_again(build: Any) -> None:
    house = build()
    house.put("a.txt")
    with house.running():
        (call,) = until(house.calls)
        house.client.delete(keys.invocation(call.id))
        until(lambda: house.calls() and house.calls()[0].id != call.id)
        house.finish("a.txt")


def test_a_wiped_ledger_leads_to_handing_out_again(build: Any) -> None:
    house = build()
    house.put("a.txt")
    with house.running():
        house.finish("a.txt")
    house.client.delete(house.watch.ledger, house.watch.flight)
    with house.running():
        until(lambda: len(house.calls()) == 2)
        house.finish("a.txt")


def test_a_sudden_loss_is_held_until_it_is_confirmed(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    house = build(rescan=0.1)
    names = [f"{number:02}.txt" for number in range(15)]
    for name in names:
        house.put(name)
    with house.running():
        house.finish(*names)
        for name in names[:12]:
            house.remove(name)
        held = until(lambda: holds.read(house.client, house.project))
        assert held[0]["count"] == 12 and held[0]["known"] == 15 and not held[0]["confirmed"]
        until(lambda: f"tundish buckets confirm {house.bucket}" in caplog.text)
        house.settle_listing()
        assert all(event == "created" for event, _ in house.changes())
        house.put("new.txt")
        house.finish("new.txt")
        assert holds.confirm(house.client, house.project, house.bucket)[0]["count"] == 12
        house.finish(*names[:12], state="removed")
        until(lambda: not holds.read(house.client, house.project))
    assert sorted(key for event, key in house.changes() if event == "removed") == names[:12]


def test_a_loss_that_is_undone_needs_no_confirmation(build: Any) -> None:
    house = build(rescan=0.1)
    names = [f"{number:02}.txt" for number in range(12)]
    for name in names:
        house.put(name)
    with house.running():
        house.finish(*names)
        for name in names:
            house.remove(name)
        until(lambda: holds.read(house.client, house.project))
        for name in names:
            house.put(name)
        until(lambda: not holds.read(house.client, house.project))
    assert len(house.changes()) == 12


def test_a_loss_that_events_announce_is_carried_out(build: Any) -> None:
    house = build(rescan=0.1)
    names = [f"{number:02}.txt" for number in range(12)]
    for name in names:
        house.put(name)
    with house.running():
        house.finish(*names)
        for name in names:
            house.tell(name)  # late or early: a hint is a hint
            house.remove(name)
            house.tell(name)
        house.finish(*names, state="removed")
        house.settle_listing()
        assert not holds.read(house.client, house.project)


def test_a_bucket_that_vanishes_is_made_again_and_its_loss_is_held(build: Any) -> None:
    house = build(rescan=0.1)
    names = [f"{number:02}.txt" for number in range(12)]
    for name in names:
        house.put(name)
    with house.running():
        house.finish(*names)
        for name in names:
            house.remove(name)
        house.s3.remove_bucket(house.bucket)
        until(lambda: holds.read(house.client, house.project))
        assert house.s3.bucket_exists(house.bucket)
    assert all(event == "created" for event, _ in house.changes())


def test_killed_processes_lose_nothing_and_double_nothing(build: Any) -> None:
    house = build(rescan=0.5, in_flight=4, batch=Batch(max_items=4, window=0.01))
    names = [f"{number:03}.txt" for number in range(80)]
    for round_ in range(4):
        process = house.process()
        try:
            for name in names[round_ * 20 : round_ * 20 + 20]:
                house.put(name)
                house.tell(name)
            # Killed somewhere between reading, claiming, settling and acknowledging.
            house.hand_out(more_than=round_ * 15)
        finally:
            kill(process)
    process = house.process()
    try:
        house.finish(*names)
    finally:
        kill(process)
    assert sorted(key for _, key in house.changes()) == names


def test_a_process_rereads_its_configuration_when_told_and_ends_when_asked(build: Any) -> None:
    house = build()
    process = house.process()
    try:
        until(house.listed)
        text = house.file.read_text()
        house.file.write_text("nonsense: true")
        process.send_signal(signal.SIGHUP)
        house.put("a.txt")
        house.tell("a.txt")
        house.finish("a.txt")
        house.file.write_text(text.replace('"rescan": "1h"', '"rescan": "100ms"'))
        process.send_signal(signal.SIGHUP)
        house.settle_listing()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        kill(process)


def test_entries_of_a_dead_consumer_are_taken_over(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build()
    monkeypatch.setattr("triggers.stream.DEAD_SECONDS", 0.2)
    with house.running():
        house.put("a.txt")
        house.client.xgroup_createconsumer(keys.EVENTS, "triggers", "dead")
        until(lambda: not house.client.xlen(keys.EVENTS))
    house.tell("a.txt")
    house.client.xreadgroup("triggers", "dead", {keys.EVENTS: ">"})
    with house.running():
        until(lambda: not house.client.xlen(keys.EVENTS))
        house.finish("a.txt")


def test_a_broker_and_a_store_that_go_away_are_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ports, credentials = Ports(tmp_path), services.load_credentials(tmp_path)
    valkey, url = services.valkey(tmp_path, ports, credentials)
    weed, store = services.seaweedfs(tmp_path, ports, credentials)
    with contextlib.ExitStack() as after:
        with running(weed):
            with running(valkey):
                house = House.build(broker.connect(url), url, store, tmp_path)
                after.enter_context(house.running())
                house.put("a.txt")
                house.tell("a.txt")
                house.finish("a.txt")
            until(lambda: "The broker" in caplog.text or "connecting to" in caplog.text)
            house.put("b.txt")  # nobody can be told
            with running(valkey):
                house.finish("b.txt")
        with running(valkey):
            house.tell("c.txt")
            until(lambda: "MINIO_ENDPOINT" in caplog.text)
            with running(weed):
                house.put("c.txt")
                house.tell("c.txt")  # the first hint may have been answered before the object was there
                house.finish("c.txt")
    assert house.watch.name in caplog.text


def test_a_real_worker_settles_what_was_dropped(build: Any) -> None:
    house = build()
    process = house.process()
    try:
        with worker(house.file, house.broker_url, "default"):
            house.put("a.txt")
            house.tell("a.txt")
            until(lambda: house.state("a.txt") == "done")
            house.remove("a.txt")
            house.tell("a.txt")
            until(lambda: house.state("a.txt") == "removed")
    finally:
        kill(process)


def test_only_created_objects_reach_a_trigger_that_wants_no_others(build: Any) -> None:
    house = build(events=("created",))
    with house.running():
        house.put("a.txt")
        house.tell("a.txt")
        house.finish("a.txt")
        house.remove("a.txt")
        house.tell("a.txt")
        until(lambda: house.state("a.txt") == "removed")
        house.put("a.txt")
        house.tell("a.txt")
        until(lambda: len(house.calls()) == 2)
    assert [event for event, _ in house.changes()] == ["created", "created"]
