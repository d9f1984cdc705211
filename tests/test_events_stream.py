"""Logs and events over HTTP: real workers, a gateway that streams, readers that come and go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import urllib3

from gateway.web import streams
from runtime.attempts.capture import Capture
from runtime.broker.connection import connect
from runtime.deployment.deployment import Deployment
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, submit
from tests.brokers import own_broker
from tests.streaming import Event, Served, served
from tests.workers import SAMPLES, deployment, ended, until, upkeep, worker

FILE = SAMPLES / "output" / "functions.yaml"


@pytest.fixture(scope="module")
def deployed(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deployment(FILE, broker_url, {"TUNDISH_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture
def gateway(redis_client: redis.Redis, deployed: Deployment) -> Iterator[Served]:
    with served(deployed) as found:
        yield found


def events_of(task_id: str) -> str:
    return f"/api/v1/tasks/task/{task_id}/events"


def logs_of(task_id: str) -> str:
    return f"/api/v1/tasks/task/{task_id}/logs"


def states(found: list[Event]) -> list[str]:
    return [event.data["state"] for event in found if event.name == "state"]


def test_events_come_as_they_happen_and_end_with_the_result(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, gateway: Served
) -> None:
    task_id = submit(redis_client, deployed, Call("work", {"steps": 3}))
    with gateway.open(events_of(task_id)) as events:
        found = [next(events), next(events)]
        assert states(found) == ["accepted", "queued"], "nobody runs it yet"
        with worker(FILE, broker_url, "prefork"):
            found += events
    assert states(found) == ["accepted", "queued", "running", "succeeded"]
    assert [event.name for event in found[:3]] == ["state"] * 3
    assert said(found) == ["step 0", "step 1", "step 2"]
    reports = [event.data["done"] for event in found if event.name == "progress"]
    assert reports == sorted(set(reports)) and reports[-1] == 3
    end = found[-1].data
    assert (end["state"], end["status"], end["result"], end["attempt"]) == ("succeeded", "SUCCESS", {"steps": 3}, 1)
    assert len({event.id for event in found}) == len(found)

    again = gateway.read(events_of(task_id))
    assert again == found, "an invocation that has ended tells its history"
    for position, event in enumerate(found[:-1]):
        assert gateway.read(events_of(task_id), event.id) == found[position + 1 :]
    assert gateway.get(events_of(task_id), Last_Event_ID=found[-1].id).status == 204


def test_a_retry_is_told_with_its_error_and_time(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, gateway: Served
) -> None:
    task_id = submit(redis_client, deployed, Call("twice"))
    with gateway.open(events_of(task_id)) as events, worker(FILE, broker_url, "prefork"):
        found = [next(events) for _ in range(5)]
        assert states(found) == ["accepted", "queued", "running", "retrying"], "nobody moves what is due yet"
        with upkeep(redis_client, deployed):
            found += events
    retrying = next(event.data for event in found if event.data.get("state") == "retrying")
    assert retrying["error"] == "RuntimeError: once"
    assert retrying["due"] > retrying_started(found)
    assert states(found)[-1] == "succeeded"
    numbers = [(event.name, event.data["attempt"]) for event in found if event.data.get("state") != "queued"]
    assert numbers == [
        ("state", 0),
        ("state", 1),
        ("log", 1),
        ("state", 1),
        ("state", 2),
        ("log", 2),
        ("state", 2),
    ]
    for position, event in enumerate(found[:-1]):
        rest = gateway.read(events_of(task_id), event.id)
        assert said(rest) == said(found[position + 1 :])
        assert states(rest)[-1] == "succeeded"


def said(found: list[Event]) -> list[str]:
    return [event.data["text"] for event in found if event.name == "log"]


def retrying_started(found: list[Event]) -> float:
    started: float = next(event.data["at"] for event in found if event.data.get("state") == "running")
    return started


@pytest.mark.parametrize("many", [1, 499, 500, 1001])
def test_long_histories_come_whole_and_in_order(
    redis_client: redis.Redis, deployed: Deployment, gateway: Served, many: int
) -> None:
    task_id = submit(redis_client, deployed, Call("work", {"steps": 1}))
    capture = Capture(redis_client, 60)
    with capture.attempt(task_id, "work", 1) as output:
        for number in range(many):
            output.write("stdout", f"{number}\n")
    capture.close()
    assert cancel(redis_client, deployed, task_id, "enough") == "cancelled"
    found = gateway.read(events_of(task_id))
    assert said(found) == [str(number) for number in range(many)]
    assert states(found)[-1] == "cancelled"
    assert found[-1].data["reason"] == "enough"
    middle = found[len(found) // 2]
    assert gateway.read(events_of(task_id), middle.id) == found[len(found) // 2 + 1 :]


def test_a_large_result_is_named_not_told(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, gateway: Served
) -> None:
    with worker(FILE, broker_url, "solo"):
        task_id = submit(redis_client, deployed, Call("say_solo", {"word": "x" * 70_000}))
        ended(redis_client, task_id)
    end = gateway.read(events_of(task_id))[-1].data
    assert "result" not in end
    assert json.loads(gateway.get(end["result_url"]).data) == "x" * 70_000


def test_what_cannot_be_told_is_refused(redis_client: redis.Redis, deployed: Deployment, gateway: Served) -> None:
    assert gateway.get(events_of("nobody")).status == 404
    assert gateway.get(logs_of("nobody")).status == 404
    task_id = submit(redis_client, deployed, Call("twice"))
    for bad in ("x", "1-1/", "1-1/x", "1-1/queued.x.", f"{'9' * 30}-1/queued.0.", "0-0/queued.0./../x"):
        answer = gateway.get(events_of(task_id), Last_Event_ID=bad)
        assert answer.status == 400, bad
        assert "Last-Event-ID" in answer.json()["detail"]
    for bad in ("stream=stdin", "tail=-1", "tail=x", "format=xml", "tial=3"):
        assert gateway.get(f"{logs_of(task_id)}?{bad}").status == 422, bad
    assert gateway.get("/api/v1/logs?tail=999999").status == 422


def test_streams_are_bounded_and_leaving_frees_a_place(
    redis_client: redis.Redis, deployed: Deployment, gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST", 1)
    task_id = submit(redis_client, deployed, Call("twice"))
    with gateway.open(events_of(task_id)) as events:
        next(events)
        refused = gateway.get(events_of(task_id))
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    until(lambda: gateway.gateway.streams.count == 0)
    with gateway.open(events_of(task_id)) as events:
        assert next(events).data["state"] == "accepted"


def test_a_gateway_that_stops_ends_its_streams_and_another_goes_on(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment
) -> None:
    task_id = submit(redis_client, deployed, Call("work", {"steps": 1}))
    with served(deployed) as first, first.open(events_of(task_id)) as events:
        before = [next(events), next(events)]
        first.stop()
        assert list(events) == []
    with served(deployed) as second, worker(FILE, broker_url, "prefork"):
        after = second.read(events_of(task_id), before[-1].id)
    assert states(before + after) == ["accepted", "queued", "running", "succeeded"]


def test_a_stream_outlives_its_broker(tmp_path: Path) -> None:
    with own_broker(tmp_path / "broker") as broker, connect(broker.url) as client:
        deployed = deployment(FILE, broker.url, {"TUNDISH_HOME": str(tmp_path)})
        with served(deployed) as gateway:
            broker.kill()
            answer = urllib3.request("POST", f"{gateway.url}/async-function/say_solo", json={"word": "at last"})
            task_id = answer.json()["task_id"]
            with gateway.open(events_of(task_id)) as events:
                found = [next(events)]
                assert found[0].data["waits"] == "broker", "it is in the outbox"
                broker.start()
                found.append(next(events))
                broker.kill()
                broker.start()
                with worker(FILE, broker.url, "solo"), upkeep(client, deployed):
                    found += events
    assert states(found) == ["accepted", "queued", "running", "succeeded"]
    assert said(found)[-1] == "done at last"


def test_a_gathered_call_puts_out_for_all_its_members(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, gateway: Served
) -> None:
    with worker(FILE, broker_url, "solo"), upkeep(redis_client, deployed):
        # The first goes at once; the others are gathered while it runs.
        ids = [submit(redis_client, deployed, Call("sizes", {"item": "x" * size})) for size in (1, 2, 3)]
        with gateway.open(events_of(ids[-1])) as events:
            found = list(events)
        ended(redis_client, ids[0])
    assert said(found) == ["sizes of 2"]
    assert states(found)[-1] == "succeeded"
    assert gateway.get(logs_of(ids[1])).data == b"sizes of 2\n"
    assert gateway.get(logs_of(ids[0])).data == b"sizes of 1\n"


def test_a_silent_stream_shows_that_it_lives(
    redis_client: redis.Redis, deployed: Deployment, gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.0)
    task_id = submit(redis_client, deployed, Call("twice"))
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", gateway.url + events_of(task_id), preload_content=False, timeout=30.0)
        text, chunks = "", answer.stream()
        while ": still here\n\n" not in text:
            text += next(chunks).decode()
        answer.close()
    assert text.startswith("retry: 1000\n\nevent: state\nid: 0-0/accepted.")


def test_logs_as_text_and_json(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, gateway: Served
) -> None:
    with worker(FILE, broker_url, "solo"):
        task_id = submit(redis_client, deployed, Call("say_solo", {"word": "ü"}))
        ended(redis_client, task_id)
        silent = submit(redis_client, deployed, Call("say_solo", {"wrod": 1}))
        ended(redis_client, silent)
    answer = gateway.get(logs_of(task_id))
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    text = answer.data.decode().splitlines()
    assert text[:3] == ["printed ü", "bad ü", "WARNING logged ü"]
    assert text[-1] == "done ü"
    for given_as in (
        {"path": f"{logs_of(task_id)}?format=json"},
        {"path": logs_of(task_id), "Accept": "application/json"},
    ):
        told = gateway.get(**given_as).json()
        assert told["task_id"] == task_id
        assert [line["stream"] for line in told["lines"][:3]] == ["stdout", "stderr", "log"]
        assert told["lines"][2]["level"] == "WARNING"
    assert gateway.get(f"{logs_of(task_id)}?stream=stderr").data.decode() == "bad ü\n"
    assert gateway.get(f"{logs_of(task_id)}?tail=1&stream=stdout").data.decode() == "done ü\n"
    assert gateway.get(f"{logs_of(task_id)}?tail=0").data == b""
    assert gateway.get(logs_of(silent)).data == b""


def test_the_newest_output_of_everything(redis_client: redis.Redis, deployed: Deployment, gateway: Served) -> None:
    capture = Capture(redis_client, 60)

    def say(task_id: str, *words: str) -> None:
        with capture.attempt(task_id, "f", 1) as output:
            for word in words:
                output.write("stdout", f"{word}\n")

    assert gateway.get("/api/v1/logs").data == b""
    with gateway.open("/api/v1/logs") as events:
        until(lambda: gateway.gateway.streams.count == 1)
        say("one", "a", "b", "c")
        live = [next(events) for _ in range(3)]
    assert [(event.data["task_id"], event.data["text"]) for event in live] == [("one", word) for word in "abc"]
    told = [json.loads(line) for line in gateway.get("/api/v1/logs?tail=2").data.splitlines()]
    assert told == [event.data for event in live[1:]]
    with gateway.open("/api/v1/logs?tail=1") as events:
        assert next(events) == live[2]
        say("two", "d")
        assert next(events).data["function"] == "f"
    with gateway.open("/api/v1/logs", live[0].id) as events:
        assert [next(events).data["text"] for _ in range(3)] == ["b", "c", "d"]
    capture.close()
    with gateway.open("/api/v1/logs") as events:
        gateway.stop()
        assert list(events) == [], "from now on, and nothing came"
