"""The pin under runtime/worker: channel.py, prefork.py, pool_process.py, invocation_request.py. Inner methods of kombu,
Celery and billiard that they replace or rely on, as they were when it was written. When one of them changes, read what
changed, mend what must be, and only then write the new digest here.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import celery
import kombu
import pytest
from billiard import pool as billiard_pool
from billiard.pool import ApplyResult, Worker
from celery.concurrency import asynpool
from celery.concurrency.asynpool import AsynPool
from celery.worker import loops, strategy
from celery.worker.consumer import tasks
from celery.worker.consumer.consumer import Consumer
from celery.worker.request import Request, create_request_cls
from kombu.asynchronous.hub import Hub
from kombu.transport import redis, virtual

from runtime.worker import channel, channel_qos, channel_transport, poller

PINNED: dict[Callable[..., Any], str] = {
    redis.Channel.__init__: "f189bdebe2436ccd",
    redis.Channel._brpop_start: "06723d707ddf2240",
    redis.Channel._brpop_read: "c42518699709f2df",
    redis.Channel._basic_cancel: "f799ede5037500a9",
    redis.Channel.basic_cancel: "d2e3a03a48d2a52a",
    redis.Channel.basic_consume: "34e0da85e689ff98",
    redis.Channel.close: "101e9b9cdad44b88",
    redis.Channel._q_for_pri: "f3997660680dd00f",
    redis.Channel._queue_bind: "29b73e023af67e47",
    redis.Channel._create_client: "dae92bc4075dafb9",
    redis.Channel._flush_brpop_reauth: "bb4930b4fd3cf8f3",
    redis.Channel._on_connection_disconnect: "9eab3394f78b076c",
    redis.Channel.maybe_refresh_binding_expiry: "6a24d076d222dbf5",
    redis.MultiChannelPoller.get: "e0f960e0c3288d3f",
    redis.MultiChannelPoller.close: "ff21d2c7108935fb",
    redis.MultiChannelPoller.handle_event: "a96a90b9df4bd447",
    redis.MultiChannelPoller.on_readable: "c0d99f241607f845",
    redis.MultiChannelPoller.on_poll_start: "414f76caaa675bc0",
    redis.MultiChannelPoller._register_BRPOP: "85724582464a615f",
    redis.MultiChannelPoller._register_LISTEN: "8329d648d397b8a6",
    redis.MultiChannelPoller._register: "327dc991dcc12069",
    Hub.add: "d075cbe67233ac35",
    Hub.add_reader: "e2ebad46b5d3fc55",
    redis.MultiChannelPoller._update_brpop_polling: "de7b4600acf540fb",
    redis.MultiChannelPoller.maybe_restore_messages: "6c267815d521a4a6",
    redis.MultiChannelPoller.maybe_check_brpop_health: "0dc592e46353a0fc",
    redis.Transport.__init__: "4fc30e8fa54df374",
    redis.Transport.register_with_event_loop: "4b835642e4a99425",
    virtual.QoS.__init__: "86388d33d7d6fb40",
    virtual.QoS.can_consume: "787f80092f8d7e51",
    virtual.QoS.append: "b388f0cd6485c28a",
    virtual.QoS.ack: "0714292b916fecb2",
    virtual.QoS.reject: "ae08291027f37509",
    virtual.QoS.restore_unacked: "42decbef03d576d3",
    virtual.QoS.restore_unacked_once: "c81f3d0fb29b9599",
    virtual.QoS.restore_visible: "0f0125cd5619669b",
    virtual.Channel.basic_consume: "0fec962694938b61",
    virtual.Channel.basic_qos: "61117bc0c9362341",
    virtual.Channel.basic_ack: "3b4278c757b44675",
    virtual.Channel.basic_reject: "d49bbd211da77d0d",
    virtual.Channel.close: "26368e1cadfc4ff9",
    virtual.Message.__init__: "c90d08ccfa2e3e9a",
    virtual.Transport._deliver: "799e242f3ec53863",
    virtual.Transport.drain_events: "dc55900aa0d2f4e8",
    virtual.Transport.close_connection: "e16eb2eabe26623d",
    Consumer.call_soon_ack: "39f8579d076243fc",
    Consumer.create_task_handler: "292c5a681f10ade7",
    Consumer.on_close: "e96d425dce0ae6a3",
    tasks.Tasks.start: "e0165bf1d620fb60",
    tasks.Tasks.stop: "b082b2099f09ba29",
    loops.asynloop: "05a53e51998887ca",
    loops.synloop: "0b746e5242c77fda",
    AsynPool._create_write_handlers: "f5f9b8dc805bea71",
    Worker.workloop: "ce4a856cce2b9e10",
    ApplyResult._ack: "0a37099cfacc9994",
    billiard_pool.ResultHandler._make_methods: "9b6ed6767639fb61",
    asynpool.ResultHandler._make_process_result: "0226429696d54de9",
    asynpool.ResultHandler._recv_message: "b6e78ecaed720b4d",
    AsynPool.on_job_ready: "89e682c38efd28a1",
    AsynPool.on_job_process_down: "ac53c414f3420b95",
    Request.__init__: "efdf47149cde3635",
    Request.info: "3c2e986f6780d19e",
    Request.send_event: "75ec861e3f357ae9",
    create_request_cls: "871f30fe1cfee4bf",
    strategy.default: "7d90575ada5eb1dc",
}


def digest(method: Callable[..., Any]) -> str:
    return hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16]


@pytest.mark.parametrize("method", PINNED, ids=lambda method: method.__qualname__)
def test_what_the_channel_stands_on_is_as_it_was(method: Callable[..., Any]) -> None:
    assert digest(method) == PINNED[method], (
        f"{method.__module__}.{method.__qualname__} is not what runtime/ was written against "
        f"(kombu {kombu.__version__}, Celery {celery.__version__}): compare it with 5.7.0, then pin {digest(method)}"
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (channel_qos.QoS, virtual.QoS),
        (channel.Channel, redis.Channel),
        (poller.Poller, redis.MultiChannelPoller),
        (channel_transport.Transport, redis.Transport),
    ],
)
def test_what_it_replaces_is_called_as_before(ours: type, theirs: type) -> None:
    """Every method of kombu's that is replaced is pinned, and takes the same parameters."""
    for name, method in vars(ours).items():
        replaced = getattr(theirs, name, None)
        if inspect.isfunction(method) and inspect.isfunction(replaced) and name != "__init__":
            assert list(inspect.signature(method).parameters) == list(inspect.signature(replaced).parameters), name
            assert replaced in PINNED, f"{replaced.__qualname__} is replaced, but not pinned"


def test_its_transport_is_found_by_its_name() -> None:
    from kombu.transport import get_transport_cls

    from runtime.worker.app import LEAN

    assert get_transport_cls(LEAN) is channel_transport.Transport
