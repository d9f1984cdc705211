"""CloudEvents as calls: binary, structured and batched, and what is said of those that are none."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from runtime.config.settings import Settings
from runtime.invocations.invocation import Invocation, read
from tests.gatewaying import Hand, add, problem
from tests.workers import queued

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
EVENT = {"specversion": "1.0", "id": "7", "source": "/shop/orders", "type": "order.placed"}


def structured(web: TestClient, path: str = "/async-function/cut", **members: Any) -> Any:
    body = json.dumps({**EVENT, **members})
    return web.post(path, content=body, headers={"Content-Type": f"{STRUCTURED}; charset=utf-8"})


def binary(web: TestClient, body: bytes, kind: str | None, path: str = "/async-function/cut", **more: str) -> Any:
    headers = {f"ce-{name}": value for name, value in {**EVENT, **more}.items() if value}
    return web.post(path, content=body, headers={**headers, **({"Content-Type": kind} if kind else {})})


def recorded(client: redis.Redis, answer: Any) -> Invocation:
    assert answer.status_code == 202, answer.text
    found = read(client, answer.json()["task_id"])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("members", "arguments"),
    [
        ({"data": {"a": 1}}, {"a": 1}),
        ({"data": [1, 2]}, {"data": [1, 2]}),
        ({"data": "text", "datacontenttype": "text/plain"}, {"data": "text"}),
        ({"data": 0}, {"data": 0}),
        ({"data": None}, {}),
        ({}, {}),
        ({"data_base64": "AAEC"}, {"data_base64": "AAEC"}),
    ],
)
def test_structured(
    web: TestClient, redis_client: redis.Redis, members: dict[str, Any], arguments: dict[str, Any]
) -> None:
    record = recorded(redis_client, structured(web, subject="12", time="2026-03-01T12:00:00Z", shopid=4, **members))
    assert record.arguments == arguments
    kept = {name: value for name, value in members.items() if name == "datacontenttype"}
    assert record.event == {**EVENT, "subject": "12", "time": "2026-03-01T12:00:00Z", "shopid": 4, **kept}


@pytest.mark.parametrize(
    ("body", "kind", "arguments"),
    [
        (b'{"a": 1}', "application/json", {"a": 1}),
        (b'{"a": 1}', "application/vnd.order+json; charset=utf-8", {"a": 1}),
        (b"[1]", "application/json", {"data": [1]}),
        (b"null", "application/json", {"data": None}),
        (b"", "application/json", {}),
        ("Füße".encode(), "text/plain", {"data": "Füße"}),
        (b"\x00\xff", "image/png", {"data_base64": base64.b64encode(b"\x00\xff").decode()}),
    ],
)
def test_binary(web: TestClient, redis_client: redis.Redis, body: bytes, kind: str, arguments: dict[str, Any]) -> None:
    record = recorded(redis_client, binary(web, body, kind, subject="K%C3%B6ln%20%22x%22"))
    assert record.arguments == arguments
    assert record.event == {**EVENT, "subject": 'Köln "x"', "datacontenttype": kind}


def test_an_event_can_be_waited_for(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    with Hand(redis_client, made, add):
        answer = structured(web, "/function/add", data={"a": 2})
        again = binary(web, b'{"a": 2}', "application/json", "/function/add")
    assert (answer.status_code, answer.json()) == (200, 3)
    assert again.content == answer.content and again.headers["idempotency-replayed"] == "true"


def test_an_event_that_comes_again_is_the_same(web: TestClient, redis_client: redis.Redis) -> None:
    first = structured(web, data={"a": 1})
    again = binary(web, b'{"a":1}', "application/json")
    assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    assert structured(web, data={"a": 1}, id="8").json() != first.json()
    assert structured(web, data={"a": 1}, source="/other").json() != first.json()
    problem(structured(web, data={"a": 2}), 422)
    own = {"Content-Type": STRUCTURED, "Idempotency-Key": "mine"}
    mine = web.post("/async-function/cut", content=json.dumps({**EVENT, "data": {"a": 1}}), headers=own)
    assert mine.status_code == 202 and mine.json() != first.json()
    assert len(queued(redis_client)) == 4


def test_the_trace_of_an_event_is_that_of_the_call(web: TestClient, redis_client: redis.Redis) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = structured(web, traceparent=trace)
    assert recorded(redis_client, answer).trace == trace == answer.headers["traceparent"]
    assert recorded(redis_client, structured(web, id="9", traceparent="nonsense")).trace is None


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ({"id": "", "source": None, "type": 4}, {"id", "source", "type"}),
        ({"specversion": "0.3"}, {"specversion"}),
        ({"time": "yesterday"}, {"time"}),
        ({"subject": ""}, {"subject"}),
        ({"subject": "x" * 40_000}, {"attributes"}),
        ({"Not-A-Name": "x"}, {"Not-A-Name"}),
        ({"deep": {"a": 1}}, {"deep"}),
        ({"data": 1, "data_base64": "AA=="}, {"data_base64"}),
        ({"data_base64": "not base64"}, {"data_base64"}),
        ({"data_base64": 7}, {"data_base64"}),
    ],
)
def test_everything_wrong_is_named(
    web: TestClient, redis_client: redis.Redis, members: dict[str, Any], fields: set[str]
) -> None:
    told = problem(structured(web, **members), 400)
    assert {error["field"] for error in told["errors"]} == fields
    assert not queued(redis_client)


def test_missing_attributes_are_named_in_both_modes(web: TestClient) -> None:
    answer = web.post("/async-function/cut", content=b"{}", headers={"Content-Type": STRUCTURED})
    assert {error["field"] for error in problem(answer, 400)["errors"]} == {"specversion", "id", "source", "type"}
    answer = web.post("/async-function/cut", json={}, headers={"ce-id": "1", "ce-time": "now"})
    named = {"ce-specversion", "ce-source", "ce-type", "ce-time"}
    assert {error["field"] for error in problem(answer, 400)["errors"]} == named


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"[]", STRUCTURED, 400),
        (b"{", STRUCTURED, 400),
        (b"", STRUCTURED, 400),
        (b"{}", BATCH, 400),
        (b"[1]", BATCH, 400),
        (b"<a/>", "application/cloudevents+xml", 415),
        (b"[" + b",".join([b"{}"] * 1001) + b"]", BATCH, 413),
    ],
)
def test_what_is_no_event(web: TestClient, body: bytes, kind: str, status: int) -> None:
    problem(web.post("/async-function/cut", content=body, headers={"Content-Type": kind}), status)


def test_bytes_that_are_no_text(web: TestClient) -> None:
    assert "byte 1" in problem(binary(web, b"a\xff", "text/plain"), 400)["detail"]
    assert "ce-subject" in problem(binary(web, b"", None, subject="%ff"), 400)["detail"]


def test_data_that_the_function_does_not_take(web: TestClient) -> None:
    told = problem(structured(web, "/async-function/add", data="text"), 422)
    assert {error["field"] for error in told["errors"]} == {"a", "data"}


def batch(web: TestClient, events: list[Any], path: str = "/async-function/add", **headers: str) -> Any:
    return web.post(path, content=json.dumps(events), headers={"Content-Type": BATCH, **headers})


def test_a_batch(web: TestClient, redis_client: redis.Redis) -> None:
    events = [{**EVENT, "id": str(number), "data": {"a": number}} for number in range(3)]
    answer = batch(web, [*events, events[0], {**events[0], "data": {"a": 9}}], **{"X-Priority": "8"})
    assert answer.status_code == 202
    tasks = answer.json()["tasks"]
    assert [task["status"] for task in tasks] == ["submitted"] * 4 + ["refused"]
    assert tasks[3]["task_id"] == tasks[0]["task_id"] and "other data" in tasks[4]["error"]
    records = [read(redis_client, task["task_id"]) for task in tasks[:3]]
    assert [record.arguments for record in records if record] == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert all(record and record.priority == 8 and record.event for record in records)
    assert batch(web, []).json() == {"tasks": []}


def test_a_batch_is_taken_whole_or_not_at_all(web: TestClient, redis_client: redis.Redis) -> None:
    good = {**EVENT, "data": {"a": 1}}
    told = problem(batch(web, [good, {**EVENT, "id": ""}, 5]), 400)
    assert [error["field"] for error in told["errors"]] == ["[1].id", "[2].event"]
    told = problem(batch(web, [good, {**EVENT, "id": "8", "data": {"b": "x"}}]), 422)
    assert {error["field"] for error in told["errors"]} == {"[1].a", "[1].b"}
    assert "wait" in problem(batch(web, [good], "/function/add"), 400)["detail"]
    assert "Idempotency-Key" in problem(batch(web, [good], **{"Idempotency-Key": "k"}), 400)["detail"]
    assert not queued(redis_client)
    assert batch(web, [good], "/function/add", Prefer="respond-async").status_code == 202
