"""A tracestate goes wherever its traceparent goes: records, the outbox, objects, callbacks, spans."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from runtime.callbacks import answer as callback_answer
from runtime.config.settings import Settings
from runtime.harness.store import MemoryStore
from runtime.invocations.submit import Call, submit
from runtime.outbox.kept_call import Kept, unpack
from runtime.store.stamped import StampedStore, trace
from runtime.testing import fake_context
from runtime.values.trace_context import LONGEST, Trace, headers, packed, state_of, unpacked
from runtime.worker.foreign import _trace
from tests import gatewaying
from tests.gatewaying import serving
from tests.workers import known

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "rojo=00f067aa0ba902b7,congo@x=t61rcWkgMzE"
BOTH = {"traceparent": PARENT, "tracestate": STATE}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([STATE], STATE),
        (["rojo=00f067aa0ba902b7 ", "\tcongo@x=t61rcWkgMzE,"], STATE),
        ([], ""),
        (["nothing"], ""),
        (["Large=1"], ""),
        (["a=1,b=\r\nHost: x"], ""),
        ([",".join(f"k{n}=1" for n in range(33))], ""),
    ],
    ids=["one", "two", "none", "no entry", "key", "value", "many"],
)
def test_what_a_tracestate_is(given: list[str], found: str) -> None:
    assert state_of(given) == found


def test_whole_entries_of_a_long_one_are_left_out() -> None:
    entries = [f"key{n}={'v' * 60}" for n in range(20)]
    found = state_of([",".join(entries)])
    assert LONGEST - 70 < len(found) <= LONGEST
    assert found.split(",") == entries[: len(found.split(","))], "the newest stand first"


def test_who_knows_of_no_tracestate_reads_the_traceparent() -> None:
    both = Trace(PARENT, STATE)
    assert both == PARENT == str(both) == f"{both}"
    assert headers(both) == BOTH
    assert headers(PARENT) == headers(Trace(PARENT)) == {"traceparent": PARENT}
    assert headers(None) == headers("") == {}
    again = unpacked(packed(both) or "")
    assert (again, again.state) == (PARENT, STATE)
    assert (packed(None), packed(PARENT), unpacked(PARENT).state) == (None, PARENT, "")


def test_from_a_request_to_record_function_and_callback(made: Settings, redis_client: redis.Redis) -> None:
    with serving(made) as web:
        answer = web.post("/async-function/add", json={"a": 1}, headers=BOTH)
        assert answer.headers["traceparent"] == PARENT
        record = known(redis_client, answer.json()["task_id"])
        assert headers(record.trace) == BOTH
        told = web.get(f"/api/v1/tasks/task/{record.id}").json()
        assert told["traceparent"] == PARENT
        assert BOTH.items() <= callback_answer.message(record)[1].items()
        wrong = web.post("/async-function/add", json={"a": 1}, headers={**BOTH, "tracestate": "no entry"})
        assert headers(known(redis_client, wrong.json()["task_id"]).trace) == {"traceparent": PARENT}
    assert fake_context("add", trace=Trace(PARENT, STATE)).trace_headers == BOTH


def test_from_the_outbox(made: Settings, redis_client: redis.Redis) -> None:
    call = Call("add", {"a": 1}, id="kept", trace=Trace(PARENT, STATE))
    again = unpack(Kept(call, time.time(), "default", 5).pack()).call
    submit(redis_client, gatewaying.deployment(made), again)
    assert headers(known(redis_client, "kept").trace) == BOTH


def test_from_an_object_and_from_another_programs_message() -> None:
    memory = MemoryStore()
    StampedStore(memory, "note", 1, Trace(PARENT, STATE)).put("documents", "a", b"x")
    assert BOTH.items() <= memory.head("documents", "a").metadata.items()
    assert headers(trace(memory.head("documents", "a"))) == BOTH
    StampedStore(memory, "note", 1, Trace(PARENT, STATE)).put("documents", "b", b"x", metadata={"own": "x" * 1930})
    assert headers(trace(memory.head("documents", "b"))) == {"traceparent": PARENT}, "there is no room for more"
    told: dict[str, Any] = {**BOTH, "other": 1}
    assert headers(_trace(told)) == BOTH
    assert headers(_trace({"traceparent": "nonsense", "tracestate": STATE})) == {}
    assert headers(_trace({"traceparent": PARENT, "tracestate": 7})) == {"traceparent": PARENT}


def test_spans_hand_it_on() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    from runtime.telemetry.tracing_otel import _context, _traceparent

    tracer = TracerProvider().get_tracer("test")
    from opentelemetry import trace as otel

    above = _context(Trace(PARENT, STATE))
    assert above is not None
    span = tracer.start_span("below", context=otel.set_span_in_context(otel.NonRecordingSpan(above)))
    made = _traceparent(span)
    assert (made[3:35], made.state) == (PARENT[3:35], STATE)
