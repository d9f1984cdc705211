"""Calling functions over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st
from starlette.testclient import TestClient

from runtime import keys
from runtime.config.settings import Settings, StoreSettings
from runtime.invocations.invocation import read
from tests.gatewaying import Hand, add, failing, problem, serving, settings
from tests.workers import queued


def test_waits_for_the_result_and_passes_its_bytes_on(
    web: TestClient, redis_client: redis.Redis, made: Settings
) -> None:
    exact = b'{"pi": 3.14000, "big": 12345678901234567890123}'
    with Hand(redis_client, made, lambda *_: ("succeeded", {"result": exact})):
        answer = web.post("/function/add", json={"a": 2})
    assert answer.status_code == 200
    assert answer.content == exact
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-attempts"] == "1"
    assert float(answer.headers["x-duration-seconds"]) >= 0
    record = read(redis_client, answer.headers["x-call-id"])
    assert record is not None
    assert (record.function, record.arguments, record.trigger) == ("add", {"a": 2}, "http")


def test_an_answer_that_nobody_published_is_found(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    """Pub/sub may drop a message: the record is polled."""
    hand = Hand(redis_client, made, add)

    def end_silently() -> None:
        found: Any = redis_client.brpop(keys.queue_lists("default"), timeout=10)
        task_id = json.loads(found[1])["headers"]["id"]
        redis_client.hset(keys.invocation(task_id), "reply_to", "nobody")
        hand.end(task_id)

    thread = threading.Thread(target=end_silently)
    thread.start()
    answer = web.post("/function/add", json={"a": 2, "b": 3})
    thread.join()
    assert (answer.status_code, answer.json()) == (200, 5)


def test_an_empty_body_is_no_arguments(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    with Hand(redis_client, made, lambda *_: ("succeeded", {"result": b"null"})):
        assert web.post("/function/cut").json() is None
    told = problem(web.post("/function/add"), 422)
    assert told["errors"] == [{"field": "a", "message": "is missing"}]


def test_accepts_and_answers_at_once(web: TestClient, redis_client: redis.Redis) -> None:
    answer = web.post("/async-function/add", json={"a": 1})
    assert answer.status_code == 202
    told = answer.json()
    assert told == {"task_id": answer.headers["x-call-id"], "status": "submitted"}
    assert answer.headers["location"] == f"/api/v1/tasks/task/{told['task_id']}"
    assert told["task_id"] in queued(redis_client)
    assert web.get(answer.headers["location"]).json()["status"] == "PENDING"


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "handling=lenient, wait=0"])
def test_prefer(web: TestClient, prefer: str) -> None:
    answer = web.post("/function/add", json={"a": 1}, headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] in prefer


def test_every_bad_field_is_named(web: TestClient, redis_client: redis.Redis) -> None:
    told = problem(web.post("/function/add", json={"b": "x", "items": [{"text": 1}, {}], "c": 1}), 422)
    assert {error["field"]: error["message"] for error in told["errors"]} == {
        "a": "is missing",
        "b": '"x" is not of type "number"',
        "items[0].text": '1 is not of type "string"',
        "items[1].text": "is missing",
        "c": "is not known here; there is a, b, items",
    }
    assert not queued(redis_client)


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"{", 400, "not JSON"),
        (b"[1]", 400, "an array"),
        (b"null", 400, "null"),
        (b'{"a": NaN}', 400, "not JSON"),
        (b'{"a": Infinity}', 400, "not JSON"),
        (b'{"a": "\xff"}', 400, "not UTF-8 (byte 7)"),
        (b'\xef\xbb\xbf{"a": 1}', 400, "byte order mark"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "nested too deep"),
        (b'{"a": "\\ud800"}', 400, "not JSON"),
        (b'{"a": 1} {}', 400, "not JSON"),
        (b'{"a": 1e999}', 422, "too large for a number"),
        (b'{"a": 123456789012345678901234567890}', 422, "64-bit"),
    ],
)
def test_bad_bodies(web: TestClient, body: bytes, status: int, word: str) -> None:
    answer = web.post("/function/add", content=body, headers={"Content-Type": "application/json"})
    told = problem(answer, status)
    assert word in told["detail"]


def test_other_types_are_refused_with_the_one_that_is_taken(web: TestClient) -> None:
    told = problem(web.post("/function/add", data={"a": "1"}), 415)
    assert "application/json" in told["detail"]
    answer = web.post("/async-function/add", content=b'{"a":1}', headers={"Content-Type": "application/cloud+json"})
    assert answer.status_code == 202


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(made: Settings, chunked: bool) -> None:
    project = made.project.model_copy(update={"limits": made.project.limits.model_copy(update={"body": 1000})})
    with serving(made.model_copy(update={"project": project})) as web:
        body = b'{"a": "' + b"x" * 1000 + b'"}'
        answer = web.post("/function/add", content=iter([body]) if chunked else body)
    assert "1000B" in problem(answer, 413)["detail"]


def test_unknown_functions_name_the_nearest(web: TestClient) -> None:
    assert "did you mean add?" in problem(web.post("/function/ad"), 404)["detail"]


def test_a_function_without_an_http_trigger_is_for_administrators(web: TestClient) -> None:
    assert "tundish invoke hidden" in problem(web.post("/async-function/hidden"), 403)["detail"]
    assert web.post("/async-function/hidden", headers={"X-Tundish-Cli": "1"}).status_code == 202


def test_a_function_that_does_not_load_says_why(web: TestClient) -> None:
    answer = web.post("/function/broken")
    assert "numpyy" in problem(answer, 503)["detail"]
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("ValueError", 500),
        ("InvalidArguments", 422),
        ("BadInput", 422),
        ("TimeLimitExceeded", 504),
        ("SoftTimeLimitExceeded", 504),
    ],
)
def test_failures(web: TestClient, redis_client: redis.Redis, made: Settings, error: str, status: int) -> None:
    fields = [{"field": "a", "message": "bad"}]
    with Hand(redis_client, made, failing(error, "it broke", fields=fields)):
        answer = web.post("/function/add", json={"a": 2})
    told = problem(answer, status)
    assert told["call_id"] == answer.headers["x-call-id"]
    assert told["error"] == {"type": error, "message": "it broke"}
    assert told["errors"] == fields
    assert "it broke" in told["detail"]
    assert "Traceback" not in answer.text


def test_no_answer_in_time_names_the_call(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.calls.waiting.QUEUE_GRACE_SECONDS", 0.1)
    answer = web.post("/function/cut")
    told = problem(answer, 504)
    assert told["call_id"] in answer.headers["location"]
    assert "the call was stopped" in told["detail"]
    record = web.get(answer.headers["location"]).json()
    assert (record["state"], record["status"]) == ("cancelled", "REVOKED")
    assert problem(web.get(f"{answer.headers['location']}/result"), 504)["call_id"] == told["call_id"]


def test_a_broker_that_is_away(store_free_port: int, tmp_path: Path) -> None:
    made = settings(f"redis://127.0.0.1:{store_free_port}/0", StoreSettings(), tmp_path)
    with serving(made) as web:
        answer = web.post("/function/add", json={"a": 1})
        assert "CELERY_BROKER_URL" in problem(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) > 0
        problem(web.get("/api/v1/tasks/task/x"), 503)


@pytest.fixture
def store_free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def steady(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(settings(broker_url, StoreSettings(), tmp_path_factory.mktemp("gateway"))) as client:
        yield client


@rules(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=st.dictionaries(st.sampled_from(["a", "b", "items"]) | st.text(max_size=3), VALUES, max_size=4))
def test_any_json_is_accepted_or_explained(steady: TestClient, value: Any) -> None:
    body = json.dumps(value).encode()
    answer = steady.post("/async-function/cut", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code != 202:
        problem(answer, answer.status_code)
        assert answer.status_code in (400, 422)


@rules(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=60))
def test_any_bytes_are_accepted_or_explained(steady: TestClient, body: bytes) -> None:
    answer = steady.post("/async-function/cut", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code != 202:
        problem(answer, answer.status_code)
        assert answer.status_code in (400, 422)


def test_what_is_queued_is_what_was_sent(web: TestClient, redis_client: redis.Redis) -> None:
    sent = {"n": 2**63, "m": -(2**63), "text": "Füße\u0000😀", "deep": [[{}]], "half": 0.5}
    task_id = web.post("/async-function/cut", json=sent).json()["task_id"]
    raw: Any = redis_client.hget(keys.invocation(task_id), "arguments")
    assert msgpack.unpackb(raw) == sent
