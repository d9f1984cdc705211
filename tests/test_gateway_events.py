"""Bucket notifications in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from runtime import keys
from runtime.buckets import event_letters
from runtime.config.settings import StoreSettings
from tests.gatewaying import TOKEN, problem, serving, settings

FIXTURES = Path(__file__).parent / "fixtures"
GOOD = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def web(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Iterator[TestClient]:
    with serving(settings(broker_url, StoreSettings(), tmp_path)) as client:
        yield client


def stream(client: redis.Redis) -> list[Any]:
    entries: Any = client.xrange(keys.EVENTS)
    return [fields for _, fields in entries]


@pytest.mark.parametrize("source", ["minio", "seaweedfs"])
def test_recorded_notifications_are_kept_as_they_came(web: TestClient, redis_client: redis.Redis, source: str) -> None:
    recorded = [json.loads(line) for line in (FIXTURES / source / "webhook.jsonl").read_text().splitlines()]
    for one in recorded:
        assert web.post(f"/events/{source}", content=one["body"], headers=GOOD).status_code == 204
    bodies = [one["body"].encode() for one in recorded if one["body"]]
    assert [fields[b"body"] for fields in stream(redis_client)] == bodies
    assert {fields[b"source"] for fields in stream(redis_client)} == {source.encode()}


def test_what_seaweedfs_says_of_our_own_bucket_is_not_kept(web: TestClient, redis_client: redis.Redis) -> None:
    recorded = (FIXTURES / "seaweedfs" / "webhook.jsonl").read_text().splitlines()
    body = json.loads(recorded[0])["body"]
    other = body.replace("/buckets/documents", "/buckets/tundish-2")
    for told in (body, body.replace("/buckets/documents", "/buckets/tundish"), other):
        assert web.post("/events/seaweedfs", content=told, headers=GOOD).status_code == 204
    assert [fields[b"body"] for fields in stream(redis_client)] == [body.encode(), other.encode()]


@pytest.mark.parametrize("body", [b"", b"junk", b"\xff\x00", b"[]", b"x" * (2**20 + 1)])
def test_what_cannot_be_used_is_not_refused(web: TestClient, body: bytes) -> None:
    assert web.post("/events/minio", content=body, headers=GOOD).status_code == 204


def test_what_is_too_large_is_a_dead_letter(web: TestClient, redis_client: redis.Redis) -> None:
    web.post("/events/minio", content=b"x" * (2**20 + 1), headers=GOOD)
    (letter,) = event_letters.read(redis_client)
    assert (letter.source, letter.body, letter.reason) == ("minio", b"", "It has more than 1048576 bytes.")
    assert stream(redis_client) == []


@pytest.mark.parametrize(
    "given", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"]
)
def test_a_wrong_token(web: TestClient, redis_client: redis.Redis, given: str) -> None:
    answer = web.post("/events/minio", content=b"{}", headers={b"Authorization": given.encode()})
    problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert stream(redis_client) == []


def test_no_token_lets_nobody_in(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    made = settings(broker_url, StoreSettings(), tmp_path).model_copy(update={"event_token": ""})
    with serving(made) as web:
        answer = web.post("/events/minio", content=b"{}", headers={"Authorization": "Bearer "})
        assert "TUNDISH_EVENT_TOKEN" in problem(answer, 401)["detail"]


def test_unknown_sources(web: TestClient) -> None:
    assert "seaweedfs" in problem(web.post("/events/ftp", headers=GOOD), 404)["detail"]
