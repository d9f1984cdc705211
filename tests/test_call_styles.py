"""How a call is made: now or later, with a time to live, once, and stopped when nobody waits for it any more."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime import keys
from runtime.config.settings import Settings, StoreSettings
from runtime.invocations.blobs import ARGUMENTS_LIMIT, RESULT_LIMIT
from runtime.invocations.invocation import Invocation, read
from tests.gatewaying import ORIGIN, Hand, add, failing, problem, serving, settings
from tests.gatewaying import deployment as hand_made
from tests.workers import deployment, ended, queued, until, upkeep, worker

CALLBACK = {"X-Callback-Url": "https://example.com/hook"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def recorded(client: redis.Redis, task_id: str) -> Invocation:
    found = read(client, task_id)
    assert found is not None
    return found


def test_the_wishes_are_in_the_record(web: TestClient, redis_client: redis.Redis) -> None:
    wishes = {
        "X-Priority": "9",
        "X-Delay": "10m",
        "X-Expires": "1h",
        "X-Callback-Url": "https://example.com/hook",
        "traceparent": TRACE,
    }
    answer = web.post("/async-function/add", json={"a": 1}, headers=wishes)
    assert answer.status_code == 202 and answer.headers["traceparent"] == TRACE
    record = recorded(redis_client, answer.json()["task_id"])
    assert (record.priority, record.callback, record.trace) == (9, "https://example.com/hook", TRACE)
    assert (record.state, record.waits) == ("accepted", "delay")
    assert record.due and record.expires
    assert (round(record.due - record.created), round(record.expires - record.created)) == (600, 600 + 3600)
    assert not queued(redis_client)


def test_the_status_tells_of_the_callback(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    with Hand(redis_client, made, add):
        task_id = web.post("/async-function/add", json={"a": 1}, headers=CALLBACK).json()["task_id"]
        ended(redis_client, task_id)
    told = web.get(f"/api/v1/tasks/task/{task_id}").json()
    assert told["callback_url"] == CALLBACK["X-Callback-Url"]
    due = told["callback"].pop("next")
    assert due == told["ended"]
    assert told["callback"] == {"state": "pending", "attempts": 0, "error": None, "waits": None}
    other = web.post("/async-function/add", json={"a": 1}).json()["task_id"]
    assert "callback" not in web.get(f"/api/v1/tasks/task/{other}").json()


def test_bad_headers_run_nothing(web: TestClient, redis_client: redis.Redis) -> None:
    answer = web.post("/async-function/add", json={"a": 1}, headers={"X-Priority": "10", "X-Delay": "later"})
    told = problem(answer, 400)
    assert [error["field"] for error in told["errors"]] == ["X-Priority", "X-Delay"]
    assert "0–9" in told["detail"]
    assert not queued(redis_client)


def test_a_waiting_call_carries_its_trace_and_a_deadline(
    web: TestClient, redis_client: redis.Redis, made: Settings
) -> None:
    with Hand(redis_client, made, add):
        answer = web.post("/function/add", json={"a": 1}, headers={"traceparent": TRACE})
        other = web.post("/function/add", json={"a": 1}, headers={"traceparent": TRACE.upper()})
    assert (answer.status_code, answer.headers["traceparent"]) == (200, TRACE)
    assert other.status_code == 200 and "traceparent" not in other.headers
    record = recorded(redis_client, answer.headers["x-call-id"])
    assert record.trace == TRACE
    assert record.deadline and round(record.deadline - record.created) == 10  # its timeout, and 5 s for the queue


def test_what_was_not_started_in_time_is_not_started(
    web: TestClient, redis_client: redis.Redis, made: Settings
) -> None:

    with upkeep(redis_client, hand_made(made)):
        answer = web.post("/function/add", json={"a": 1}, headers={"X-Expires": "50ms"})
    told = problem(answer, 504)
    assert (told["state"], "not started in time" in told["detail"]) == ("expired", True)


def test_a_waiting_call_has_a_deadline_and_one_that_goes_on_has_none(
    web: TestClient, redis_client: redis.Redis
) -> None:
    answer = web.post("/function/add", json={"a": 1}, headers={"Prefer": "wait=0"})
    assert answer.status_code == 202 and answer.headers["preference-applied"] == "wait=0"
    record = recorded(redis_client, answer.json()["task_id"])
    assert record.deadline is None and record.state == "queued"


# Idempotency-Key


def key(value: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": value, **more}


def test_an_accepted_call_is_replayed(web: TestClient, redis_client: redis.Redis) -> None:
    first = web.post("/async-function/add", json={"a": 1, "b": 2}, headers=key("k"))
    assert "idempotency-replayed" not in first.headers
    again = web.post("/async-function/add", content=b'{"b":2, "a":1}', headers=key("k"))
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-call-id"] == first.headers["x-call-id"]
    assert queued(redis_client) == {first.json()["task_id"]}


def test_another_body_is_another_call(web: TestClient, redis_client: redis.Redis) -> None:
    web.post("/async-function/add", json={"a": 1}, headers=key("k"))
    for path in ("/async-function/add", "/function/add"):
        told = problem(web.post(path, json={"a": 2}, headers=key("k")), 422)
        assert "Idempotency-Key" in told["detail"]
        assert "call_id" not in told  # nothing came of it
    assert len(queued(redis_client)) == 1


def test_a_key_belongs_to_one_function(web: TestClient) -> None:
    first = web.post("/async-function/add", json={"a": 1}, headers=key("k"))
    other = web.post("/async-function/cut", json={"a": 1}, headers=key("k"))
    assert first.json()["task_id"] != other.json()["task_id"]


def test_a_waiting_call_is_refused_while_the_first_one_runs(web: TestClient) -> None:
    first = web.post("/async-function/add", json={"a": 1}, headers=key("k")).json()["task_id"]
    answer = web.post("/function/add", json={"a": 1}, headers=key("k"))
    told = problem(answer, 409)
    assert told["call_id"] == first == answer.headers["x-call-id"]
    assert int(answer.headers["retry-after"]) > 0
    # Who takes a 202 for an answer gets it.
    later = web.post("/function/add", json={"a": 1}, headers=key("k", Prefer="wait=3"))
    assert (later.status_code, later.json()["task_id"]) == (202, first)
    assert later.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_the_stored_answer_is_replayed(
    web: TestClient, redis_client: redis.Redis, made: Settings, fails: bool, kept: bool
) -> None:
    ran = Counter[str]()

    def run(name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        ran[name] += 1
        return failing("ValueError", "it broke")() if fails else add(name, arguments)

    with Hand(redis_client, made, run):
        first = web.post("/function/add", json={"a": 1}, headers=key("k"))
        if not kept:
            redis_client.delete(keys.invocation(first.headers["x-call-id"]))
        again = web.post("/function/add", json={"a": 1}, headers=key("k"))
    assert first.status_code == (500 if fails else 200) and "idempotency-replayed" not in first.headers
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("x-call-id", "x-attempts", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["idempotency-replayed"] == "true"
    assert ran == {"add": 1}


def test_a_504_stays_a_504(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.calls.waiting.QUEUE_GRACE_SECONDS", 0.1)
    first = problem(web.post("/function/cut", headers=key("k")), 504)
    again = web.post("/function/cut", headers=key("k"))
    assert problem(again, 504)["call_id"] == first["call_id"]
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("path", ["/async-function/add", "/function/add"])
def test_of_twenty_at_once_one_runs(web: TestClient, redis_client: redis.Redis, made: Settings, path: str) -> None:
    ran, start = Counter[str](), threading.Barrier(20)

    def run(name: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        ran[name] += 1
        return add(name, arguments)

    def post(_: int) -> Any:
        start.wait()
        return web.post(path, json={"a": 1}, headers=key("k"))

    with Hand(redis_client, made, run), ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
        (task_id,) = {answer.headers["x-call-id"] for answer in answers}
        ended(redis_client, task_id)
    assert ran == {"add": 1}
    fresh = [answer for answer in answers if "idempotency-replayed" not in answer.headers and answer.is_success]
    assert len(fresh) == 1
    for answer in answers:
        if path == "/async-function/add":
            assert answer.status_code == 202
        else:
            assert answer.status_code in (200, 409)
            assert answer.status_code == 409 or answer.content == b"2"


# Large arguments and results


@pytest.fixture
def stored(broker_url: str, redis_client: redis.Redis, store_settings: StoreSettings, tmp_path: Path) -> Settings:
    from runtime.store.port import MinioStore

    MinioStore(store_settings).ensure_bucket(store_settings.bucket)
    return settings(broker_url, store_settings, tmp_path)


def test_large_arguments_and_results_travel_by_reference(stored: Settings, redis_client: redis.Redis) -> None:
    from runtime.store.port import MinioStore

    store, result = MinioStore(stored.store), b'["' + b"x" * RESULT_LIMIT + b'"]'

    def run(*_: Any) -> tuple[str, dict[str, Any]]:
        store.put(store.bucket, "results/mine", result)
        return "succeeded", {"result_ref": "results/mine"}

    sent = {"text": "x" * ARGUMENTS_LIMIT}
    with serving(stored) as web, Hand(redis_client, stored, run):
        answer = web.post("/function/cut", json=sent, headers=key("k"))
        again = web.post("/function/cut", json=sent, headers=key("k"))
        asked = web.get(f"/api/v1/tasks/task/{answer.headers['x-call-id']}/result")
        store.delete(store.bucket, "results/mine")
        gone = web.post("/function/cut", json=sent, headers=key("k"))
    assert answer.status_code == 200 and answer.content == result
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-attempts"] == "1"
    assert again.content == result and again.headers["idempotency-replayed"] == "true"
    assert asked.content == result
    assert "not in the store" in problem(gone, 410)["detail"]
    record = recorded(redis_client, answer.headers["x-call-id"])
    assert record.arguments == {} and record.arguments_ref == f"arguments/{record.id}"
    assert store.get(store.bucket, record.arguments_ref).data


@pytest.mark.parametrize("endpoint", ["", "127.0.0.1:1"])
def test_without_a_store_they_stay_in_the_record(made: Settings, redis_client: redis.Redis, endpoint: str) -> None:
    away = StoreSettings(endpoint=endpoint, access_key="a", secret_key="b")
    sent = {"text": "x" * ARGUMENTS_LIMIT}
    with serving(made.model_copy(update={"store": away})) as web:
        answer = web.post("/async-function/cut", json=sent)
    record = recorded(redis_client, answer.json()["task_id"])
    assert record.arguments == sent and record.arguments_ref is None


def test_a_store_without_our_bucket_keeps_no_arguments(stored: Settings, redis_client: redis.Redis) -> None:
    other = stored.store.model_copy(update={"bucket": "nobody-made-this"})
    sent = {"text": "x" * ARGUMENTS_LIMIT}
    with serving(stored.model_copy(update={"store": other})) as web:
        answer = web.post("/async-function/cut", json=sent)
    assert recorded(redis_client, answer.json()["task_id"]).arguments == sent


# With a real worker

FUNCTIONS = """
import time
from pathlib import Path

def nap(seconds: float, note: str) -> None:
    Path(note).with_suffix(".began").touch()
    time.sleep(seconds)
    Path(note).touch()
"""
YAML = """
version: 1
queues: {light: {concurrency: 1}}
functions: {nap: {handler: mine.py:nap, queue: light, timeout: 1m, triggers: [{http: {}}]}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (tmp_path / "functions.yaml").write_text(YAML)
    return tmp_path / "functions.yaml"


def test_the_work_of_a_caller_who_got_504_is_stopped(
    project: Path, broker_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.calls.waiting.LONGEST_WAIT_SECONDS", 2.0)
    found = deployment(project, broker_url)
    note, quick = project.parent / "late", project.parent / "soon"
    app = create_app(found.settings, found)
    with worker(project, broker_url, "light"), TestClient(app, ORIGIN, client=("127.0.0.1", 1)) as web:
        answer = web.post("/function/nap", json={"seconds": 50, "note": str(note)})
        told = problem(answer, 504)
        assert note.with_suffix(".began").exists()
        record = ended(redis_client, told["call_id"])
        assert (record.state, record.stop) == ("cancelled", "the caller's time was over")
        # The worker is free again, and the function did not reach its end.
        assert web.post("/function/nap", json={"seconds": 0, "note": str(quick)}).status_code == 200
        assert quick.exists() and not note.exists()
        # Somebody who asked for a moment only gets a 202, and the work goes on.
        kept = web.post("/function/nap", json={"seconds": 3, "note": str(note)}, headers={"Prefer": "wait=1"})
        assert kept.status_code == 202
        assert ended(redis_client, kept.json()["task_id"]).state == "succeeded"
        assert until(note.exists)


def test_the_arguments_in_the_store_reach_the_function(
    broker_url: str, redis_client: redis.Redis, store_settings: StoreSettings, tmp_path: Path
) -> None:
    from runtime.store.port import MinioStore

    MinioStore(store_settings).ensure_bucket(store_settings.bucket)
    (tmp_path / "mine.py").write_text("def double(text: str) -> str:\n    return text + text\n")
    file = tmp_path / "functions.yaml"
    file.write_text(YAML.replace("nap", "double"))
    keys_of_store = {
        "MINIO_ENDPOINT": store_settings.endpoint,
        "MINIO_ACCESS_KEY": store_settings.access_key,
        "MINIO_SECRET_KEY": store_settings.secret_key,
    }
    found = deployment(file, broker_url, keys_of_store)
    app, text = create_app(found.settings, found), "y" * RESULT_LIMIT
    with (
        worker(file, broker_url, "light", environ=keys_of_store),
        TestClient(app, ORIGIN, client=("127.0.0.1", 1)) as web,
    ):
        answer = web.post("/function/double", json={"text": text})
    assert answer.status_code == 200
    assert json.loads(answer.content) == text + text
    record = recorded(redis_client, answer.headers["x-call-id"])
    assert record.result_ref and record.result_json is None and record.arguments_ref
