"""What one object, one key or one trigger cannot do holds up no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Batch, Function, Guard, Project, Queue, Settings, StoreSettings
from runtime.context import ObjectInfo
from runtime.deployment.deployment import Deployed, Deployment
from runtime.errors import StoreDenied
from runtime.invocations import pause
from runtime.store.port import MinioStore
from tests.triggering import House, until
from triggers.bucket import BucketWatcher
from triggers.decide import Submit
from triggers.flags import Flags
from triggers.ledger import Known, Ledger
from triggers.outgoing import Outgoing
from triggers.service import Triggers
from triggers.stream import OLDEST, Stream


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Any:
    return lambda **options: House.build(redis_client, broker_url, store_settings, tmp_path, **options)


class Beside:
    """A trigger `slow` beside that of a house, in the same process."""

    def __init__(self, slow: House, house: House) -> None:
        functions = {
            name: Function(name=name, handler="x.py:x", buckets=(one.trigger,))
            for name, one in (("slow", slow), ("note", house))
        }
        project = Project(queues={"default": Queue()}, functions=functions)
        settings = Settings(
            project=project, file=house.file, home=house.home, broker_url=house.broker_url, store=house.store_settings
        )
        deployed = {name: Deployed(spec, accepts=frozenset({"objects"})) for name, spec in functions.items()}
        self.watch = watches(project)[0]
        self.service = Triggers(house.client, MinioStore(house.store_settings), Deployment(settings, deployed))

    def __enter__(self) -> Beside:
        self.service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()
        assert not self.service.failed.is_set()


def test_a_name_that_the_store_refuses_holds_up_no_other(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    house = build()
    with house.running():
        house.tell("a\0b")
        until(lambda: "does not tell of some objects" in caplog.text)
        house.put("good")
        house.tell("good")
        house.finish("good")
        until(lambda: not house.client.xlen(keys.EVENTS))


def test_an_object_that_nobody_may_see_holds_up_no_other(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    head = MinioStore.head

    def guarded(store: MinioStore, bucket: str, key: str) -> ObjectInfo:
        if key == "secret" and not seen:
            raise StoreDenied("a policy says so")
        return head(store, bucket, key)

    monkeypatch.setattr(MinioStore, "head", guarded)
    house = build(rescan=0.1)
    house.put("secret")
    with house.running():
        house.put("secret", b"other")
        house.put("good")
        house.tell("secret", "good")
        house.finish("good")
        seen.append("the policy was changed")
        house.finish("secret")


def test_a_trigger_with_a_long_queue_holds_up_no_notification_of_another(build: Any) -> None:
    slow, house = build(in_flight=1, batch=Batch(max_items=1)), build()
    for number in range(1005):
        slow.put(f"{number:04}")
    with Beside(slow, house) as beside:
        watcher = beside.service._watchers[0]
        until(lambda: watcher.full and not len(watcher.inbox))  # all that there is room for has been looked at
        until(lambda: not house.client.exists(keys.lock(f"listing:{house.watch.name}")) and house.listed())
        slow.put("last")
        slow.tell("last")
        house.put("quick")
        house.tell("quick")
        until(lambda: house.state("quick") == "pending")
        waiting = {*watcher.inbox._keys, *watcher._outgoing._ready}
        assert "last" not in waiting, "what there is no room for stays in the stream"
        # Room again: what stayed in the stream is read now.
        watcher._backlog *= 2
        until(lambda: "last" in watcher._outgoing)
        slow.remove("last")
        slow.tell("last")
        until(lambda: not house.client.xlen(keys.EVENTS))


def test_a_trigger_that_is_paused_keeps_no_other_from_listing(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggers.listing.PATIENCE_SECONDS", 1.0)
    slow, house = build(), build(rescan=0.1)
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        house.put(name)
    with Beside(slow, house) as beside:
        until(lambda: all(house.state(name) == "pending" for name in names))
        pause.pause(house.client, "trigger", beside.watch.name)
        slow.put("rests")
        slow.tell("rests")
        until(lambda: house.client.xpending(keys.EVENTS, "triggers")["pending"] == 1)
        for name in names:
            house.remove(name)
        until(lambda: house.client.exists(house.watch.hold))
        house.put("new")
        until(lambda: house.state("new") == "pending")


class Calm:
    """A pace at which hardly anything is listed."""

    def rescan(self, watch: Watch) -> float:
        return 3600.0

    def missed(self, bucket: str, count: int) -> None:
        """Nobody asks."""


def test_a_listing_that_an_interruption_breaks_off_begins_anew_at_once(build: Any) -> None:
    house = build()
    house.put("a.txt")
    store = MinioStore(house.store_settings)
    watcher = BucketWatcher(house.client, store, house.deployment, house.watch, Flags(house.client), Calm())
    watcher.prepare()
    watcher.step()
    assert house.client.exists(keys.lock(f"listing:{house.watch.name}")) and not house.listed()
    watcher.prepare()
    for _ in range(10):
        watcher.step()
    assert house.listed() and house.state("a.txt") == "pending"


def test_a_key_that_changes_all_the_time_keeps_its_place(build: Any) -> None:
    house = build()
    refused: list[str] = []
    outgoing = Outgoing(
        house.client,
        MinioStore(house.store_settings),
        house.deployment,
        house.watch,
        Ledger(house.client, house.watch),
        lambda key, receipts: refused.append(key),
    )
    for key in ("busy", "other"):
        outgoing.put(key, Known(b"", None), Submit("created", "e1", 1), 0, None, [])
    outgoing.put("busy", Known(b"", None), Submit("created", "e2", 1), 0, None, [])
    outgoing.send(set())
    (call,) = house.calls()
    assert [(one["key"], one["etag"]) for one in call.arguments["objects"]] == [("busy", "e2"), ("other", "e1")]
    assert not refused


def test_a_busy_key_is_said_once(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    house = build(guard=Guard(key_runs_per_minute=1))
    hot = Entry("done", "e0", at=house.clock() + 60, heat=60.0)
    watch, client = house.watch, house.client
    outgoing = Outgoing(
        client, MinioStore(house.store_settings), house.deployment, watch, Ledger(client, watch), lambda *_: None
    )
    for number in range(20):
        outgoing.put("busy", Known(hot.encode(), hot), Submit("created", f"e{number + 1}", 1), 0, None, [])
    assert len(outgoing) == 1
    assert caplog.text.count("changes so often") == 1


def test_notifications_that_fell_off_the_stream_are_waited_for_no_more(redis_client: redis.Redis) -> None:
    stream = Stream(redis_client, "me")
    stream.join()
    told = [redis_client.xadd(keys.EVENTS, {"source": "gateway", "body": str(number)}) for number in range(5)]
    assert len(stream.read(10, 0.1)) == 5
    redis_client.xdel(keys.EVENTS, *told[:2])
    found: list[bytes] = []
    at = OLDEST
    for _ in range(3):
        notes, at = stream.mine(at, 2)
        found += [note.id for note in notes]
    assert at == OLDEST
    assert found == told[2:]
    assert redis_client.xpending(keys.EVENTS, "triggers")["pending"] == 3
