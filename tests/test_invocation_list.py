"""Lists of invocations: filters, order, and cursors that nothing can move."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import claim, finish
from runtime.config.settings import Settings, StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.invocations import index as invocation_index
from runtime.invocations import listing as invocation_list
from runtime.invocations.index import Wanted
from runtime.invocations.listing import BadCursor, Page, page
from runtime.invocations.submit import Call, submit
from tests.gatewaying import deployment, settings

ERROR = json.dumps({"type": "ValueError", "message": "No such Thing", "summary": "x", "traceback": "t"})


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    return settings(broker_url, StoreSettings(), tmp_path)


@pytest.fixture
def deployed(made: Settings) -> Deployment:
    return deployment(made)


@pytest.fixture
def sent(redis_client: redis.Redis, deployed: Deployment) -> Callable[..., str]:
    def send(function: str = "add", **more: Any) -> str:
        return submit(redis_client, deployed, Call(function, {"a": 1}, **more))

    return send


def end(client: redis.Redis, deployed: Deployment, task_id: str, state: str = "succeeded") -> None:
    attempt = claim(client, task_id, "hand")
    assert not isinstance(attempt, str)
    fields = {"result": "1"} if state == "succeeded" else {"error": ERROR}
    assert finish(client, deployed.find(attempt.text("function")).spec, attempt, state, fields)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def walk(client: redis.Redis, wanted: Wanted, limit: int = 2) -> list[str]:
    """Every id of a list, by its pages."""
    found: list[str] = []
    answer = Page([], None)
    for _ in range(1000):
        answer = page(client, wanted, cursor=answer.cursor, limit=limit)
        found += [record.id for record in answer.invocations]
        if answer.cursor is None:
            return found
    raise AssertionError("the list has no end")


def test_newest_first_by_function_state_and_root(
    redis_client: redis.Redis, deployed: Deployment, sent: Callable[..., str]
) -> None:
    adds = [sent() for _ in range(5)]
    root = sent("hidden")
    children = [sent(root=root, parent=root) for _ in range(3)]
    listed = walk(redis_client, Wanted())
    assert sorted(listed) == sorted([*adds, root, *children])
    created = [record.created for record in page(redis_client, Wanted(), limit=50).invocations]
    assert created == sorted(created, reverse=True)

    assert walk(redis_client, Wanted(function="hidden")) == [root]
    family = walk(redis_client, Wanted(root=root))
    assert sorted(family) == sorted([*children, root])
    assert family[-1] == root
    assert sorted(walk(redis_client, Wanted(root=root, function="add"))) == sorted(children)

    for task_id in adds[:3]:
        end(redis_client, deployed, task_id, "dead")
    end(redis_client, deployed, children[0])
    running = claim(redis_client, adds[3], "hand")
    assert not isinstance(running, str)
    assert sorted(walk(redis_client, Wanted(state="dead"))) == sorted(adds[:3])
    assert walk(redis_client, Wanted(state="succeeded")) == [children[0]]
    assert walk(redis_client, Wanted(state="running")) == [adds[3]]
    assert walk(redis_client, Wanted(state="running", function="hidden")) == []
    assert walk(redis_client, Wanted(root=root, state="succeeded")) == [children[0]]
    assert sorted(walk(redis_client, Wanted(state="queued"))) == sorted([adds[4], root, *children[1:]])
    assert walk(redis_client, Wanted(state="queued", function="hidden")) == [root]


def test_accepted_and_retrying_are_found_behind_many_others(
    redis_client: redis.Redis, deployed: Deployment, sent: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    delayed = sent(delay=3600)
    for module in (invocation_index, invocation_list):
        monkeypatch.setattr(module, "MOST_EXAMINED", 20)
    monkeypatch.setattr(invocation_list, "CHUNK", 10)
    for _ in range(40):
        end(redis_client, deployed, sent())
    found = page(redis_client, Wanted(state="accepted"))
    assert [(record.id, record.waits) for record in found.invocations] == [(delayed, "delay")]
    assert found.cursor is None


def test_a_page_does_bounded_work(
    redis_client: redis.Redis, deployed: Deployment, sent: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = sent("hidden")
    end(redis_client, deployed, rare)
    for _ in range(60):
        end(redis_client, deployed, sent())
    for module in (invocation_index, invocation_list):
        monkeypatch.setattr(module, "MOST_EXAMINED", 20)
    monkeypatch.setattr(invocation_list, "CHUNK", 10)
    first = page(redis_client, Wanted(state="succeeded", function="hidden"))
    assert (first.invocations, first.cursor is None) == ([], False)
    assert walk(redis_client, Wanted(state="succeeded", function="hidden")) == [rare]


def test_a_cursor_is_moved_by_nothing(
    redis_client: redis.Redis, deployed: Deployment, sent: Callable[..., str]
) -> None:
    before = [sent() for _ in range(7)]
    first = page(redis_client, Wanted(), limit=3)
    shown = [record.id for record in first.invocations]
    for _ in range(4):
        sent()  # newer ones come before
    gone = next(task_id for task_id in before if task_id not in shown)
    redis_client.delete(keys.invocation(gone))  # and one of those to come is removed
    cursor, rest = first.cursor, list[str]()
    while cursor:
        answer = page(redis_client, Wanted(), cursor=cursor, limit=3)
        rest += [record.id for record in answer.invocations]
        cursor = answer.cursor
    assert sorted(shown + rest) == sorted(set(before) - {gone})


def test_many_of_one_millisecond(redis_client: redis.Redis, sent: Callable[..., str]) -> None:
    ids = [sent() for _ in range(25)]
    redis_client.zadd(keys.ALL, dict.fromkeys(ids, 1_000_000_000_000))
    listed = walk(redis_client, Wanted(), limit=2)
    assert len(listed) == 25
    assert sorted(listed) == sorted(ids)


def test_since_until_and_error(redis_client: redis.Redis, deployed: Deployment, sent: Callable[..., str]) -> None:
    old, new = sent(), sent()
    end(redis_client, deployed, old, "dead")
    end(redis_client, deployed, new, "dead")
    redis_client.zadd(keys.ended("dead"), {old: 1_000_000})
    assert walk(redis_client, Wanted(state="dead", since=2_000)) == [new]
    assert walk(redis_client, Wanted(state="dead", until=2_000)) == [old]
    assert walk(redis_client, Wanted(state="dead", error="no such thing")) == [new, old]
    assert walk(redis_client, Wanted(state="dead", error="valueerror")) == [new, old]
    assert walk(redis_client, Wanted(state="dead", error="KeyError")) == []


def test_text_is_looked_for_in_all_that_a_row_shows(
    redis_client: redis.Redis, deployed: Deployment, sent: Callable[..., str]
) -> None:
    dead, waiting = sent(), sent("hidden")
    end(redis_client, deployed, dead, "dead")
    for text in ("No Such", "valueERROR", dead[9:20]):
        assert walk(redis_client, Wanted(text=text)) == [dead]
    assert walk(redis_client, Wanted(text="HIDD")) == [waiting]
    assert walk(redis_client, Wanted(text="hidd", function="add")) == []
    assert sorted(walk(redis_client, Wanted(text="http"))) == sorted([waiting, dead])
    assert walk(redis_client, Wanted(text="http", error="no such")) == [dead]
    assert walk(redis_client, Wanted(text=": ")) == [dead]


def test_nothing_large_is_read(redis_client: redis.Redis, deployed: Deployment, sent: Callable[..., str]) -> None:
    task_id = sent()
    end(redis_client, deployed, task_id)
    record = page(redis_client, Wanted()).invocations[0]
    assert (record.id, record.arguments, record.result_json) == (task_id, {}, None)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "nonsense",
        "W10",
        "eyJ9",
        "\xfc",
        encoded("[1e999, 2, 3]"),
        encoded('[1, "\\ud800", 3]'),
        encoded("[" * 60_000),
    ],
)
def test_a_cursor_that_is_none(redis_client: redis.Redis, cursor: str) -> None:
    with pytest.raises(BadCursor):
        page(redis_client, Wanted(), cursor=cursor)


def test_a_cursor_of_another_list(redis_client: redis.Redis, sent: Callable[..., str]) -> None:
    for _ in range(3):
        sent()
    cursor = page(redis_client, Wanted(), limit=1).cursor
    with pytest.raises(BadCursor, match="other filters"):
        page(redis_client, Wanted(function="add"), cursor=cursor)
