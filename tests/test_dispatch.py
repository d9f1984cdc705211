"""HTTP call → queue → function → record, with real workers, and with what can go wrong."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker.connection import connect_async
from runtime.deployment.deployment import Deployment
from runtime.deployment.validate import validate
from runtime.errors import FunctionNotFound, InvalidArguments
from runtime.invocations.invocation import Invocation, read
from runtime.invocations.submit import Call, submit
from runtime.worker.app import create_app
from tests.workers import SAMPLES, ended, environment, until, upkeep, worker

FILE = SAMPLES / "basic" / "functions.yaml"


@pytest.fixture(scope="module")
def light(broker_url: str, client: redis.Redis, deployed: Deployment) -> Iterator[None]:
    """A worker of queue `light`, with the upkeep that a beat process does."""
    with worker(FILE, broker_url, "light"), upkeep(client, deployed):
        yield


@pytest.fixture
def run(light: None, client: redis.Redis, deployed: Deployment) -> Any:
    def call(function: str, /, retry: bool = True, **arguments: Any) -> Invocation:
        return ended(client, submit(client, deployed, Call(function, arguments, retry=retry)))

    return call


def test_a_result_is_recorded_as_json(run: Any) -> None:
    done = run("add", a=2)
    assert (done.state, json.loads(done.result_json)) == ("succeeded", {"total": 3.0, "count": 2})
    assert done.attempts == 1
    assert done.worker == "light@test"
    assert done.created <= done.started <= done.ended
    assert done.celery_status == "SUCCESS"


def test_a_function_knows_its_invocation_and_its_environment(run: Any) -> None:
    done = run("who")
    assert json.loads(done.result_json) == {
        "id": done.id,
        "function": "who",
        "attempt": 1,
        "trigger": "http",
        "greeting": "hello",
        "in_time": True,
    }
    assert "GREETING" not in os.environ


def test_wrong_arguments_are_all_named_and_not_tried_again(run: Any, deployed: Deployment) -> None:
    done = run("add", b="x", c=1)
    assert (done.state, done.attempts) == ("failed", 1)
    assert {field["field"] for field in done.error["fields"]} == {"a", "b", "c"}
    with pytest.raises(InvalidArguments) as caught:
        validate(deployed.find("add"), {"b": "x", "c": 1})
    assert len(caught.value.errors) == 3


def test_failures_are_repeated_until_retries_are_spent(run: Any) -> None:
    done = run("fail", message="no luck")
    assert (done.state, done.attempts, done.error["type"]) == ("dead", 3, "ValueError")
    assert "no luck" in done.error["message"]
    lines = done.error["traceback"].splitlines()
    assert "basics.py" in lines[1]  # it begins with the function, not with how it was called


def test_a_waiting_caller_is_told_at_once(run: Any) -> None:
    done = run("fail", retry=False)
    assert (done.state, done.attempts) == ("failed", 1)


@pytest.mark.parametrize(
    ("function", "kind"),
    [("leave", "SystemExit"), ("cancel", "CancelledError"), ("interrupt", "KeyboardInterrupt")],
)
def test_what_is_no_exception_ends_the_call_alone(run: Any, function: str, kind: str) -> None:
    done = run(function)
    assert (done.state, done.attempts, done.error["type"]) == ("dead", 1, kind)
    assert run("add", a=1).state == "succeeded"


def test_arguments_with_keys_that_are_no_strings_can_be_read(
    light: None, client: redis.Redis, deployed: Deployment
) -> None:
    """From a schedule's `with:`, for example."""
    call = Call("echo", {"value": {1: [{2: "x"}]}}, trigger="cron", chain=False)
    done = ended(client, submit(client, deployed, call))
    assert (done.state, done.result_json) == ("succeeded", b'{"1":[{"2":"x"}]}')


def test_bad_input_is_never_repeated(run: Any) -> None:
    assert (run("refuse").state, run("refuse").attempts) == ("failed", 1)


def test_a_retry_can_succeed(run: Any, tmp_path: Path) -> None:
    done = run("flaky", path=str(tmp_path / "tries"))
    assert (done.state, done.attempts, done.result_json) == ("succeeded", 3, b"3")


def test_the_hard_limit_stops_a_function(run: Any) -> None:
    done = run("hang", seconds=60)
    assert (done.state, done.error["type"]) == ("dead", "TimeLimitExceeded")
    assert "1 s" in done.error["message"]


def test_the_soft_limit_raises_inside(run: Any) -> None:
    done = run("polite", seconds=60)
    assert (done.state, done.error["type"]) == ("dead", "SoftTimeLimitExceeded")


def test_a_killed_child_loses_nothing(run: Any, tmp_path: Path) -> None:
    done = run("die_once", path=str(tmp_path / "died"))
    assert (done.state, done.attempts, done.result_json) == ("succeeded", 2, b'"alive"')


def test_poison_ends_as_dead(run: Any) -> None:
    done = run("die")
    assert (done.state, done.error["type"], done.attempts) == ("dead", "WorkerLost", 3)
    assert "died" in done.error["message"]


def test_parents_that_come_together_become_few_calls(
    run: Any, client: redis.Redis, deployed: Deployment, light: None
) -> None:
    count = 40
    ids = [submit(client, deployed, Call("echo", {"value": number})) for number in range(count)]
    for task_id in ids:
        ended(client, task_id)

    def collected() -> list[Any] | None:
        names = [name.decode().rsplit(":", 1)[-1] for name in client.scan_iter(match=keys.invocation("*"))]
        calls = [found for name in names if (found := read(client, name)) and found.function == "collect"]
        if not all(found.terminal for found in calls):
            return None
        values = [value for found in calls for value in json.loads(found.result_json or b"[]")]
        return [len(calls), sorted(values)] if len(values) >= count else None

    calls, values = until(collected)
    assert values == list(range(count)), "every parent is told of exactly once"
    assert calls < count / 2
    until(lambda: client.scard(keys.CHAINS) == 0)


def test_other_celery_programs_get_results_and_records(light: None, client: redis.Redis, deployed: Deployment) -> None:
    app = create_app(deployed.settings)
    answer = app.send_task("add", args=[20], kwargs={"b": 22})
    assert answer.get(timeout=20) == {"total": 42.0, "count": 2}
    found = read(client, answer.id)
    assert found is not None
    assert (found.state, found.trigger, found.arguments) == ("succeeded", "celery", {"a": 20, "b": 22})


def test_inspect_registered_lists_every_function(light: None, deployed: Deployment) -> None:
    replies = create_app(deployed.settings).control.inspect(timeout=5).registered()
    assert set(deployed.functions) <= set(replies["light@test"])


def test_the_celery_command_finds_the_app(light: None, broker_url: str) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-P", "-m", "celery", "-A", "runtime.celery_app", "inspect", "registered", "-t", "5"]
    environ = environment(broker_url, {"TUNDISH_FILE": str(FILE)})
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "die_once" in done.stdout


def test_pickle_is_refused(light: None, client: redis.Redis, deployed: Deployment, tmp_path: Path) -> None:
    marker = tmp_path / "run"
    app = create_app(deployed.settings)
    app.conf.accept_content = ["pickle", "json"]
    refused = app.send_task("nap", kwargs={"seconds": 0, "path": str(marker)}, serializer="pickle")
    accepted = app.send_task("nap", kwargs={"seconds": 0, "path": str(tmp_path / "json")}, serializer="json")
    accepted.get(timeout=20)
    assert not marker.exists()
    assert read(client, refused.id) is None


def test_one_id_is_one_invocation(light: None, client: redis.Redis, deployed: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    for _ in range(3):
        submit(client, deployed, Call("nap", {"seconds": 0, "path": str(path)}, id="the-same"))
    ended(client, "the-same")
    submit(client, deployed, Call("nap", {"seconds": 0, "path": str(path)}, id="the-same"))
    ended(client, submit(client, deployed, Call("add", {"a": 1})))
    assert len(path.read_text().splitlines()) == 1


def test_an_idle_connection_that_the_broker_has_closed_costs_nobody_an_answer(
    client: redis.Redis, broker_url: str
) -> None:
    async def ask_twice() -> None:
        asked = connect_async(broker_url)
        await asked.ping()
        client.client_kill_filter(_id=str(await asked.client_id()))
        assert await asked.ping()
        await asked.aclose()

    asyncio.run(ask_twice())


def test_an_unknown_function_names_the_nearest(client: redis.Redis, deployed: Deployment) -> None:
    with pytest.raises(FunctionNotFound, match="did you mean echo"):
        submit(client, deployed, Call("ecko", {}))


def test_a_function_calls_functions(light: None, broker_url: str, client: redis.Redis, deployed: Deployment) -> None:
    with worker(FILE, broker_url, "single"):
        task_id = submit(client, deployed, Call("fan", {"count": 20}))
        done = ended(client, task_id)
    assert (done.state, done.result_json) == ("succeeded", b"210.0")
    child = next(
        found
        for name in client.scan_iter(match=keys.invocation("*"))
        if (found := read(client, name.decode().rsplit(":", 1)[-1])) and found.parent == task_id
    )
    assert child.root == task_id
