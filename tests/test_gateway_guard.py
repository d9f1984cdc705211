"""Who may talk to the gateway, and what every answer carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from starlette.testclient import TestClient

from gateway.routes import TABLE
from runtime.config.settings import StoreSettings
from tests.gatewaying import problem, serving, settings


@pytest.fixture
def web(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Iterator[TestClient]:
    with serving(settings(broker_url, StoreSettings(), tmp_path)) as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8000", "127.8.8.8:9", "x.localhost"])
def test_own_hosts(web: TestClient, host: str) -> None:
    assert web.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8000",
        "0.0.0.0",
        "",
        "u@127.0.0.1",
        "[::1",
        "127.0.0.1:x",
    ],
)
def test_other_hosts_are_refused(web: TestClient, host: str) -> None:
    problem(web.get("/healthz", headers={"Host": host}), 403)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://localhost:8000"])
def test_other_origins_are_refused(web: TestClient, origin: str) -> None:
    told = problem(web.post("/async-function/add", json={"a": 1}, headers={"Origin": origin}), 403)
    assert repr(origin) in told["detail"]


def test_its_own_pages_may(web: TestClient) -> None:
    answer = web.post("/async-function/add", json={"a": 1}, headers={"Origin": "http://127.0.0.1:8000"})
    assert answer.status_code == 202


def test_unknown_places_and_methods(web: TestClient) -> None:
    assert "/openapi.json" in problem(web.get("/nothing"), 404)["detail"]
    assert problem(web.get("/healthz/"), 404)
    answer = web.patch("/buckets/b/k")
    told = problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
    assert "PATCH" in told["detail"]
    problem(web.options("/search"), 405)


def test_an_unexpected_error_is_a_500_with_a_reference(
    web: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.calls.accepting.read_async", None)
    told = problem(web.get("/api/v1/tasks/task/x"), 500)
    assert told["call_id"] in caplog.text
    assert "TypeError" in caplog.text


@pytest.mark.parametrize("path", [path for path, methods in TABLE.items() if "GET" in methods and "{" not in path])
def test_head_answers_like_get(web: TestClient, path: str) -> None:
    answer = web.head(path)
    assert answer.status_code == web.get(path).status_code
    assert "default-src 'none'" in answer.headers["content-security-policy"]
