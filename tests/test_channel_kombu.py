"""The lean channel without Celery, by kombu's own interface: order, fairness, prefetch and what goes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Queue

from runtime import keys
from runtime.worker.app import LEAN
from tests.channeling import waiting


class Reader:
    """A consumer of two queues that keeps what it gets."""

    def __init__(self, url: str, prefetch: int, *queues: str) -> None:
        options = {"priority_steps": list(keys.PRIORITY_STEPS), "sep": keys.PRIORITY_SEPARATOR}
        self.connection = Connection(url, transport=LEAN, transport_options=options)
        self.got: list[Any] = []
        self.consumer = Consumer(
            self.connection, [Queue(name) for name in queues], on_message=self.got.append, accept=["json"]
        )
        self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    @property
    def channel(self) -> Any:
        return self.consumer.channel

    def drain(self) -> None:
        """Take what can be taken now."""
        while True:
            try:
                self.connection.drain_events(timeout=0.2)
            except TimeoutError:
                return

    def bodies(self) -> list[Any]:
        return [message.payload for message in self.got]


def put(client: redis.Redis, queue: str, *bodies: Any, step: int = 0) -> None:
    for body in bodies:
        message = {
            "body": json.dumps(body),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"id": str(body), "task": "x"},
            "properties": {
                "delivery_tag": f"{queue}:{body}",
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": step,
            },
        }
        client.lpush(keys.queue_list(queue, step), json.dumps(message))


def listed(client: redis.Redis, queue: str) -> list[Any]:
    return [json.loads(json.loads(raw)["body"]) for raw in waiting(client, queue)]


@pytest.fixture
def reader(broker_url: str, redis_client: redis.Redis) -> Iterator[Reader]:
    made = Reader(broker_url, 4, "a", "b")
    yield made
    made.connection.close()


def test_it_takes_as_many_as_it_may_have_in_one_round_trip(reader: Reader, redis_client: redis.Redis) -> None:
    put(redis_client, "a", *range(10))
    before = redis_client.info("commandstats").get("cmdstat_blmpop", {"calls": 0})["calls"]
    reader.drain()
    assert reader.bodies() == [0, 1, 2, 3]
    assert listed(redis_client, "a") == [4, 5, 6, 7, 8, 9]
    assert redis_client.info("commandstats")["cmdstat_blmpop"]["calls"] - before == 1
    reader.got[1].ack()
    reader.got[2].ack()
    reader.drain()
    assert reader.bodies() == [0, 1, 2, 3, 4, 5]


def test_with_messages_that_wait_it_goes_when_it_is_worth_it(reader: Reader, redis_client: redis.Redis) -> None:
    """Of eight, two run and six wait: a round trip is made when three are missing, and brings three."""
    reader.consumer.qos(prefetch_count=8)
    reader.channel.ahead = 4
    put(redis_client, "a", *range(20))
    reader.drain()
    assert len(reader.got) == 8
    reader.got[0].ack()
    reader.got[1].ack()
    reader.drain()
    assert len(reader.got) == 8
    reader.got[2].ack()
    reader.drain()
    assert len(reader.got) == 11


def test_the_highest_priority_of_all_queues_comes_first(reader: Reader, redis_client: redis.Redis) -> None:
    put(redis_client, "a", "a9", step=9)
    put(redis_client, "b", "b3", step=3)
    put(redis_client, "b", "b0", step=0)
    put(redis_client, "a", "a0", step=0)
    reader.drain()
    assert set(reader.bodies()[:2]) == {"a0", "b0"}
    assert reader.bodies()[2:] == ["b3", "a9"]


def test_queues_take_turns(reader: Reader, redis_client: redis.Redis) -> None:
    put(redis_client, "a", *(f"a{number}" for number in range(20)))
    put(redis_client, "b", *(f"b{number}" for number in range(20)))
    turns: list[str] = []
    for _ in range(6):
        reader.drain()
        turns.append("".join(sorted({body[0] for body in reader.bodies()})))
        for message in reader.got:
            message.ack()
        reader.got.clear()
    assert turns in (["a", "b"] * 3, ["b", "a"] * 3)


def test_what_is_out_counts_until_it_is_acknowledged_rejected_or_given_back(
    reader: Reader, redis_client: redis.Redis
) -> None:
    put(redis_client, "a", *range(10))
    reader.drain()
    reader.drain()
    assert len(reader.got) == 4
    reader.got[0].ack()
    reader.got[1].reject()
    reader.got[2].requeue()
    reader.drain()
    assert reader.bodies() == [0, 1, 2, 3, 2, 4, 5], "requeued to the head; a rejected one is gone"
    assert json.loads(waiting(redis_client, "a")[0])["headers"].get("redelivered") is None
    assert reader.got[4].headers["redelivered"] is True


def test_what_comes_after_the_prefetch_count_fell_goes_back(reader: Reader, redis_client: redis.Redis) -> None:
    """The pop was on its way with a count of four."""
    reader.drain()
    assert reader.channel._in_poll
    reader.consumer.qos(prefetch_count=2)
    client = redis_client.pipeline()
    client.multi()
    put(client, "a", *range(4))
    client.execute()
    reader.drain()
    assert reader.bodies() == [0, 1]
    assert listed(redis_client, "a") == [2, 3]


def test_closing_gives_back_in_order(reader: Reader, redis_client: redis.Redis) -> None:
    put(redis_client, "a", *range(6))
    reader.drain()
    reader.got[1].ack()
    reader.connection.close()
    assert listed(redis_client, "a") == [0, 2, 3, 4, 5]


def test_nothing_is_left_in_the_socket_of_a_consumer_that_was_cancelled(
    reader: Reader, redis_client: redis.Redis
) -> None:
    reader.drain()
    assert reader.channel._in_poll
    put(redis_client, "a", 1, 2)
    reader.consumer.cancel()
    assert not reader.channel._in_poll
    assert listed(redis_client, "a") == [1, 2]


def test_a_thread_that_makes_room_wakes_the_consumer(reader: Reader, redis_client: redis.Redis) -> None:
    """Not after the minute for which it would otherwise wait."""
    put(redis_client, "a", *range(5))
    reader.drain()
    done = threading.Event()

    def finish() -> None:
        done.wait()
        reader.got[0].ack()

    thread = threading.Thread(target=finish)
    thread.start()
    done.set()
    reader.connection.drain_events(timeout=60)
    thread.join()
    assert reader.bodies() == [0, 1, 2, 3, 4]
