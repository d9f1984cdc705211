"""Gathered calls: one call of the handler, and each caller its own answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.deployment.gathered_signature import GatheredSignature
from runtime.deployment.validate import validate
from runtime.errors import HandlerError, InvalidArguments
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, submit
from tests.workers import SAMPLES, ended, kill, known, until, upkeep, worker

FILE = SAMPLES / "flow" / "functions.yaml"


@pytest.fixture(scope="module")
def workers(broker_url: str, client: redis.Redis, deployed: Deployment) -> Iterator[None]:
    with worker(FILE, broker_url, "many"), upkeep(client, deployed):
        yield


def send(client: redis.Redis, deployed: Deployment, function: str, *items: dict[str, Any]) -> list[str]:
    return [submit(client, deployed, Call(function, item)) for item in items]


def calls(path: Path) -> list[list[int]]:
    """The order numbers of every call of the handler."""
    return [[int(word) for word in line.split()[1:]] for line in path.read_text().splitlines()]


def result(client: redis.Redis, task: str) -> Any:
    done = ended(client, task)
    assert done.state == "succeeded", done.error
    return json.loads(done.result_json or b"")


def test_the_first_goes_at_once_and_the_others_together(
    workers: None, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "calls"
    (first,) = send(client, deployed, "score", {"number": 0, "path": str(path), "seconds": 0.5})
    until(path.exists)
    rest = send(client, deployed, "score", *({"number": n, "path": str(path)} for n in range(1, 25)))
    assert result(client, first) == {"number": 0, "of": 1}
    found = [result(client, task) for task in rest]
    assert [one["number"] for one in found] == list(range(1, 25))
    made = calls(path)
    assert made[0] == [0]
    assert sorted(number for call in made for number in call) == list(range(25))
    assert max(len(call) for call in made) == 10
    assert len(made) < 10
    assert {known(client, task).attempts for task in rest} == {1}
    until(lambda: not client.zcard(keys.RUNNING))
    assert not client.keys("tundish:gather:*")
    totals: Any = client.hget(keys.TOTALS, "score:succeeded")
    assert int(totals) == 25


def test_only_the_failed_ones_are_retried(
    workers: None, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "calls"
    orders = [{"number": n, "path": str(path), "bad": n in (2, 4), "seconds": 0.2} for n in range(6)]
    tasks = send(client, deployed, "score", *orders)
    assert [result(client, task)["number"] for task in tasks] == list(range(6))
    assert [known(client, task).attempts for task in tasks] == [1, 1, 2, 1, 2, 1]
    runs = [number for call in calls(path) for number in call]
    assert sorted(runs) == [0, 1, 2, 2, 3, 4, 4, 5]


def test_an_item_that_fails_alone_fails_with_its_own_error(
    workers: None, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    (task,) = send(client, deployed, "score", {"number": -1, "path": str(tmp_path / "calls")})
    done = ended(client, task)
    assert (done.state, done.attempts) == ("dead", 2)
    assert (done.error or {})["summary"] == "ValueError: order -1"


def test_wrong_items_are_refused_one_by_one(workers: None, client: redis.Redis, deployed: Deployment) -> None:
    tasks = send(client, deployed, "lengths", {"item": "four"}, {"item": 5}, {"item": "three"})
    found = [ended(client, task) for task in tasks]
    assert [one.state for one in found] == ["succeeded", "failed", "succeeded"]
    assert [one.result_json for one in found] == [b"4", None, b"5"]
    assert found[1].attempts == 1


def test_arguments_that_cannot_be_had_are_the_trouble_of_one(
    workers: None, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = str(tmp_path / "calls")
    first, good = send(client, deployed, "score", *({"number": n, "path": path, "seconds": 0.5} for n in range(2)))
    bad = submit(client, deployed, Call("score", {}, arguments_ref="arguments/nowhere"))
    assert [result(client, task)["number"] for task in (first, good)] == [0, 1]
    assert known(client, good).attempts == 1
    assert ended(client, bad).state == "dead"


def test_too_few_results_and_the_time_limit_fail_every_member(
    workers: None, client: redis.Redis, deployed: Deployment
) -> None:
    (short,) = send(client, deployed, "lengths", {"item": "short"})
    done = ended(client, short)
    assert (done.state, (done.error or {})["type"]) == ("dead", "HandlerError")
    assert "as many results" in (done.error or {})["message"]
    (slow,) = send(client, deployed, "lengths", {"item": "sleep"})
    done = ended(client, slow)
    assert (done.state, (done.error or {})["type"]) == ("dead", "TimeLimitExceeded")


def test_a_member_that_waits_can_be_cancelled(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "calls"
    orders = [{"number": n, "path": str(path)} for n in range(4)]
    first, second, third, fourth = send(redis_client, deployed, "score", *orders)
    assert known(redis_client, first).state == "queued"
    assert (known(redis_client, third).state, known(redis_client, third).waits) == ("accepted", "gather")
    assert cancel(redis_client, deployed, third) == "cancelled"
    assert cancel(redis_client, deployed, first) == "cancelled"
    with worker(FILE, broker_url, "many"), upkeep(redis_client, deployed):
        assert [result(redis_client, task)["number"] for task in (second, fourth)] == [1, 3]
    assert sorted(number for call in calls(path) for number in call) == [1, 3]


def test_a_killed_worker_loses_no_member_and_poison_is_alone(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment
) -> None:
    with upkeep(redis_client, deployed):
        tasks = send(redis_client, deployed, "lengths", *({"item": text} for text in ("a", "bb", "die", "cccc")))
        with worker(FILE, broker_url, "many"):
            found = [ended(redis_client, task, 90) for task in tasks]
    assert [one.state for one in found] == ["succeeded", "succeeded", "dead", "succeeded"]
    assert (found[2].error or {})["type"] == "WorkerLost"
    assert redis_client.zcard(keys.RUNNING) == 0


def test_members_of_a_call_that_was_lost_go_on(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, tmp_path: Path
) -> None:
    """The worker is killed with the gathered call running, and its message is nowhere."""
    path = tmp_path / "calls"
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "many", name="many@first") as first:
            tasks = send(redis_client, deployed, "score", {"number": 0, "path": str(path), "seconds": 20})
            until(path.exists)
            tasks += send(redis_client, deployed, "score", *({"number": n, "path": str(path)} for n in range(1, 4)))
            kill(first)
        for name in keys.queue_lists("many"):
            redis_client.delete(name)
        assert cancel(redis_client, deployed, tasks[0]) in ("stopping", "cancelled")
        with worker(FILE, broker_url, "many", name="many@second"):
            assert [result(redis_client, task)["number"] for task in tasks[1:]] == [1, 2, 3]
            assert ended(redis_client, tasks[0]).state == "cancelled"


def test_the_schema_is_that_of_one_item(deployed: Deployment) -> None:
    score = deployed.find("score")
    assert set(score.schema["properties"]) == {"number", "path", "seconds", "bad"}
    assert score.accepts == {"number", "path", "seconds", "bad"}
    validate(score, {"number": 1, "path": "x"})
    with pytest.raises(InvalidArguments):
        validate(score, {"number": "x", "path": "x"})
    lengths = deployed.find("lengths")
    assert (lengths.schema["required"], lengths.returns) == (["item"], {"type": "integer"})


def test_a_handler_that_takes_no_list_is_named() -> None:
    def single(number: int) -> int:
        return number

    with pytest.raises(HandlerError, match="takes one list"):
        GatheredSignature(single)


def test_what_a_gathered_call_submits_is_as_far_down_a_loop_as_its_members(
    workers: None, client: redis.Redis, deployed: Deployment
) -> None:
    given = (2, 5, 1)
    tasks = [submit(client, deployed, Call("relay", {"item": f"text {hops}"}, hops=hops)) for hops in given]
    children = [result(client, task) for task in tasks]
    found = [int(client.hget(keys.invocation(child), "hops") or 0) for child in children]
    # Whoever went together has the largest of all; who that was is a matter of moments.
    assert all(given[number] <= found[number] <= 5 for number in range(3)) and found[1] == 5
