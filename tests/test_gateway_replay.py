"""Replays over HTTP: asked for, looked at, cancelled."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from runtime.buckets.watch import watches
from runtime.config.settings import Settings
from runtime.invocations import pause
from tests.gatewaying import problem

PLACE = "/admin/replay"


def ask(web: TestClient, **body: Any) -> dict[str, Any]:
    answer = web.post(PLACE, json={"bucket": "documents", **body})
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PLACE}/{told['id']}"
    return told


def test_one_is_asked_for_looked_at_and_cancelled(web: TestClient, made: Settings) -> None:
    told = ask(web, prefix="a/", failed=True)
    assert web.get(f"{PLACE}/{told['id']}").json() == told
    assert web.get(PLACE).json() == {"replays": [told]}
    (watch,) = watches(made.project)
    (job,) = told.pop("triggers")
    assert job == {
        "trigger": watch.name,
        "function": "embed",
        "state": "counting",
        "reason": None,
        "paused": False,
        "begun": None,
        "ended": None,
        **dict.fromkeys(("total", "handed", "settled", "failed"), 0),
        "failures": [],
    }
    assert time.time() - told.pop("started") < 60
    replay_id = told.pop("id")
    assert told == {
        "bucket": "documents",
        "prefix": "a/",
        "since": None,
        "only_failed": True,
        "state": "counting",
        **dict.fromkeys(("total", "handed", "settled", "failed"), 0),
    }
    for _ in range(2):  # once more changes nothing
        answer = web.delete(f"{PLACE}/{replay_id}")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert web.get(f"{PLACE}/{replay_id}").json() == answer.json()
    assert web.get(PLACE).json() == {"replays": []}


def test_a_trigger_goes_by_its_names(web: TestClient, made: Settings, redis_client: Any) -> None:
    (watch,) = watches(made.project)
    for name in ("embed", *watch.names):
        assert ask(web, trigger=name)["triggers"][0]["trigger"] == watch.name
    assert len(web.get(PLACE).json()["replays"]) == 3
    pause.pause(redis_client, "trigger", watch.names[1])
    assert ask(web)["triggers"][0]["paused"]


@pytest.mark.parametrize(("since", "seconds"), [("2h", 7200), ("7d", 7 * 86400)])
def test_since_is_a_duration(web: TestClient, since: str, seconds: float) -> None:
    assert ask(web, since=since)["since"] == pytest.approx(time.time() - seconds, abs=60)


@pytest.mark.parametrize("since", ["2026-03-01", "2026-03-01T00:00:00Z", 1772323200])
def test_since_is_an_instant(web: TestClient, since: object) -> None:
    assert ask(web, since=since)["since"] == 1772323200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "bucket"),
        ({"bucket": ""}, "bucket"),
        ({"bucket": "documents", "since": "yesterday"}, "since"),
        ({"bucket": "documents", "prefix": "x" * 1025}, "prefix"),
        ({"bucket": "documents", "failed": "perhaps"}, "failed"),
        ({"bucket": "documents", "prefx": "a"}, "prefx"),
    ],
)
def test_a_wish_that_makes_no_sense(web: TestClient, body: Any, field: str) -> None:
    told = problem(web.post(PLACE, json=body), 422)
    assert [error["field"] for error in told["errors"]] == [field]


def test_what_is_not_there_is_named(web: TestClient) -> None:
    assert "documents" in problem(web.post(PLACE, json={"bucket": "documnts"}), 404)["detail"]
    assert (
        "did you mean embed?"
        in problem(web.post(PLACE, json={"bucket": "documents", "trigger": "embd"}), 404)["detail"]
    )
    for method in ("GET", "DELETE"):
        assert "nothing" in problem(web.request(method, f"{PLACE}/nothing"), 404)["detail"]
    assert web.get(PLACE).json() == {"replays": []}
