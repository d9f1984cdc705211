"""MinIO's Redis target: every entry reaches the stream, whatever happens to the list and to who empties it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker import connection as broker
from tests.listen_server import FIXTURES
from tests.test_sources_listen import Desk, webhook_keys
from tests.workers import until
from triggers.sources import minio_redis
from triggers.sources.base import Broken
from triggers.sources.minio_redis import MinioRedis
from triggers.sources.registry import Sources

NAME = "minio:events"
RECORDED = [line.encode() for line in (FIXTURES / "redis_access.jsonl").read_text().splitlines()]


def entry(number: int) -> bytes:
    about = {"bucket": {"name": "documents"}, "object": {"key": f"{number}.txt"}}
    return json.dumps([{"Event": [{"eventName": "s3:ObjectCreated:Put", "s3": about}], "EventTime": ""}]).encode()


def told(bodies: Sequence[bytes]) -> list[str]:
    sources = Sources()
    found = [hint.key for body in bodies for hint in sources.parse("minio_redis", body)]
    assert not sources.unusable
    return found


def source(client: redis.Redis) -> MinioRedis:
    return MinioRedis(client, client, NAME)


def test_every_recorded_entry_becomes_the_hints_of_the_webhook() -> None:
    found: dict[str, list[str]] = {}
    sources = Sources()
    for body in RECORDED:
        for hint in sources.parse("minio_redis", body):
            found.setdefault(hint.bucket, []).append(hint.key)
    assert not sources.unusable
    # Several removed in one call are told in any order.
    assert {bucket: sorted(told) for bucket, told in found.items()} == {
        bucket: sorted(webhook_keys(bucket)) for bucket in ("documents", "versioned")
    }


def test_the_list_is_emptied_into_the_stream_in_order(redis_client: redis.Redis) -> None:
    redis_client.rpush(NAME, *RECORDED)
    desk = Desk(lambda desk: len(desk.bodies) >= len(RECORDED))
    source(redis_client).run(desk)
    assert desk.bodies == RECORDED
    assert desk.starts == 1
    assert not redis_client.exists(NAME)
    assert not list(redis_client.scan_iter(keys.lock("source:list:*")))


def test_what_is_not_in_the_stream_stays_in_the_list(redis_client: redis.Redis) -> None:
    class Away(Desk):
        def put(self, bodies: Sequence[bytes]) -> None:
            raise redis.ConnectionError

    redis_client.rpush(NAME, *RECORDED)
    with pytest.raises(redis.ConnectionError):
        source(redis_client).run(Away())
    assert redis_client.lrange(NAME, 0, -1) == RECORDED


def test_what_somebody_else_took_meanwhile_is_not_trimmed_twice(redis_client: redis.Redis) -> None:
    """Another process reads the same entries (its lock had lapsed) and trims them, while more come in."""

    class Slow(Desk):
        def put(self, bodies: Sequence[bytes]) -> None:
            super().put(bodies)
            redis_client.ltrim(NAME, len(bodies), -1)
            redis_client.rpush(NAME, *[entry(number) for number in range(5)])

    redis_client.rpush(NAME, *RECORDED[:5])
    source(redis_client).run(Slow(lambda desk: bool(desk.bodies)))
    assert redis_client.lrange(NAME, 0, -1) == [entry(number) for number in range(5)]


def test_two_processes_lose_nothing(broker_url: str, redis_client: redis.Redis) -> None:
    """The second waits for the lock and goes on when the first ends."""
    count, half = 2000, threading.Event()
    first, second = Desk(lambda _: half.is_set()), Desk(lambda _: over.is_set())
    over = threading.Event()
    clients = [broker.connect(broker_url) for _ in range(2)]
    threads = [
        threading.Thread(target=source(client).run, args=(desk,))
        for client, desk in zip(clients, (first, second), strict=True)
    ]
    for thread in threads:
        thread.start()
    for number in range(count):
        redis_client.rpush(NAME, entry(number))
        if number == count // 2:
            until(lambda: first.bodies or second.bodies)
            half.set()
    until(lambda: len(set(told(first.bodies + second.bodies))) == count)
    over.set()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    assert redis_client.llen(NAME) == 0


def test_a_runaway_list_is_cut_and_the_bucket_listed(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys, "EVENTS_CAP", 1000)
    redis_client.rpush(NAME, *[entry(number) for number in range(1500)])
    desk = Desk(lambda desk: bool(desk.bodies))
    source(redis_client).run(desk)
    assert desk.asks == 1
    assert told(desk.bodies)[-1] == "1499.txt"
    assert len(desk.bodies) == minio_redis.AT_ONCE and not redis_client.exists(NAME)
    assert "1500 notifications were waiting" in caplog.text


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_the_other_format_is_explained(redis_client: redis.Redis, when: str) -> None:
    namespace: dict[Any, Any] = json.loads((FIXTURES / "redis_namespace.json").read_text())

    def write() -> None:
        redis_client.hset(NAME, mapping=namespace)

    class Later(Desk):
        def begun(self) -> None:
            write()

    if when == "before":
        write()
    with pytest.raises(Broken, match="format=access") as caught:
        source(redis_client).run(Later() if when == "meanwhile" else Desk())
    assert caught.value.lasting and "is not a list" in str(caught.value)
    assert redis_client.hlen(NAME) == len(namespace)


def test_a_server_that_is_not_there(redis_client: redis.Redis) -> None:
    away = broker.connect("redis://127.0.0.1:1")
    with pytest.raises(Broken, match="does not answer") as caught:
        MinioRedis(redis_client, away, NAME).run(Desk())
    assert not caught.value.lasting
