"""`broker:` in functions.yaml: each key does what it says, at our own clients and at Celery's."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.broker import replication
from runtime.config.broker import BrokerSpec
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown, ConfigError
from runtime.invocations.invocation import read
from runtime.invocations.packed_arguments import pack, unpack
from runtime.invocations.submit import Call, accept, submit
from runtime.worker import foreign
from runtime.worker.app import create_app
from tests.workers import SAMPLES, deployment, ended, environment, known, worker

FILE = SAMPLES / "life" / "functions.yaml"
LONG = {"text": "Wood and stone. " * 1000}


def with_broker(tmp_path: Path, broker_url: str, text: str) -> Deployment:
    file = tmp_path / "functions.yaml"
    file.write_text(
        f"version: 1\nbroker: {text}\nqueues: {{work: {{}}}}\n"
        "functions:\n  size: {handler: life.py:size, queue: work}\n"
    )
    (tmp_path / "life.py").write_text((FILE.parent / "life.py").read_text())
    return deployment(file, broker_url)


def connections(client: redis.Redis, name: str) -> int:
    found: Any = client.client_list()
    return sum(one["name"] == name for one in found)


def named(url: str, name: str) -> str:
    return f"{url}?client_name={name}"


def test_a_process_opens_no_more_connections_than_its_pool_has(redis_client: redis.Redis, broker_url: str) -> None:
    client = broker.connect(named(broker_url, "narrow"), BrokerSpec(pool=2))
    threads = [threading.Thread(target=lambda: client.blpop(["nothing"], timeout=0.05)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert connections(redis_client, "narrow") == 2
    client.close()


def test_nor_does_a_gateway(redis_client: redis.Redis, broker_url: str) -> None:
    async def ask() -> int:
        client = broker.connect_async(named(broker_url, "narrow-async"), BrokerSpec(pool=3))
        await asyncio.gather(*(client.ping() for _ in range(30)))
        count = connections(redis_client, "narrow-async")
        await client.aclose()
        return count

    assert asyncio.run(ask()) == 3


def test_celery_s_own_pool_has_the_same_limit(tmp_path: Path, broker_url: str) -> None:
    app = create_app(with_broker(tmp_path, broker_url, "{pool: 3, retry_on_startup: false}").settings)
    assert (app.conf.broker_pool_limit, app.conf.broker_connection_retry_on_startup) == (3, False)


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="another name for it on this system")
@pytest.mark.parametrize(("written", "asked"), [("45s", (1, 45, 15)), ("false", (0, None, None))], ids=["on", "off"])
def test_a_silent_connection_is_asked_whether_it_lives(
    tmp_path: Path, broker_url: str, written: str, asked: tuple[int, int | None, int | None]
) -> None:
    settings = with_broker(tmp_path, broker_url, f"{{keepalive: {written}}}").settings
    client = broker.connect(broker_url, settings.project.broker)
    with create_app(settings).connection_for_write() as connection:
        for pool in (client.connection_pool, connection.default_channel.client.connection_pool):
            made: Any = pool.get_connection()
            made.connect()
            sock = made._sock
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is bool(asked[0])
            if asked[0] and pool is client.connection_pool:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == asked[1]
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == asked[2]
            pool.release(made)
    client.close()


def test_a_part_that_is_not_to_wait_for_its_broker_ends(tmp_path: Path, broker_url: str) -> None:
    with_broker(tmp_path, broker_url, "{retry_on_startup: false}")
    for words in (["beat"], ["worker", "-Q", "work"]):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "runtime.cli.main", *words, "-f", str(tmp_path / "functions.yaml")],
            env=environment("redis://127.0.0.1:1/0"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 3, done.stdout + done.stderr
        assert "The broker at 127.0.0.1:1 does not answer" in done.stdout + done.stderr
        assert "retry_on_startup" in done.stdout + done.stderr


def test_arguments_are_packed_and_unpacked() -> None:
    small: dict[str, Any] = {"a": 1}
    assert pack(small, 256) == pack(small)
    assert len(pack(LONG, 256)) < len(pack(LONG)) / 10
    assert unpack(pack(LONG, 256)) == unpack(pack(LONG)) == LONG
    assert unpack(pack({"x" * 120: 1})) == {"x" * 120: 1}, "nothing that is not compressed begins as if it were"


def test_large_calls_are_small_in_the_broker(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    task_id = submit(redis_client, deployed, Call("size", LONG))
    stored: Any = redis_client.hget(keys.invocation(task_id), "arguments")
    waiting: Any = redis_client.lindex(keys.queue_list("work", keys.transport_priority(5)), 0)
    assert len(stored) < 1000
    assert len(waiting) < 4000, "with a short form of the arguments for people"
    assert known(redis_client, task_id).arguments == LONG
    _, kwargs, _ = foreign._content(json.loads(waiting))
    assert kwargs == LONG, "any Celery worker reads it"
    with worker(FILE, broker_url, "work"):
        assert ended(redis_client, task_id).result_json == str(len(LONG["text"])).encode()


def test_a_call_counts_when_replicas_have_it(
    redis_client: redis.Redis, tmp_path: Path, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/test_sentinel.py does it with a replica."""
    monkeypatch.setattr(replication, "WAIT_MS", 50)
    deployed = with_broker(tmp_path, broker_url, "{replicas: 1}")
    redis_client.script_flush()
    for _ in range(2):  # by its text, then by its hash
        with pytest.raises(BrokerDown, match="only 0 of 1 replicas"):
            accept(redis_client, deployed, Call("size", {"text": ""}, id="known"))
    assert read(redis_client, "known") is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{pool: 1}", "pool"),
        ("{keepalive: soon}", "not a duration"),
        ("{compress_over: 3B}", "compress_over"),
        ("{keepalife: 3s}", "did you mean keepalive"),
    ],
    ids=["pool", "keepalive", "compress_over", "unknown"],
)
def test_a_mistake_is_named(tmp_path: Path, broker_url: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        with_broker(tmp_path, broker_url, text)
