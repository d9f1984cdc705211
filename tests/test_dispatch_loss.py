"""What was accepted ends, whatever is killed; and it runs in the order that was promised."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import redis

from runtime import keys
from runtime.broker import presence
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown
from runtime.invocations.invocation import read
from runtime.invocations.submit import Call, now_ms, submit
from tests.workers import SAMPLES, deployment, ended, kill, queued, until, upkeep, worker

FILE = SAMPLES / "basic" / "functions.yaml"


def test_a_killed_worker_loses_nothing(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    """SIGKILL of parent and children with running, received and queued work: another worker finishes all of it."""
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "light", name="light@first") as first:
            path = str(tmp_path / "runs")
            ids = [submit(redis_client, deployed, Call("nap", {"seconds": 0.5, "path": path})) for _ in range(12)]
            until(lambda: Path(path).exists())
            kill(first)
        with worker(FILE, broker_url, "light", name="light@second"):
            done = [ended(redis_client, task_id, 60) for task_id in ids]
    assert [found.state for found in done] == ["succeeded"] * 12
    assert redis_client.zcard(keys.RUNNING) == len(queued(redis_client)) == 0


def test_a_lost_message_is_put_back(broker_url: str, redis_client: redis.Redis, deployed: Deployment) -> None:
    lost = submit(redis_client, deployed, Call("add", {"a": 1}))
    for name in keys.queue_lists("light"):
        redis_client.delete(name)
    after = now_ms()
    until(lambda: now_ms() > after)
    kept = submit(redis_client, deployed, Call("add", {"a": 2}))
    with upkeep(redis_client, deployed):
        until(lambda: sum(redis_client.llen(name) for name in keys.queue_lists("light")) == 2)
        with worker(FILE, broker_url, "light"):
            assert ended(redis_client, lost).attempts == 1
            assert ended(redis_client, kept).state == "succeeded"


def test_a_fenced_attempt_cannot_write(redis_client: redis.Redis, deployed: Deployment) -> None:
    from runtime.attempts.attempt import claim, finish

    task_id = submit(redis_client, deployed, Call("add", {"a": 1}))
    first = claim(redis_client, task_id, "one@test")
    assert not isinstance(first, str)
    assert claim(redis_client, task_id, "two@test") == "held"
    redis_client.hset(keys.invocation(task_id), "lease", 0)
    second = claim(redis_client, task_id, "two@test")
    assert not isinstance(second, str)
    spec = deployed.find("add").spec
    assert not finish(redis_client, spec, first, "succeeded", {"result": b'"old"'})
    assert finish(redis_client, spec, second, "succeeded", {"result": b'"new"'})
    assert not finish(redis_client, spec, second, "failed", {"error": "{}"})
    found = read(redis_client, task_id)
    assert found is not None
    assert (found.state, found.result_json) == ("succeeded", b'"new"')


def test_a_call_that_waits_for_its_retry_is_not_run_early(redis_client: redis.Redis, deployed: Deployment) -> None:
    """Whatever copies of its message are about: only the mover makes it run."""
    from runtime.attempts.attempt import claim, repeat
    from runtime.invocations.retry import Decision

    task_id = submit(redis_client, deployed, Call("add", {"a": 1}))
    attempt = claim(redis_client, task_id, "one@test")
    assert not isinstance(attempt, str)
    assert repeat(redis_client, deployed.find("add").spec, attempt, Decision("retrying", 60.0), {"summary": "no"})
    assert claim(redis_client, task_id, "two@test") == "waiting"


def test_upkeep_outlives_a_broker_that_goes_away_in_mid_step(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def away_at_first(*_: object) -> None:
        steps.append(1)
        if len(steps) == 1:
            raise BrokerDown

    monkeypatch.setattr("runtime.worker.reaper.chain.pump_all", away_at_first)
    with upkeep(redis_client, deployed):
        until(lambda: len(steps) > 1)


def test_nine_runs_first(broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "order"
    priorities = [0, 5, 9, 1, 8, 2, 7, 3, 6, 4, 9, 0]
    ids = [
        submit(redis_client, deployed, Call("ordered", {"path": str(path), "text": str(level)}, priority=level))
        for level in priorities
    ]
    with worker(FILE, broker_url, "single"):
        for task_id in ids:
            ended(redis_client, task_id)
    order = [int(line) for line in path.read_text().splitlines()]
    # A worker takes what is there when it starts to listen, one ahead of what it runs.
    assert order == sorted(priorities, reverse=True)


def test_a_worker_stops_when_asked_and_finishes_what_runs(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "started"
    with worker(FILE, broker_url, "light") as process:
        task_id = submit(redis_client, deployed, Call("nap", {"seconds": 1.0, "path": str(path)}))
        until(path.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    found = read(redis_client, task_id)
    assert found is not None
    assert found.state == "succeeded"
    assert not [p for p in presence.read(redis_client) if p.kind == "worker"]


def test_a_child_forked_later_runs_the_code_of_its_elders(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """Only a restart of the worker takes a changed file over; a file that does not load breaks no running worker."""
    (tmp_path / "code.py").write_text("import os\ndef who(): return [1, os.getpid()]\n")
    file = tmp_path / "functions.yaml"
    file.write_text(
        "version: 1\nqueues: {q: {concurrency: 1, max_tasks_per_child: 1}}\n"
        "functions: {who: {handler: code.py:who, queue: q, retries: {max: 0}}}\n"
    )
    deployed = deployment(file, broker_url)
    with worker(file, broker_url, "q"):
        (tmp_path / "code.py").write_text("def who(: broken\n")
        found = [ended(redis_client, submit(redis_client, deployed, Call("who"))) for _ in range(3)]
    results = [json.loads(done.result_json or b"null") for done in found]
    assert [version for version, _ in results] == [1, 1, 1]
    assert len({pid for _, pid in results}) == 3


def test_a_long_queue_hides_no_loss(redis_client: redis.Redis, deployed: Deployment) -> None:
    """A queue that nobody serves, with more waiting than one look takes in, beside a lost message."""
    for _ in range(600):
        submit(redis_client, deployed, Call("ordered", {"path": "x", "text": "y"}))
    lost = submit(redis_client, deployed, Call("add", {"a": 1}))
    target = keys.queue_list("light", keys.transport_priority(5))
    redis_client.delete(target)
    with upkeep(redis_client, deployed):
        until(lambda: redis_client.llen(target) == 1)
    assert lost in queued(redis_client)
    assert redis_client.llen(keys.queue_list("single", keys.transport_priority(5))) == 600, (
        "the others stay as they are"
    )


def small(folder: Path, broker_url: str, text: str) -> Deployment:
    (folder / "code.py").write_text("def one(): return 1\n")
    (folder / "functions.yaml").write_text(f"version: 1\n{text}")
    return deployment(folder / "functions.yaml", broker_url)


def test_calls_of_a_queue_that_is_gone_follow_their_function(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    before = small(tmp_path, broker_url, "queues: {a: {}}\nfunctions: {one: {handler: code.py:one, queue: a}}\n")
    task_id = submit(redis_client, before, Call("one"))
    after = small(tmp_path, broker_url, "queues: {b: {}}\nfunctions: {one: {handler: code.py:one, queue: b}}\n")
    with worker(tmp_path / "functions.yaml", broker_url, "b"), upkeep(redis_client, after):
        found = ended(redis_client, task_id)
    assert (found.state, found.queue) == ("succeeded", "b")
    assert not queued(redis_client)


def test_calls_of_a_function_that_is_gone_end(
    broker_url: str, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small(tmp_path, broker_url, "functions: {one: {handler: code.py:one}, two: {handler: code.py:one}}\n")
    task_id = submit(redis_client, before, Call("one"))
    for name in keys.queue_lists("default"):
        redis_client.delete(name)  # its worker does not know the function and drops the message
    after = small(tmp_path, broker_url, "functions: {two: {handler: code.py:one}}\n")
    monkeypatch.setattr("runtime.invocations.abandon.ABANDON_SECONDS", 0.0)
    with upkeep(redis_client, after):
        found = ended(redis_client, task_id)
    assert found.state == "dead"
    assert found.error is not None
    assert "no function one" in found.error["message"]
    assert not queued(redis_client)
