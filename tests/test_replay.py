"""Replays on a real store and broker: all that is meant runs again, once, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.buckets import documents, replays
from runtime.buckets.entry import Entry
from runtime.buckets.replays import Wish
from runtime.config.settings import Batch, StoreSettings
from runtime.context import Store
from runtime.errors import BadInput, TriggerNotFound
from runtime.host.free_ports import Ports
from runtime.invocations import pause
from runtime.store.port import MinioStore
from runtime.store.stamped import HOPS
from runtime.system import services
from runtime.testing import MemoryStore
from tests.conftest import running
from tests.triggering import House, kill, until
from triggers.ledger import Ledger
from triggers.replay import Replay
from triggers.replay_entry import standing, wished
from triggers.replay_record import NotOurs, Record


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Any:
    return lambda **options: House.build(redis_client, broker_url, store_settings, tmp_path, **options)


def ask(house: House, **options: Any) -> str:
    return replays.start(house.client, house.project, Wish(house.bucket, **options))


def look(house: House, replay_id: str) -> dict[str, Any]:
    found = replays.read(house.client, house.project, replay_id)
    assert found is not None
    return found


def filled(house: House, *names: str) -> None:
    """Objects that the function has worked on."""
    for name in names:
        house.put(name)
    house.tell(*names)
    house.finish(*names)


def ended(house: House, replay_id: str, within: float = 30.0) -> dict[str, Any]:
    """The replay once it has ended; everything succeeds until then."""

    def step() -> dict[str, Any] | None:
        house.end_all()
        told = look(house, replay_id)
        return told if told["state"] in ("done", "cancelled") else None

    return until(step, within)


def handed_out(house: House, after: int) -> Counter[str]:
    """How often each key was handed out after so many changes."""
    return Counter(key for _, key in house.changes()[after:])


NAMES = [f"{number:02}.txt" for number in range(30)]


def test_all_objects_run_again_once(build: Any) -> None:
    house = build(rescan=0.2)
    with house.running():
        filled(house, *NAMES)
        told = ended(house, ask(house))
        house.settle_listing()
    assert handed_out(house, len(NAMES)) == dict.fromkeys(NAMES, 1)
    assert (told["state"], told["total"], told["handed"], told["settled"], told["failed"]) == ("done", 30, 30, 30, 0)
    assert all(house.state(key) == "done" and not house.entry(key).forced for key in NAMES)
    assert not replays.under_way(house.client, house.project)
    (job,) = told["triggers"]
    assert 0 < house.client.ttl(keys.replay_job(told["id"], job["trigger"])) <= replays.KEPT_SECONDS
    assert 0 < house.client.ttl(keys.replay(told["id"])) <= replays.KEPT_SECONDS


def test_prefix_and_filters_say_which(build: Any) -> None:
    house = build(prefix="in/", suffix=(".txt",), min_size=3)
    names = ["in/a/1.txt", "in/a/2.txt", "in/b.txt", "in/c.bin", "out/a.txt"]
    with house.running():
        for name in names:
            house.put(name)
        house.put("in/a/small.txt", b"x")
        house.tell(*names)
        house.finish(*names[:3])
        done = len(house.changes())
        assert ended(house, ask(house, prefix="in/a/"))["total"] == 2
        assert handed_out(house, done) == {"in/a/1.txt": 1, "in/a/2.txt": 1}
        assert ended(house, ask(house, prefix="out/"))["total"] == 0
        assert ended(house, ask(house, prefix="i"))["total"] == 3


def test_since_means_the_time_of_the_object(build: Any) -> None:
    house = build()
    with house.running():
        filled(house, "old.txt")
        written = MinioStore(house.store_settings).head(house.bucket, "old.txt").modified
        until(lambda: time.time() > written + 1.1)  # the store knows whole seconds
        filled(house, "new.txt")
        told = ended(house, ask(house, since=written + 1.0))
        assert (told["total"], handed_out(house, 2)) == (1, {"new.txt": 1})


def test_only_failed_ones(build: Any) -> None:
    house = build()
    with house.running():
        for name in ("bad.txt", "good.txt", "worse.txt"):
            house.put(name)
            house.tell(name)
        until(lambda: len(house.changes()) == 3)
        for call in house.calls():
            failed = [one for one in call.arguments["objects"] if one["key"] != "good.txt"]
            house.end(call, result={"failed": [{**one, "reason": "unreadable"} for one in failed]})
        until(lambda: [house.state(key) for key in ("bad.txt", "good.txt", "worse.txt")] == ["dead", "done", "dead"])
        replay_id = ask(house, only_failed=True)
        until(lambda: len(house.changes()) == 5)
        for call in [call for call in house.calls() if not call.terminal]:
            worse = [one for one in call.arguments["objects"] if one["key"] == "worse.txt"]
            house.end(call, result={"failed": [{**one, "reason": "still unreadable"} for one in worse]})
        told = ended(house, replay_id)
    assert handed_out(house, 3) == {"bad.txt": 1, "worse.txt": 1}
    assert (told["total"], told["settled"], told["failed"], told["only_failed"]) == (2, 2, 1, True)
    assert told["triggers"][0]["failures"] == [{"key": "worse.txt", "reason": "still unreadable"}]


def test_what_was_there_before_the_trigger_is_handed_out(build: Any) -> None:
    house = build(start="now")
    for name in NAMES:
        house.put(name)
    written = MinioStore(house.store_settings).head(house.bucket, NAMES[-1]).modified
    until(lambda: time.time() > written + 1.1)
    with house.running():
        assert {house.state(name) for name in NAMES} == {"skipped"}
        assert not house.changes()
        assert ended(house, ask(house))["settled"] == 30
    assert handed_out(house, 0) == dict.fromkeys(NAMES, 1)


def test_the_end_of_a_loop_is_handed_out(build: Any) -> None:
    house = build()
    MinioStore(house.store_settings).put(house.bucket, "a.txt", b"x", metadata={HOPS: "8"})
    with house.running():
        house.tell("a.txt")
        until(lambda: house.state("a.txt") == "dead")
        assert not house.changes()
        told = ended(house, ask(house, only_failed=True))
    assert (told["settled"], told["failed"], house.changes()) == (1, 0, [("created", "a.txt")])


def test_a_batch_that_fails_as_a_whole_is_followed_to_the_guilty_object(build: Any) -> None:
    house = build()
    with house.running():
        filled(house, *NAMES[:8])
        replay_id = ask(house)

        def step() -> bool:
            for call in [call for call in house.calls() if not call.terminal]:
                bad = any(one["key"] == NAMES[3] for one in call.arguments["objects"])
                error = {"type": "ValueError", "message": "3 is bad"} if bad else None
                house.end(call, "failed" if bad else "succeeded", error=error)
            return bool(look(house, replay_id)["state"] == "done")

        until(step)
        told = look(house, replay_id)
    assert (told["settled"], told["failed"]) == (8, 1)
    assert told["triggers"][0]["failures"] == [{"key": NAMES[3], "reason": "ValueError: 3 is bad"}]


def test_what_is_out_already_runs_again_when_it_has_ended(build: Any) -> None:
    house = build()
    with house.running():
        house.put("a.txt")
        house.tell("a.txt")
        (call,) = until(house.calls)
        replay_id = ask(house)
        until(lambda: house.entry("a.txt").again)
        assert len(house.calls()) == 1
        house.end(call)
        until(lambda: len(house.calls()) == 2)
        assert look(house, replay_id)["settled"] == 0
        assert ended(house, replay_id)["settled"] == 1
    assert house.changes() == [("created", "a.txt")] * 2


def test_changes_meanwhile_count_and_end(build: Any) -> None:
    """New, overwritten and removed objects while it goes on; one key never rests."""
    house = build(in_flight=2, batch=Batch(max_items=4, window=0.01))
    with house.running():
        filled(house, *NAMES)
        replay_id = ask(house)
        until(lambda: len(house.changes()) > 34)
        for name in NAMES[20:25]:
            house.remove(name)
            house.tell(name)
        for name in NAMES[25:]:
            house.put(name, b"other")
            house.tell(name)
        house.put("new.txt")
        house.tell("new.txt")

        def step() -> bool:
            house.put("hot.txt", str(time.time()).encode())
            house.put(NAMES[0], str(time.time()).encode())
            house.tell("hot.txt", NAMES[0])
            house.end_all()
            return bool(look(house, replay_id)["state"] == "done")

        until(step)
        house.finish("new.txt", *NAMES[:20], *NAMES[25:])
        house.finish(*NAMES[20:25], state="removed")
    handed = handed_out(house, 30)
    assert all(handed[name] == 1 for name in NAMES[1:20])
    assert all(handed[name] in (1, 2) for name in NAMES[20:])
    assert handed["new.txt"] == 1


def test_what_comes_in_meanwhile_does_not_wait_for_the_end(build: Any) -> None:
    house = build(in_flight=2, batch=Batch(max_items=3, window=0.01))
    with house.running():
        filled(house, *NAMES)
        ask(house)
        until(lambda: len(house.changes()) == 36)  # two batches are out, and nobody works on them
        house.put("new.txt")
        house.tell("new.txt")
        until(lambda: not house.client.xlen(keys.EVENTS) or house.client.xinfo_groups(keys.EVENTS)[0]["lag"] == 0)
        rounds = 0
        while not handed_out(house, 30)["new.txt"]:
            before = len(house.changes())
            house.end_all()
            until(lambda: len(house.changes()) > before)  # noqa: B023
            rounds += 1
        assert rounds <= 4
        assert len(house.changes()) < 60


def test_a_pause_of_the_trigger_is_one_of_the_replay(build: Any) -> None:
    house = build(in_flight=1, batch=Batch(max_items=3, window=0.01))
    with house.running():
        filled(house, *NAMES)
        replay_id = ask(house)
        until(lambda: len(house.changes()) == 33)
        pause.pause(house.client, "trigger", house.watch.name)
        read = time.monotonic() + 1.2
        until(lambda: time.monotonic() > read)
        house.end_all()
        until(lambda: not house.client.exists(house.watch.flight))
        assert len(house.changes()) == 33
        (job,) = look(house, replay_id)["triggers"]
        assert job["paused"] and job["state"] == "running"
        pause.resume(house.client, "trigger", house.watch.name)
        assert ended(house, replay_id)["settled"] == 30
    assert handed_out(house, 30) == dict.fromkeys(NAMES, 1)


def test_a_cancelled_one_hands_out_no_more(build: Any) -> None:
    house = build(in_flight=1, batch=Batch(max_items=3, window=0.01))
    with house.running():
        filled(house, *NAMES)
        replay_id = ask(house)
        until(lambda: len(house.changes()) == 33)
        told = replays.cancel(house.client, house.project, replay_id)
        assert told and told["state"] == "cancelled" and told["triggers"][0]["reason"]
        house.finish(*NAMES)
        until(lambda: not any(house.entry(name).forced for name in NAMES))
        assert len(house.changes()) < 45
        assert look(house, replay_id) == told
        assert not house.client.exists(keys.replay_open(replay_id, house.watch.name))


def test_a_trigger_that_goes_takes_its_replay_along(build: Any) -> None:
    house = build()
    replay_id = ask(house)
    other = house.project.model_copy(update={"functions": {}})
    told = replays.read(house.client, other, replay_id)
    assert told and told["state"] == "cancelled"
    assert "functions.yaml" in told["triggers"][0]["reason"]
    assert not replays.under_way(house.client, house.project)


def test_names_that_are_wrong_are_told_what_there_is(build: Any) -> None:
    house = build(events=("removed",))
    with pytest.raises(TriggerNotFound, match=house.bucket):
        replays.start(house.client, house.project, Wish("nowhere"))
    with pytest.raises(TriggerNotFound, match="did you mean note"):
        replays.start(house.client, house.project, Wish(house.bucket), "not")
    with pytest.raises(TriggerNotFound, match="removed objects only"):
        ask(house)
    assert replays.read(house.client, house.project, "nothing") is None
    assert replays.cancel(house.client, house.project, "nothing") is None


def test_two_at_once_share_what_they_hand_out(build: Any) -> None:
    house = build(in_flight=2, batch=Batch(max_items=4, window=0.01))
    with house.running(2):
        filled(house, *NAMES)
        both = [ask(house), ask(house)]
        for replay_id in both:
            assert ended(house, replay_id)["settled"] == 30
    assert set(handed_out(house, 30)) == set(NAMES)
    assert max(handed_out(house, 30).values()) <= 2


def test_killed_processes_lose_nothing_and_double_nothing(build: Any) -> None:
    house = build(in_flight=4, batch=Batch(max_items=7, window=0.01))
    names = [f"{'d/' * (number % 4)}{number:04}.txt" for number in range(300)]
    process = house.process()
    try:
        for name in names:
            house.put(name)
            house.tell(name)
        house.finish(*names)
        done = len(house.changes())
        replay_id = ask(house)
        for part in range(1, 3):
            house.hand_out(more_than=done + part * 50)
            kill(process)
            process = house.process()
        told = ended(house, replay_id, 60)
    finally:
        kill(process)
    assert (told["total"], told["settled"], told["failed"]) == (300, 300, 0)
    assert handed_out(house, done) == dict.fromkeys(names, 1)


def test_two_thousand_objects_by_three_processes(build: Any) -> None:
    house = build(in_flight=8, batch=Batch(max_items=50, window=0.01))
    names = [f"{'a' if number % 3 else 'b/c'}/{number:04}.txt" for number in range(2000)]
    store = MinioStore(house.store_settings)
    for name in names:
        store.put(house.bucket, name, b"x")
    processes = [house.process() for _ in range(3)]
    try:
        until(lambda: len(house.changes()) == 2000 or house.end_all(), 60)
        house.finish(*names)
        told = ended(house, ask(house), 60)
    finally:
        for process in processes:
            kill(process)
    assert (told["total"], told["handed"], told["settled"]) == (2000, 2000, 2000)
    assert handed_out(house, 2000) == dict.fromkeys(names, 1)


def test_a_broker_and_a_store_that_go_away_are_waited_for(tmp_path: Path) -> None:
    ports, credentials = Ports(tmp_path), services.load_credentials(tmp_path)
    valkey, url = services.valkey(tmp_path, ports, credentials)
    weed, store = services.seaweedfs(tmp_path, ports, credentials)
    with contextlib.ExitStack() as after:
        with running(weed):
            with running(valkey):
                house = House.build(broker.connect(url), url, store, tmp_path, batch=Batch(max_items=3, window=0.01))
                (service,) = after.enter_context(house.running())
                filled(house, *NAMES)
                replay_id = ask(house)
                house.hand_out(more_than=35)
            until(lambda: service.trouble)
            with running(valkey):
                house.hand_out(more_than=45)
        with running(valkey):
            until(lambda: service.trouble)
            with running(weed):
                assert ended(house, replay_id, 60)["settled"] == 30
                assert handed_out(house, 30) == dict.fromkeys(NAMES, 1)


def test_no_more_than_a_window_is_open(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of what was handed out: a key that is out for long holds up only its place."""
    house = build(in_flight=100, batch=Batch(max_items=1, window=0.0))
    monkeypatch.setattr("triggers.replay.WINDOW", 10)
    monkeypatch.setattr("triggers.replay.PAGE", 4)
    with house.running():
        filled(house, *NAMES)
        replay_id = ask(house)
        until(lambda: len(house.changes()) == 40)
        assert look(house, replay_id)["handed"] == 10
        stuck = next(call for call in house.calls() if not call.terminal)

        def step() -> bool:
            for call in house.calls():
                if not call.terminal and call.id != stuck.id:
                    house.end(call)
            assert house.client.scard(keys.replay_open(replay_id, house.watch.name)) <= 10
            return len(house.changes()) == 60

        until(step)
        assert ended(house, replay_id)["settled"] == 30


def test_a_prefix_that_the_store_refuses_ends_only_the_replay(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build()
    listed = MinioStore.list

    def refusing(store: MinioStore, bucket: str, prefix: str = "", **options: Any) -> Any:
        if prefix == "a/../b":
            raise BadInput("InvalidArgument: a/../b is no prefix")
        return listed(store, bucket, prefix, **options)

    monkeypatch.setattr(MinioStore, "list", refusing)
    with house.running():
        told = ended(house, ask(house, prefix="a/../b"))
        assert (told["state"], told["triggers"][0]["reason"]) == ("cancelled", "InvalidArgument: a/../b is no prefix")
        filled(house, "a.txt")


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("room", [1, 3, 7])
def test_whoever_goes_on_begins_where_the_other_has_ended(
    build: Any, monkeypatch: pytest.MonkeyPatch, room: int, bytewise: bool
) -> None:
    """Every step by another process, over names that each server orders in its own way."""
    monkeypatch.setattr("triggers.replay.PAGE", 4)
    house = build()
    names = [
        "a.txt",
        "a-b",
        "a/b",
        "a/c",
        "a/c/d",
        "a/c-d",
        "q",
        "q/1",
        "q-1",
        "z/y/x",
        "z.y",
        "ü",
        "ü/ö",
        "ü/ö/ß",
        "ab",
    ]
    store: Store = MemoryStore() if bytewise else MinioStore(house.store_settings)
    for name in names:
        store.put(house.bucket, name, b"text")
    replay_id = ask(house)
    told: list[str] = []
    ledger = Ledger(house.client, house.watch)

    for steps in (3, 4):  # the first ends in the middle of counting
        record = Record(house.client, house.watch, replay_id)
        record.take()
        replay = Replay(house.client, store, ledger, house.watch, record, told.append)
        for _ in range(steps):
            replay.step(room)
        replay.close()
    assert look(house, replay_id)["state"] == "counting"

    def step() -> bool:
        record = Record(house.client, house.watch, replay_id)
        record.take()
        replay = Replay(house.client, store, ledger, house.watch, record, told.append)
        with pytest.raises(NotOurs):
            Record(house.client, house.watch, replay_id).take()
        cursor = record.cursor
        while record.cursor == cursor and not replay._walked:
            replay.step(room)
        replay.close()
        return replay._walked

    while not step():
        pass
    assert look(house, replay_id)["total"] == len(names)
    assert look(house, replay_id)["handed"] == len(names)
    assert set(told) == set(names)
    entries = [known.entry for known in ledger.read(names)]
    assert all(entry and entry.forced and entry.state == "skipped" for entry in entries)
    found = documents.document_status(house.client, house.project, house.bucket, names[0])
    assert found and found["status"] == "pending"


@pytest.mark.parametrize(
    ("entry", "handed", "expected"),
    [
        (None, None, "untouched"),
        (None, "", "untouched"),
        (Entry("done", "e", 5), None, "untouched"),
        (Entry("done", "e", 5), "", "settled"),
        (Entry("dead", "e", 5), "", "failed"),
        (Entry("skipped", "e", 5), "", "settled"),
        (Entry("done", "", 5, forced=True), "", "under way"),
        (Entry("pending", "e", 5, invocation="i"), None, "untouched"),
        (Entry("pending", "e", 5, invocation="i", again=True, forced=True), "", "under way"),
        (Entry("pending", "e", 11, invocation="i"), "", "under way"),
        (Entry("pending", "e", 12, share=4), "e", "under way"),
        (Entry("pending", "f", 12, invocation="i"), "e", "settled"),
        (Entry("done", "e", 11), None, "settled"),
        (Entry("removed", "e", 11, "removed"), "", "settled"),
        (Entry("dead", "e", 11), "e", "failed"),
        (Entry("dead", "", 11, again=True), "", "under way"),
        (Entry("dead", "", 11, again=True), "e", "settled"),
    ],
)
def test_how_a_key_stands(entry: Entry | None, handed: str | None, expected: str) -> None:
    assert standing(entry, 10, handed) == expected


@pytest.mark.parametrize("state", ["done", "dead", "removed", "skipped"])
def test_a_wish_makes_an_entry_differ_from_every_object(state: Any) -> None:
    entry = wished(Entry(state, "e", 5, "removed", 7, "i", "why", 3.0, True, heat=2.0), 9.0)
    assert (entry.state, entry.etag, entry.event, entry.forced, entry.again) == (state, "", "created", True, False)
    assert (entry.seq, entry.heat, entry.at) == (5, 2.0, 3.0)
