"""Generators: their items reach who waits and who watches as they are made, and stop when nobody wants them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import urllib3

from runtime import keys
from runtime.config.settings import StoreSettings
from tests.brokers import own_broker
from tests.streaming import Event, Served
from tests.valuing import NDJSON, SSE, house, opened, post
from tests.workers import ended, known, until, upkeep


@pytest.fixture(scope="module")
def web(broker_url: str, client: redis.Redis, store_settings: StoreSettings) -> Iterator[Served]:
    with house(broker_url, store_settings, "light", "pooled") as found:
        yield found


def lines(answer: urllib3.BaseHTTPResponse) -> list[object]:
    return [json.loads(line) for line in answer.data.splitlines()]


@pytest.mark.parametrize("function", ["count", "count_async", "count_pooled", "listed"])
def test_a_waiting_caller_gets_the_items_a_line_each(web: Served, client: redis.Redis, function: str) -> None:
    for accept in ({}, {"Accept": "*/*"}, {"Accept": NDJSON}, {"Accept": "application/jsonl, application/json;q=0.5"}):
        answer = post(web, f"/function/{function}", {"to": 3}, headers=accept)
        assert (answer.status, answer.headers["content-type"], lines(answer)) == (200, NDJSON, [0, 1, 2])
    record = ended(client, answer.headers["x-call-id"])
    assert (record.state, record.result_json, record.items) == ("succeeded", b"[0,1,2]", 3)


def test_who_wants_json_gets_the_list(web: Served, client: redis.Redis) -> None:
    answer = post(web, "/function/count", {"to": 3}, headers={"Accept": "application/json"})
    assert (answer.headers["content-type"], answer.json()) == ("application/json", [0, 1, 2])
    answer = post(web, "/function/count", {"to": 3}, headers={"Prefer": "wait=20"})
    assert answer.json() == [0, 1, 2]
    accepted = post(web, "/async-function/count", {"to": 0})
    assert ended(client, accepted.json()["task_id"]).result_json == b"[]"
    assert post(web, "/function/count", {"to": 0}).data == b""


def test_items_come_when_they_are_made(web: Served, tmp_path: Path) -> None:
    path = tmp_path / "go"
    Path(f"{path}.0").touch()  # the answer begins with the first item
    with opened(web, "stepwise", {"path": str(path), "steps": 3}) as answer:
        for step in range(3):
            assert json.loads(answer.readline()) == f"step {step}"
            Path(f"{path}.{step + 1}").touch()
        assert answer.read() == b""


def test_server_sent_events_end_with_a_word(web: Served) -> None:
    answer = post(web, "/function/count", {"to": 2}, headers={"Accept": SSE})
    assert answer.headers["content-type"].startswith(SSE)
    blocks = answer.data.decode().strip().split("\n\n")
    assert [block.split("\n")[-1] for block in blocks[:2]] == ["data: 0", "data: 1"]
    name, _, data = blocks[2].split("\n")
    assert name == "event: end"
    assert json.loads(data.removeprefix("data: "))["items"] == 2


def test_a_failure_before_the_first_item_has_its_status(web: Served) -> None:
    answer = post(web, "/function/breaks", {"after": 0})
    assert (answer.status, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "it broke in the middle" in answer.json()["detail"]
    assert post(web, "/function/breaks", {}).status == 422


def test_a_failure_after_items_is_the_last_line_of_an_answer_that_is_cut(web: Served, client: redis.Redis) -> None:
    with opened(web, "breaks", {"after": 2}) as answer:
        assert answer.status == 200
        found = [json.loads(answer.readline()) for _ in range(3)]
        with pytest.raises(urllib3.exceptions.ProtocolError):
            answer.read()
    assert found[:2] == [0, 1]
    assert (found[2]["status"], found[2]["call_id"]) == (500, answer.headers["x-call-id"])
    assert ended(client, found[2]["call_id"]).state == "failed"
    answer = post(web, "/function/breaks", {"after": 1}, headers={"Accept": SSE})
    assert "event: error" in answer.data.decode()
    assert "it broke in the middle" in answer.data.decode()


def test_an_item_that_json_cannot_hold_is_a_failure(web: Served) -> None:
    answer = post(web, "/function/odd", {}, headers={"Accept": SSE})
    first, last = answer.data.decode().strip().split("\n\n")
    assert first.endswith('data: {"fine":"_w=="}')
    assert "JSON cannot hold: Error serializing" in last


@pytest.mark.parametrize("function", ["endless", "endless_async", "endless_pooled"])
def test_a_caller_who_leaves_stops_the_generator(
    web: Served, client: redis.Redis, tmp_path: Path, function: str
) -> None:
    path = tmp_path / "closed"
    with opened(web, function, {"path": str(path)}) as answer:
        answer.readline()
    until(lambda: path.exists() and path.read_text())  # it is there before it has anything in it
    assert path.read_text().startswith("closed")
    record = ended(client, answer.headers["x-call-id"])
    assert (record.state, record.stop) == ("cancelled", "its caller has gone")


def test_a_caller_who_reads_slowly_holds_the_generator_back(web: Served, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "closed"
    with opened(web, "endless", {"path": str(path), "pause": 0, "size": 100_000}) as answer:
        task_id, seen = answer.headers["x-call-id"], list[int | None]()

        def stands() -> bool:
            seen.append(known(client, task_id).items)
            return len(seen) > 20 and len(set(seen[-20:])) == 1

        until(stands)
        assert known(client, task_id).state == "running"
        # It goes on where the caller goes on.
        assert answer.read(300 * 100_003) == (b'"%s"\n' % (b"x" * 100_000)) * 300
    until(path.exists)


def test_a_caller_whose_gateway_is_gone_stops_the_generator(
    web: Served, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says any more that the caller is there: as if the gateway had been killed."""
    path = tmp_path / "closed"
    with opened(web, "endless", {"path": str(path)}) as answer:
        answer.readline()
        task_id = answer.headers["x-call-id"]

        def long_ago() -> bool:
            client.hset(keys.invocation(task_id), mapping={"heard": 1, "started": 1})
            return path.exists()

        until(long_ago)
    record = ended(client, task_id)
    assert (record.state, record.stop) == ("cancelled", "its caller is gone")


def test_a_retry_begins_anew_and_its_items_are_told_apart(web: Served, client: redis.Redis, tmp_path: Path) -> None:
    with upkeep(client, web.gateway.deployment):
        accepted = post(web, "/async-function/recovers", {"path": str(tmp_path / "tries")}).json()["task_id"]
        record = ended(client, accepted)
    assert (record.result_json, record.attempts, record.items) == (b'["try 3","done"]', 3, 2)
    told = [event.data for event in web.read(f"/api/v1/tasks/task/{accepted}/events") if event.name == "item"]
    assert [(one["attempt"], one["index"], one["item"]) for one in told] == [
        (1, 1, "try 1"),
        (2, 1, "try 2"),
        (3, 1, "try 3"),
        (3, 2, "done"),
    ]


def test_who_waits_is_not_given_the_items_of_two_attempts(web: Served, client: redis.Redis, tmp_path: Path) -> None:
    path = str(tmp_path / "dead")
    with opened(web, "dies", {"path": path}) as answer:
        assert json.loads(answer.readline()) == "first"
        last = json.loads(answer.readline())
        with pytest.raises(urllib3.exceptions.ProtocolError):
            answer.read()
    assert last["status"] == 500
    assert "began anew" in last["detail"]
    assert ended(client, last["call_id"]).attempts == 2


def test_watchers_see_items_between_output_and_states(web: Served, tmp_path: Path) -> None:
    path = tmp_path / "go"
    task_id = post(web, "/async-function/stepwise", {"path": str(path), "steps": 3}).json()["task_id"]
    with web.open(f"/api/v1/tasks/task/{task_id}/events") as events:
        found: list[Event] = []
        Path(f"{path}.0").touch()
        while not found or found[-1].name != "item":
            found.append(next(events))
    assert found[-1].data["item"] == "step 0"
    for step in (1, 2):
        Path(f"{path}.{step}").touch()
    rest = web.read(f"/api/v1/tasks/task/{task_id}/events", last=found[-1].id)
    items = [event.data["item"] for event in rest if event.name == "item"]
    assert items == ["step 1", "step 2"]
    assert rest[-1].data["result"] == ["step 0", "step 1", "step 2"]
    again = web.read(f"/api/v1/tasks/task/{task_id}/events")
    assert [event.data["item"] for event in again if event.name == "item"] == ["step 0", *items]
    assert [event.data["text"] for event in again if event.name == "log"] == ["step 0", "step 1", "step 2"]


def test_a_long_list_is_a_reference_and_redis_keeps_its_end(web: Served, client: redis.Redis) -> None:
    task_id = post(web, "/async-function/bulky", {"items": 12_000, "size": 50}).json()["task_id"]
    record = ended(client, task_id)
    assert (record.result_ref, record.result_json, record.items) == (f"results/{task_id}", None, 12_000)
    assert len(json.loads(web.get(f"/api/v1/tasks/task/{task_id}/result").data)) == 12_000
    assert client.xlen(keys.items(task_id)) == 10_000
    assert client.ttl(keys.items(task_id)) > 0
    answer = post(web, "/function/bulky", {"items": 1, "size": 5_000_000})
    assert "put large things into the store" in answer.json()["detail"]


def test_many_items_pass_a_waiting_caller_in_order(web: Served) -> None:
    answer = post(web, "/function/count", {"to": 30_000})
    assert lines(answer) == list(range(30_000))


def test_a_generator_that_waits_for_children_tells_no_item_twice(web: Served) -> None:
    answer = post(web, "/function/mapped", {"numbers": 4})
    assert lines(answer) == [-1, 0, 0, 1, 3]


def test_a_key_replays_the_list(web: Served) -> None:
    headers = {"Idempotency-Key": "a-generator", "Accept": NDJSON}
    assert lines(post(web, "/function/count", {"to": 2}, headers=headers)) == [0, 1]
    again = post(web, "/function/count", {"to": 2}, headers=headers)
    assert (again.json(), again.headers["idempotency-replayed"]) == ([0, 1], "true")


def test_time_over_is_said_and_stops_it(web: Served, monkeypatch: pytest.MonkeyPatch, client: redis.Redis) -> None:
    monkeypatch.setattr("gateway.calls.waiting.LONGEST_WAIT_SECONDS", 0.5)
    answer = post(web, "/function/endless", {"pause": 0.05}, headers={"Accept": SSE})
    problem = json.loads(answer.data.decode().rstrip().rpartition("data: ")[2])
    assert problem["status"] == 504
    assert ended(client, problem["call_id"]).state == "cancelled"


def test_a_broker_that_is_away_for_a_while_costs_no_item(store_settings: StoreSettings, tmp_path: Path) -> None:
    path = tmp_path / "go"
    Path(f"{path}.0").touch()
    with (
        own_broker(tmp_path / "broker") as broker,
        house(broker.url, store_settings, "light") as found,
        opened(found, "stepwise", {"path": str(path), "steps": 4}) as answer,
    ):
        assert json.loads(answer.readline()) == "step 0"
        broker.kill()
        for step in (1, 2):
            Path(f"{path}.{step}").touch()
        broker.start()
        Path(f"{path}.3").touch()
        assert [json.loads(line) for line in answer.read().splitlines()] == ["step 1", "step 2", "step 3"]
