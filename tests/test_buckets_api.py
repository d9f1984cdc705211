"""What the gateway tells of bucket triggers, their documents, and notifications that nobody could use."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, get_args

import pytest
import redis
from starlette.testclient import TestClient

from gateway.objects.ledger_counts import LedgerCounts
from gateway.state import Gateway
from runtime import keys
from runtime.buckets import bucket_state, document_list, event_letters, ledger_count
from runtime.buckets.document_list import Wanted
from runtime.buckets.documents import Status
from runtime.buckets.entry import Entry, State
from runtime.buckets.ledger_count import Counted
from runtime.buckets.watch import Watch, watches
from runtime.cli import bucket_output
from runtime.config.settings import BucketTrigger, Guard, Settings
from runtime.invocations import pause
from runtime.invocations.submit import Call, submit
from tests import ledgers
from tests.gatewaying import deployment, problem, serving
from tests.ledgers import fill, note


@pytest.fixture
def made(made: Settings) -> Settings:
    return ledgers.watched(made)


@pytest.fixture
def known(made: Settings) -> list[Watch]:
    return ledgers.known(made)


def listed(web: TestClient, **filters: str) -> list[dict[str, Any]]:
    """Every page of a list."""
    found, cursor = list[dict[str, Any]](), str | None
    asked = dict(filters)
    while cursor is not None:
        answer = web.get("/documents", params=asked)
        assert answer.status_code == 200, answer.text
        cursor = answer.json()["cursor"]
        assert ('rel="next"' in answer.headers.get("link", "")) == (cursor is not None)
        found += answer.json()["documents"]
        asked |= {"cursor": cursor} if cursor else {}
    return found


# The triggers.


def test_what_is_known_of_every_trigger(web: TestClient, redis_client: redis.Redis, known: list[Watch]) -> None:
    mine, below, other = known
    states: list[State] = ["done", "done", "dead", "pending", "removed", "skipped"]
    note(redis_client, mine, **{f"k{n}": Entry(state=state) for n, state in enumerate(states)})
    redis_client.hset(mine.flight, mapping={"one": b"\x90", "two": b"\x90"})
    redis_client.set(keys.listing(mine.name, "documents"), json.dumps({"ended": 5.0, "took": 0.5, "objects": 7}))
    hold = {"bucket": "documents", "trigger": mine.name, "count": 9, "known": 10, "at": 3.0, "confirmed": False}
    redis_client.set(mine.hold, json.dumps(hold))
    redis_client.set(keys.lost(other.name, "other"), json.dumps({"at": 4.0, "objects": 12}))
    pause.pause(redis_client, "trigger", below.name, "cleaning up")
    fields: dict[Any, Any] = {"kind": "minio_listen", "woken": "1", "detail": "", "since": "1.5", "heard": "2"}
    redis_client.hset(keys.source("documents"), mapping=fields)
    found = web.get("/admin/buckets").json()["triggers"]
    assert [(one["function"], one["bucket"], one["prefix"]) for one in found] == [
        ("hidden", "documents", "in/"),
        ("hidden", "other", ""),
        ("embed", "documents", ""),
    ]
    by_name = {one["name"]: one for one in found}
    told = by_name[mine.name]
    assert told["states"] == {"done": 2, "dead": 1, "pending": 1, "removed": 1, "skipped": 1, "cleared": 0}
    assert (told["in_flight"], told["listing"]["objects"], told["held"]["count"]) == (2, 7, 9)
    assert (told["source"]["kind"], told["source"]["woken"], told["wanted_source"]) == ("minio_listen", True, "auto")
    assert by_name[below.name]["paused"]["reason"] == "cleaning up"
    assert by_name[other.name]["source"] is None
    assert by_name[other.name]["lost"] == {"at": 4.0, "objects": 12}
    assert set(by_name[other.name]["states"].values()) == {0}


@pytest.mark.parametrize(
    ("guard", "spent", "told", "words"),
    [
        ({"objects_per_minute": 20}, (20, 900), True, "20 of 20 objects, guard.objects_per_minute"),
        ({"objects_per_minute": 20}, (19, 900), False, ""),
        ({"bytes_per_minute": 1000}, (2, 600), False, ""),
        ({"bytes_per_minute": 1000}, (2, 700), True, "700B of 1000B, guard.bytes_per_minute"),  # a third does not fit
        ({"bytes_per_minute": 1000}, (1, 4000), True, "4000B of 1000B"),
        ({}, (20, 900), None, ""),
    ],
)
def test_a_budget_that_is_spent_is_told(
    made: Settings, redis_client: redis.Redis, guard: dict[str, int], spent: tuple[int, int], told: bool, words: str
) -> None:
    functions: dict[str, Any] = dict(made.project.functions)
    limited = BucketTrigger(bucket="documents", guard=Guard(**guard))
    functions = {**functions, "embed": functions["embed"].model_copy(update={"buckets": (limited,)})}
    project = made.project.model_copy(update={"functions": functions})
    watch = next(watch for watch in watches(project) if watch.function.name == "embed")
    seconds: Any = redis_client.time()
    for minute in (seconds[0] // 60, seconds[0] // 60 + 1):  # it may change just now
        fields: dict[Any, Any] = {"minute": minute, "objects": spent[0], "bytes": spent[1]}
        redis_client.hset(keys.budget(watch.name, "documents"), mapping=fields)
        found = next(one for known, one in bucket_state.read(redis_client, project) if known.name == watch.name)
        if found["budget"] is None or found["budget"]["objects"]:
            break
    if told is None:
        assert found["budget"] is None
        return
    assert found["budget"]["spent"] is told and 0 < found["budget"]["seconds"] <= 60
    notes = " ".join(bucket_output.notes({**found, "states": {}}))
    assert ("the budget of this minute is spent" in notes) == told and words in notes
    redis_client.hset(keys.budget(watch.name, "documents"), "minute", 7)  # of an earlier minute
    found = next(one for known, one in bucket_state.read(redis_client, project) if known.name == watch.name)
    assert (found["budget"]["objects"], found["budget"]["bytes"], found["budget"]["spent"]) == (0, 0, False)


def test_without_any_trigger_the_list_is_empty(made: Settings) -> None:
    functions = {name: spec.model_copy(update={"buckets": ()}) for name, spec in made.project.functions.items()}
    bare = made.model_copy(update={"project": made.project.model_copy(update={"functions": functions})})
    with serving(bare) as web:
        assert web.get("/admin/buckets").json() == {"triggers": [], "upload_limit": 5 * 2**30}
        assert web.get("/documents").json() == {"documents": [], "cursor": None}


def test_a_large_ledger_is_counted_whole(redis_client: redis.Redis, known: list[Watch]) -> None:
    fill(redis_client, known[0], 30_000)
    fill(redis_client, known[0], 100, state="dead", reason="no text in it")
    counted = ledger_count.count(redis_client, known[0])
    assert (counted.states["done"], counted.states["dead"]) == (29_900, 100)
    assert counted.took > 0


def test_one_count_serves_all_who_ask_and_is_not_repeated_soon(
    made: Settings, known: list[Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def slow(_: redis.Redis, watch: Watch) -> Counted:
        asked.append(watch.name)
        time.sleep(0.05)
        return Counted({"done": len(asked)}, 1.0, took=1000.0 if watch is known[0] else 0.0)

    monkeypatch.setattr(ledger_count, "count", slow)

    async def ask() -> list[int]:
        gateway, counts = Gateway(made, deployment(made)), LedgerCounts()
        some = await asyncio.gather(*(counts.of(gateway, known[0]) for _ in range(20)))
        await counts.of(gateway, known[1])
        await counts.of(gateway, known[1])
        await gateway.close()
        return [one.states["done"] for one in some]

    assert asyncio.run(ask()) == [1] * 20
    assert asked == [known[0].name, known[1].name, known[1].name]


# The documents.


def test_documents_by_bucket_status_and_prefix(
    web: TestClient, redis_client: redis.Redis, known: list[Watch], made: Settings
) -> None:
    mine, below, other = known
    running = submit(redis_client, deployment(made), Call("add", {"a": 1}))
    redis_client.hset(keys.invocation(running), "state", "running")
    note(
        redis_client,
        mine,
        **{
            "a.txt": Entry(state="dead", etag="e1", reason="no text in it", invocation="i1", at=1000.0),
            "b.txt": Entry(state="done", etag="e2", seq=4, at=1000.0),
            "in/c.txt": Entry(state="pending", invocation=running),
            "in/d*[x]?.txt": Entry(state="dead", again=True),
            "in/huge.bin": Entry(state="skipped", reason="it is larger than max_size"),
            "in/über.txt": Entry(state="removed", event="removed", at=1000.0),
        },
    )
    note(redis_client, below, **{"in/c.txt": Entry(state="dead", reason="other", etag="e3")})
    note(redis_client, other, **{"a.txt": Entry(state="dead", reason="third", etag="e4")})

    (first,) = listed(web, bucket="documents", status="failed", prefix="a")
    assert first == {
        "bucket": "documents",
        "key": "a.txt",
        "status": "failed",
        "reason": "no text in it",
        "notes": [],
        "etag": "e1",
        "size": 0,
        "event": "created",
        "seq": 0,
        "function": "embed",
        "trigger": mine.name,
        "index": None,
        "invocation": "i1",
        "processed_at": 1000.0,
    }
    assert {(one["bucket"], one["key"]) for one in listed(web, status="failed")} == {
        ("documents", "a.txt"),
        ("documents", "in/c.txt"),
        ("other", "a.txt"),
    }
    assert [one["key"] for one in listed(web, status="processing")] == ["in/c.txt"]
    assert [one["key"] for one in listed(web, status="pending")] == ["in/d*[x]?.txt"]
    assert [one["key"] for one in listed(web, prefix="in/d*[x]?")] == ["in/d*[x]?.txt"]
    assert listed(web, prefix="in/d*x") == []
    assert [one["key"] for one in listed(web, status="removed", prefix="in/ü")] == ["in/über.txt"]
    assert [one["reason"] for one in listed(web, status="unwatched")] == ["it is larger than max_size"]
    assert len(listed(web)) == 8
    assert len(listed(web, bucket="other")) == 1


@pytest.mark.parametrize("status", [None, *get_args(Status)])
def test_pages_together_have_everything_once(
    web: TestClient, redis_client: redis.Redis, known: list[Watch], status: str | None
) -> None:
    for watch in known[:2]:
        fill(redis_client, watch, 3000)
        fill(redis_client, watch, 250, state="dead")
    found = listed(web, bucket="documents", **({"status": status} if status else {}))
    names = [(one["trigger"], one["key"]) for one in found]
    assert len(names) == len(set(names)) == {None: 6000, "completed": 5500, "failed": 500}.get(status, 0)


def test_a_page_does_bounded_work(
    redis_client: redis.Redis, made: Settings, known: list[Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_list, "MOST_EXAMINED", 2000)
    fill(redis_client, known[0], 20_000)
    steps, cursor = 0, None
    while True:
        page = document_list.page(redis_client, made.project, Wanted(status="failed"), cursor)
        assert page.documents == []
        steps, cursor = steps + 1, page.cursor
        if cursor is None:
            break
    assert 5 <= steps <= 15


def test_what_is_there_all_the_time_is_listed_although_the_ledger_grows(
    redis_client: redis.Redis, made: Settings, known: list[Watch]
) -> None:
    fill(redis_client, known[0], 2000)
    found, cursor, more = set(), None, 2000
    while True:
        page = document_list.page(redis_client, made.project, Wanted("documents"), cursor)
        found |= {one["key"] for one in page.documents}
        cursor = page.cursor
        if cursor is None:
            break
        if more < 40_000:  # several times the size it had: the hash is rebuilt meanwhile
            more += 4000
            fill(redis_client, known[0], more)
    assert {f"notes/{number:07d}.txt" for number in range(2000)} <= found


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"bucket": "nowhere"}, 404, "watched buckets"),
        ({"status": "faild"}, 422, "status"),
        ({"buckets": "documents"}, 422, "did you mean bucket?"),
        ({"cursor": "x"}, 400, "cursor"),
        ({"cursor": "ü"}, 400, "cursor"),
        ({"cursor": "WyJub25lIiwwLCJ4Il0"}, 400, "cursor"),
    ],
)
def test_wrong_questions_are_answered(web: TestClient, asked: dict[str, str], status: int, words: str) -> None:
    assert words in problem(web.get("/documents", params=asked), status)["detail"]


def test_a_cursor_belongs_to_its_filters(web: TestClient, redis_client: redis.Redis, known: list[Watch]) -> None:
    fill(redis_client, known[0], 1000)
    cursor = web.get("/documents").json()["cursor"]
    problem(web.get("/documents", params={"cursor": cursor, "status": "failed"}), 400)


# Notifications that nobody could use.


def test_unusable_notifications_page_by_page(web: TestClient, redis_client: redis.Redis) -> None:
    for number in range(5):
        event_letters.keep(redis_client, "minio", f"body {number}".encode(), "no Records")
    event_letters.keep(redis_client, "seaweedfs", b"\xff\x00", "no JSON")
    first = web.get("/admin/events/dead", params={"limit": 4}).json()
    assert [one.get("body") for one in first["events"]] == [None, "body 4", "body 3", "body 2"]
    assert first["events"][0]["body_base64"] == "/wA="
    assert first["events"][1]["reason"] == "no Records"
    assert abs(first["events"][1]["at"] - time.time()) < 60
    rest = web.get("/admin/events/dead", params={"limit": 4, "cursor": first["cursor"]}).json()
    assert [one["body"] for one in rest["events"]] == ["body 1", "body 0"]
    assert rest["cursor"] is None
    assert web.delete("/admin/events/dead").json() == {"purged": 6}
    assert web.get("/admin/events/dead").json() == {"events": [], "cursor": None}
    assert web.delete("/admin/events/dead").json() == {"purged": 0}


@pytest.mark.parametrize("cursor", ["x", "0-0", "1-", "99999999999999999999-1", "(1-1"])
def test_a_cursor_that_is_none(web: TestClient, cursor: str) -> None:
    problem(web.get("/admin/events/dead", params={"cursor": cursor}), 422)
