"""Notifications that are signed instead of carrying the token: right, wrong, old, and too many wrong ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis
from starlette.testclient import TestClient

from gateway.access.failures import MOST
from gateway.objects.events import LIMIT, SIGNED_SECONDS
from runtime import keys
from runtime.security.callback_sign import headers, key_of
from tests.gatewaying import TOKEN, problem

BODY = b'{"EventName": "s3:ObjectCreated:Put", "Key": "documents/a.txt"}'
PLACE = "/events/minio"


def signed(body: bytes = BODY, token: str = TOKEN, ago: float = 0.0) -> dict[str, str]:
    return headers(key_of(token), "msg_1", int(time.time() - ago), body)


def test_a_signature_is_as_good_as_the_token(web: TestClient, redis_client: redis.Redis) -> None:
    assert web.post(PLACE, content=BODY, headers=signed()).status_code == 204
    several = signed()
    several["webhook-signature"] = f"v1,AAAA {several['webhook-signature']}"  # while a secret is changed
    assert web.post(PLACE, content=BODY, headers=several).status_code == 204
    assert redis_client.xlen(keys.EVENTS) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: signed(b"another body"),
        lambda: signed(token="another token"),
        lambda: signed(ago=SIGNED_SECONDS + 5),
        lambda: signed(ago=-SIGNED_SECONDS - 60),
        lambda: signed() | {"webhook-timestamp": "now"},
        lambda: signed() | {"webhook-timestamp": "9" * 400},
        lambda: signed() | {"webhook-id": "msg_2"},
        lambda: signed() | {"webhook-signature": ""},
    ],
    ids=["body", "token", "old", "future", "no-time", "endless-time", "id", "empty"],
)
def test_what_is_not_signed_like_this(
    web: TestClient, redis_client: redis.Redis, wrong: Callable[[], dict[str, str]]
) -> None:
    told = problem(web.post(PLACE, content=BODY, headers=wrong()), 401)
    assert "signature" in told["detail"]
    assert TOKEN not in told["detail"]
    assert redis_client.xlen(keys.EVENTS) == 0


def test_one_that_is_too_large_to_check(web: TestClient) -> None:
    large = b"x" * (LIMIT + 1)
    problem(web.post(PLACE, content=large, headers=signed(large)), 401)


def test_who_guesses_is_held_back_and_who_knows_is_not(web: TestClient) -> None:
    for _ in range(MOST):
        problem(web.post(PLACE, content=BODY, headers={"Authorization": "Bearer wrong"}), 401)
    problem(web.post(PLACE, content=BODY, headers={"Authorization": "Bearer wrong"}), 429)
    assert web.post(PLACE, content=BODY, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 204
    assert web.post(PLACE, content=BODY, headers=signed()).status_code == 204
