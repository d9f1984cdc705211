"""Which source wakes a bucket, what is done while it is broken, and who does it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.buckets import source_state
from runtime.buckets.source_state import SourceState
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import BucketTrigger, EventSource, Function, Project, Queue, StoreSettings
from tests import listen_server
from tests.listen_server import ListenServer, live, refuses, says
from tests.workers import until
from triggers.sources import listen_stream, minder, minio_redis, waking
from triggers.sources.auto import pick
from triggers.sources.standing import Standing
from triggers.sources.waking import Waking, sources

BUCKET = "documents"


def watching(*kinds: str | EventSource, rescan: float | None = None) -> list[Watch]:
    """A function for each source, all on one bucket."""
    functions = {}
    for number, kind in enumerate(kinds):
        source = EventSource(kind=kind) if isinstance(kind, str) else kind
        trigger = BucketTrigger(bucket=BUCKET, source=source, rescan=rescan)
        functions[f"f{number}"] = Function(name=f"f{number}", handler="f.py:f", buckets=(trigger,))
    return watches(Project(queues={"default": Queue()}, functions=functions))


class Room:
    """One process's sources, and what they asked for."""

    def __init__(self, client: redis.Redis, store: StoreSettings, watched: list[Watch]) -> None:
        self.client, self.watch = client, watched[0]
        self.asked: list[str] = []
        self.failed = threading.Event()
        self.waking = Waking(client, store, watched, self.asked.append, self.failed)

    @contextlib.contextmanager
    def running(self) -> Iterator[Room]:
        self.waking.start()
        try:
            yield self
        finally:
            self.waking.stop(within=10.0)
            assert not self.failed.is_set()

    @property
    def state(self) -> SourceState | None:
        return source_state.read(self.client, [BUCKET]).get(BUCKET)

    @property
    def rescan(self) -> float:
        return self.waking.rescan(self.watch)

    def bodies(self) -> list[bytes]:
        entries: Any = self.client.xrange(keys.EVENTS)
        return [fields[b"body"] for _, fields in entries]

    def has_asked(self, count: int) -> bool:
        return len(self.asked) == count

    def is_told(self, kind: str, *, woken: bool) -> bool:
        state = self.state
        return state is not None and (state.kind, state.woken) == (kind, woken)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed, and connections are tried again, sooner than in life."""
    monkeypatch.setattr(listen_stream, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(minder, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(minder, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(minio_redis, "BLOCK_SECONDS", 0.1)
    monkeypatch.setattr(waking, "TICK_SECONDS", 0.1)


@pytest.mark.parametrize(
    ("server", "targets", "listens", "kind"),
    [
        ("SeaweedFS 8000GB 4.48", (), True, "seaweedfs"),
        ("MinIO", (), True, "minio_listen"),
        ("MinIO", ("webhook", "redis"), False, "minio_webhook"),
        ("RustFS", ("redis",), False, "minio_redis"),
        ("AmazonS3", (), False, "poll"),
        ("", (), True, "minio_listen"),
    ],
)
def test_what_auto_picks(server: str, targets: tuple[str, ...], listens: bool, kind: str) -> None:
    assert pick(server, targets, listens=listens) == kind


NOW = 10_000.0


@pytest.mark.parametrize(
    ("standing", "woken"),
    [
        (Standing("minio_listen", since=9_000.0), True),
        (Standing("minio_listen"), False),
        (Standing("poll", heard=9_500.0), False),
        (Standing("seaweedfs", since=9_000.0), False),
        (Standing("seaweedfs", since=9_000.0, heard=9_500.0), True),
        (Standing("poll", since=9_000.0, heard=9_500.0), True),
        # Missed, and nothing was heard about that time.
        (Standing("seaweedfs", since=9_000.0, heard=9_500.0, missed=9_900.0), False),
        (Standing("minio_listen", since=9_000.0, missed=9_900.0), False),
        # Its notification may be on its way; or it was heard meanwhile; or it is older than the connection.
        (Standing("seaweedfs", since=9_000.0, heard=9_500.0, missed=9_999.0), True),
        (Standing("seaweedfs", since=9_000.0, heard=9_901.0, missed=9_900.0), True),
        (Standing("seaweedfs", since=9_000.0, heard=9_850.0, missed=9_900.0), True),
        (Standing("minio_listen", since=9_880.0, missed=9_900.0), True),
    ],
)
def test_when_listings_may_be_rare(standing: Standing, woken: bool) -> None:
    assert standing.woken(NOW) is woken


def test_one_source_for_a_bucket(caplog: pytest.LogCaptureFixture) -> None:
    assert sources(watching("auto", "minio_listen"))[BUCKET].kind == "minio_listen"
    assert sources(watching("minio_webhook", "auto"))[BUCKET].kind == "minio_webhook"
    assert not caplog.text
    assert sources(watching("poll", "minio_listen"))[BUCKET].kind == "poll"
    assert "name several sources" in caplog.text


def test_auto_listens_where_it_can_and_lists_after_every_connection(redis_client: redis.Redis, quick: None) -> None:
    with (
        ListenServer(live()).running() as server,
        Room(redis_client, server.settings, watching("auto")).running() as room,
    ):
        until(lambda: room.is_told("minio_listen", woken=True) and room.has_asked(1))
        assert room.asked == [BUCKET] and room.rescan == 60.0
        server.tell(BUCKET, "a b.txt")
        (body,) = until(room.bodies)
        assert b"a b.txt" in body
        for count in (2, 3):
            server.drop()
            until(partial(room.has_asked, count))
            until(lambda: server.listening)
        server.tell(BUCKET, "c.txt")
        until(lambda: len(room.bodies()) == 2)


def test_the_yaml_has_the_last_word_on_rescan(redis_client: redis.Redis) -> None:
    room = Room(redis_client, StoreSettings(endpoint="127.0.0.1:1"), watching("auto", rescan=7.0))
    assert room.rescan == 7.0


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (listen_server.never_flushes, "leaves the listen stream silent"),
        (refuses(), "NotImplemented"),
        (listen_server.lists, "something else"),
    ],
)
@pytest.mark.parametrize(
    ("arns", "kind"),
    [
        ((), "poll"),
        (("arn:minio:sqs::TUNDISH:webhook",), "minio_webhook"),
        (("arn:aws:sqs:us-east-1:1:webhook",), "poll"),
        (("arn:rustfs:sqs:us-east-1:x:redis",), "minio_redis"),
    ],
)
def test_auto_falls_back_and_says_so_once(
    redis_client: redis.Redis,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    behaviour: listen_server.Behaviour,
    reason: str,
    arns: tuple[str, ...],
    kind: str,
) -> None:
    monkeypatch.setattr(minder, "PICK_AGAIN_SECONDS", 0.2)  # and LONGEST_PAUSE, for what may come to its senses
    with (
        ListenServer(behaviour, arns=arns).running() as server,
        Room(redis_client, server.settings, watching("auto")).running() as room,
    ):
        until(lambda: room.is_told(kind, woken=kind == "minio_redis"))
        until(lambda: len(server.calls) >= 3)  # it is tried again after a while
    assert caplog.text.count(reason) == 1
    assert f"Without that its source is {kind}; tundish buckets wire {BUCKET}" in caplog.text


def test_a_silent_stream_falls_back_and_comes_back(
    redis_client: redis.Redis, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    held = listen_server.falls_silent
    with (
        ListenServer(held, held, held, live()).running() as server,
        Room(redis_client, server.settings, watching("minio_listen")).running() as room,
    ):
        # Its state is told before it asks.
        until(lambda: room.is_told("minio_listen", woken=True) and server.listening and room.has_asked(4))
        assert len(server.calls) == 4 and room.asked == [BUCKET] * 4
        assert room.rescan == 60.0
    # It had begun each time, so each silence is news.
    assert caplog.text.count("leaves the listen stream silent") == caplog.text.count("notifications come again") == 3


def test_a_store_that_is_away_is_asked_again(
    redis_client: redis.Redis, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with ListenServer(live()).running() as server:
        settings = server.settings
    with Room(redis_client, settings, watching("auto")).running() as room:
        until(lambda: room.state is not None and "did not answer" in room.state.detail)
        assert room.rescan == 5.0
    assert caplog.text.count("did not answer") == 1


def test_reconnects_wait_longer_and_longer(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs up on everybody is not hammered."""
    pauses: list[float] = []
    with ListenServer(says(b" ")).running() as server:
        room = Room(redis_client, server.settings, watching("minio_listen"))
        (one,) = room.waking._minders.values()

        def wait(seconds: float) -> bool:
            if seconds > minder.STAND_BY_SECONDS:
                pauses.append(seconds)
            return False

        monkeypatch.setattr(one._stop, "wait", wait)
        with room.running():
            until(lambda: len(pauses) >= 12)
    for number, pause in enumerate(pauses[:12]):
        expected = min(minder.FIRST_PAUSE * 2 ** (number + 1), minder.LONGEST_PAUSE)
        assert expected / 2 <= pause <= expected


def test_one_process_listens_and_the_other_takes_over(redis_client: redis.Redis, quick: None) -> None:
    watched = watching("minio_listen")
    with ListenServer(live()).running() as server:
        first, second = (Room(redis_client, server.settings, watched) for _ in range(2))
        with first.running():
            until(lambda: first.rescan == 60.0)
            with second.running():
                until(lambda: second.rescan == 60.0)  # told by the first
                assert len(server.calls) == 1 and not second.asked
                first.waking.stop(within=10.0)
                until(lambda: second.asked == [BUCKET])
                until(lambda: second.rescan == 60.0)
    assert len(server.calls) == 2
    assert second.state is None and not redis_client.exists(keys.lock(f"source:{BUCKET}"))


def test_a_webhook_counts_from_its_first_notification(redis_client: redis.Redis, quick: None) -> None:
    with ListenServer(live(), name="SeaweedFS 8000GB 4.48").running() as server:
        watched = watching("auto")
        first, second = (Room(redis_client, server.settings, watched) for _ in range(2))
        with first.running(), second.running():
            until(lambda: first.is_told("seaweedfs", woken=False))
            assert first.state is not None and (first.state.detail, first.state.standing) == ("", "waiting")
            second.waking.heard(BUCKET, "gateway")  # an upload of ours; the store has said nothing
            assert (first.rescan, second.rescan) == (5.0, 5.0)
            second.waking.heard(BUCKET, "seaweedfs")
            second.waking.heard("another", "seaweedfs")
            until(lambda: (first.rescan, second.rescan) == (60.0, 60.0))
        assert not server.calls


def test_changes_that_nobody_announced_lead_to_polling(
    redis_client: redis.Redis, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream that is alive and tells of nothing (such servers were released), and a wire that was cut."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("triggers.sources.standing.QUIET_SECONDS", 0.3)
    monkeypatch.setattr("triggers.sources.standing.LATE_SECONDS", 0.1)
    with (
        ListenServer(live()).running() as server,
        Room(redis_client, server.settings, watching("auto")).running() as room,
    ):
        until(lambda: room.is_told("minio_listen", woken=True))

        def missed() -> bool:
            room.waking.missed(BUCKET, 0)
            room.waking.missed("another", 1)
            room.waking.missed(BUCKET, 3)
            return room.is_told("minio_listen", woken=False)

        until(missed)
        for _ in range(20):  # it stays so however often it happens
            assert missed()
        until(lambda: "changes go unannounced" in (room.state.detail if room.state else ""))
        room.waking.heard(BUCKET, "minio_listen")
        until(lambda: room.is_told("minio_listen", woken=True))
    assert caplog.text.count("tundish buckets wire") == 1
    assert caplog.text.count("notifications come again") == 1


def test_polling_by_choice_says_nothing(
    redis_client: redis.Redis, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("triggers.sources.standing.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("triggers.sources.standing.LATE_SECONDS", 0.0)
    with Room(redis_client, StoreSettings(endpoint="127.0.0.1:1"), watching("poll")).running() as room:
        until(lambda: room.is_told("poll", woken=False))
        room.waking.missed(BUCKET, 5)
        room.waking.heard(BUCKET, "seaweedfs")
        until(lambda: room.state is not None and room.state.heard > 0)
        assert room.rescan == 5.0 and room.state is not None and room.state.detail == ""
    assert not caplog.text


def test_the_real_seaweedfs_is_recognised_and_never_listened_to(
    redis_client: redis.Redis, store_settings: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    from runtime.store.port import MinioStore

    MinioStore(store_settings).ensure_bucket(BUCKET)
    with Room(redis_client, store_settings, watching("auto")).running() as room:
        until(lambda: room.is_told("seaweedfs", woken=False))
    assert not caplog.text
    with Room(redis_client, store_settings, watching("minio_listen")).running() as room:
        until(lambda: room.state is not None and "NotImplemented" in room.state.detail)


def test_a_list_in_another_redis(redis_client: redis.Redis, broker_url: str, quick: None) -> None:
    source = EventSource(kind="minio_redis", url=broker_url.rpartition("/")[0] + "/3", key="elsewhere")
    other = redis.Redis.from_url(source.url)
    with Room(redis_client, StoreSettings(endpoint="127.0.0.1:1"), watching(source)).running() as room:
        until(lambda: room.rescan == 60.0)
        other.rpush("elsewhere", b"[]")
        until(lambda: room.bodies() == [b"[]"])
        until(lambda: not other.exists("elsewhere"))
        other.hset("elsewhere", "a", "b")
        until(lambda: room.state is not None and "format=access" in room.state.detail)
        assert room.rescan == 5.0
        other.delete("elsewhere")
        until(lambda: room.rescan == 60.0)
    other.close()


def test_a_url_that_is_none_is_said_without_its_password(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    source = EventSource(kind="minio_redis", url="redis://:secret/word@host")
    with Room(redis_client, StoreSettings(endpoint="127.0.0.1:1"), watching(source)).running() as room:
        until(lambda: room.state is not None and "no URL" in room.state.detail)
        assert room.state is not None and "secret" not in room.state.detail
    assert "secret" not in caplog.text


def test_an_error_that_nobody_foresaw_ends_the_process(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(redis_client, StoreSettings(endpoint="127.0.0.1:1"), watching("auto"))
    (one,) = room.waking._minders.values()
    monkeypatch.setattr(one, "_mind", lambda: 1 / 0)
    room.waking.start()
    assert room.failed.wait(10)
    room.waking.stop(within=10.0)


def test_who_may_not_see_the_configuration_of_a_bucket_goes_without(
    redis_client: redis.Redis, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ListenServer(refuses(), arns=["arn:minio:sqs::T:webhook"]).running() as server:
        server.denied = True
        with Room(redis_client, server.settings, watching("auto")).running() as room:
            until(lambda: room.state is not None and "Without that its source is poll" in room.state.detail)
