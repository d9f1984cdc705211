"""The request of a call that has begun, beside the one that Celery makes of the same message."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app import trace

from runtime.attempts.taking import Begun
from runtime.invocations.message import build
from runtime.worker import short_way
from runtime.worker.channel import Channel
from runtime.worker.channel_qos import QoS
from runtime.worker.invocation_request import InvocationRequest

SAME = (
    *("id", "name", "type", "root_id", "parent_id", "argsrepr", "kwargsrepr", "hostname", "delivery_info", "eta"),
    *(
        "expires",
        "time_limits",
        "ignore_result",
        "correlation_id",
        "reply_to",
        "task",
        "app",
        "utc",
        "errbacks",
        "chord",
    ),
    *("on_ack", "on_reject", "eventer", "connection_errors", "group", "group_index", "stamps", "replaced_task_nesting"),
)

RAW = build("id", "f", {"text": "größer"}, queue="q", priority=7, queued_ms=5, root="root", limits=(9, 8))


def nothing() -> None:
    """A task."""


@pytest.fixture
def requests() -> Iterator[tuple[InvocationRequest, InvocationRequest]]:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.conf.accept_content = ["msgpack"]
    task = app.task(nothing, name="f", shared=False)
    channel: Any = SimpleNamespace(source="q", receiver=None, codecs=Channel.codecs, body_encoding="base64")
    channel.decode_body = lambda body, encoding: Channel.decode_body(channel, body, encoding)
    options = {"on_ack": print, "on_reject": repr, "app": app, "hostname": "q@test", "eventer": None, "task": task}
    made = []
    for channel.begun in (None, Begun("id", (b"fence", b"1", b"attempts", b"1"), time.monotonic())):
        found = Channel.Message(json.loads(RAW), channel=channel)
        found.accept = {"application/x-msgpack"}
        QoS.append(SimpleNamespace(channel=channel, _delivered={}), found, "tag")  # type: ignore[arg-type]
        told = {"body": found.body, "headers": found.headers, "decoded": False, "utc": True}
        made.append(InvocationRequest(found, connection_errors=(OSError,), **options, **told))
    yield made[0], made[1]


def test_field_by_field(requests: tuple[InvocationRequest, InvocationRequest]) -> None:
    theirs, ours = requests
    for name in SAME:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.info() == theirs.info(), "what `inspect active` shows, with the arguments"
    assert ours.info(safe=True) == theirs.info(safe=True)
    assert str(ours) == str(theirs)


def test_what_goes_to_the_process(requests: tuple[InvocationRequest, InvocationRequest]) -> None:
    """No body: the arguments are in the record. The rest is what Celery's tracer reads."""
    theirs, ours = requests
    assert ours.body == ((), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})
    assert ours.content_type is None
    assert ours.request_dict["begun"][0] == "id"
    for name, value in ours.request_dict.items():
        if name != "begun":
            assert theirs.request_dict[name] == value, name
    context = ours._context
    assert (context.id, context.root_id, context.retries, context.callbacks) == ("id", "root", 0, None)


def test_a_failure_of_what_was_sent_ahead_has_the_same_request(
    requests: tuple[InvocationRequest, InvocationRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came with its message alone: Celery's request is made of that where Celery's way is needed."""
    _, ours = requests
    fields = tuple(Begun("id", (b"function", b"f", b"fence", b"1", b"attempts", b"1"), 12.5))
    error = ValueError("no")

    def fails(*_: object) -> None:
        raise error

    task = SimpleNamespace(app=SimpleNamespace(tundish_runner=SimpleNamespace(run_begun=fails)))
    asked = list[tuple[Any, ...]]()
    monkeypatch.setattr(trace, "_localized", [{"f": task}, "q@test"])

    def traced(*given: Any) -> short_way.Outcome:
        asked.append(given)
        return 1, "told", 0.5

    monkeypatch.setattr(trace, "fast_trace_task", traced)
    assert short_way.run_ahead(fields, RAW) == (1, "told", 0.5)
    ((name, task_id, request, *_),) = asked
    assert (name, task_id) == ("f", "id")
    assert request == {**ours.request_dict, "begun": fields, "raised": error}
