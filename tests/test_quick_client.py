"""The client of the processes that run calls: redis-py's answers, and no answer goes to another question."""

from __future__ import annotations

import os
from typing import Any

import pytest
import redis

from runtime.broker import scripts
from runtime.broker.connection import connect
from runtime.broker.quick_client import QuickClient, quick
from runtime.config.broker import BrokerSpec

ECHO = "return ARGV[1]"


def test_scripts_and_commands(broker_url: str, redis_client: redis.Redis) -> None:
    client = quick(connect(broker_url))
    assert isinstance(client, QuickClient)
    assert client.eval(ECHO, 0, "größer") == "größer".encode()
    assert client.evalsha(scripts.sha(ECHO), 0, b"\x00") == b"\x00"
    assert client.set("a", 1)
    assert client.get("a") == b"1"
    redis_client.script_flush()
    assert scripts.run_text(client, ECHO, (), ["x"]) == b"x"
    with pytest.raises(redis.ResponseError):
        client.eval("return nothing()", 0)
    assert client.eval(ECHO, 0, "y") == b"y"


def test_a_connection_that_was_lost(broker_url: str, redis_client: redis.Redis) -> None:
    client = quick(connect(broker_url))
    client.eval(ECHO, 0, "x")
    for found in redis_client.client_list():
        if found["cmd"].startswith("eval"):
            redis_client.client_kill_filter(_id=found["id"])
    assert client.eval(ECHO, 0, "y") == b"y"


def test_an_answer_that_nobody_waited_for(
    broker_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time limit is raised between question and answer: the next question gets its own answer."""
    client = quick(connect(broker_url))
    client.eval(ECHO, 0, "x")
    kind: Any = client.connection_pool.connection_class

    class Limit(Exception):
        pass

    def interrupted(*_: Any, **__: Any) -> Any:
        raise Limit

    with monkeypatch.context() as patch:
        patch.setattr(kind, "read_response", interrupted)
        with pytest.raises(Limit):
            client.eval(ECHO, 0, "old")
    assert client.eval(ECHO, 0, "new") == b"new"


def test_a_child_has_connections_of_its_own(broker_url: str, redis_client: redis.Redis) -> None:
    client = quick(connect(broker_url))
    client.eval(ECHO, 0, "x")
    child = os.fork()
    if not child:
        os._exit(0 if client.eval(ECHO, 0, "child") == b"child" else 1)
    assert client.eval(ECHO, 0, "parent") == b"parent"
    assert os.waitpid(child, 0)[1] == 0


def test_counted_connections_are_left_to_redis(broker_url: str) -> None:
    client = connect(broker_url, BrokerSpec(pool=2))
    assert quick(client) is client
