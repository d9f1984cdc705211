"""Gathered calls and a crash, a cancel or a reload at a bad moment: the steps of worker and upkeep, taken by hand."""

from __future__ import annotations

import time

import pytest
import redis

from runtime import keys
from runtime.attempts import gather
from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.invocations import abandon
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, prepare, submit
from runtime.worker import reaper
from runtime.worker.reaper import Upkeep
from tests.stepping import begun, without
from tests.workers import SAMPLES, known, queued

FILE = SAMPLES / "flow" / "functions.yaml"


def carried(client: redis.Redis, deployed: Deployment, count: int) -> tuple[str, list[str]]:
    """A gathered call of `count` members that waits in its queue."""
    client.set(f"{keys.gather('score', 5)}:active", "out")
    client.hset(keys.invocation("out"), "state", "running")
    tasks = [submit(client, deployed, Call("score", {"number": n, "path": ""}, priority=5)) for n in range(count)]
    client.delete(keys.invocation("out"))
    gather.pump(client, deployed, "score", 5)
    carrier = known(client, tasks[0]).carrier
    assert carrier
    return carrier, tasks


def test_members_are_not_lost_with_the_process_that_scatters_them(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    carrier, tasks = carried(redis_client, deployed, 2)
    attempt = begun(redis_client, deployed, carrier)
    assert len(gather.begin(redis_client, deployed, attempt, "hand")) == 2
    scripts.run(redis_client, "gather_scatter", (), [carrier, attempt.fence, 1])  # and here it is killed
    Upkeep(redis_client, deployed).step()
    assert queued(redis_client) == set(tasks)


@pytest.mark.parametrize("running", [False, True])
def test_a_cancelled_gathered_call_takes_its_members_with_it(
    redis_client: redis.Redis, deployed: Deployment, running: bool
) -> None:
    carrier, tasks = carried(redis_client, deployed, 2)
    if running:
        gather.begin(redis_client, deployed, begun(redis_client, deployed, carrier), "hand")
    cancel(redis_client, deployed, carrier)
    assert {known(redis_client, task).state for task in tasks} == {"cancelled"}


def test_many_members_that_wait_hide_none_that_is_lost(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "LOST_SECONDS", -1.0)
    for _ in range(60):
        carried(redis_client, deployed, 10)
    carrier, tasks = carried(redis_client, deployed, 2)
    redis_client.delete(keys.invocation(carrier))
    for _ in range(3):
        gather.reap(redis_client, deployed)
    assert set(tasks) <= queued(redis_client)


def test_a_message_of_another_program_for_a_gathered_function_is_run(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    call = Call("score", {"number": 1, "path": ""}, trigger="celery", id="foreign")
    arguments = prepare(deployed, call, time.time_ns() // 1_000_000).arguments
    scripts.run(redis_client, "record", (), [*arguments, "foreign", 1])
    assert begun(redis_client, deployed, "foreign").number == 1


def test_gathered_calls_of_a_function_that_is_gone_end(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [submit(redis_client, deployed, Call("score", {"number": n, "path": ""})) for n in range(3)]
    assert [known(redis_client, task).state for task in tasks] == ["queued", "accepted", "accepted"]
    monkeypatch.setattr(abandon, "ABANDON_SECONDS", 0.0)
    monkeypatch.setattr(reaper, "GRACE_MS", -1000)
    monkeypatch.setattr(gather, "LOST_SECONDS", -1.0)
    redis_client.delete(*keys.queue_lists("many"))
    upkeep = Upkeep(redis_client, without(deployed, "score"))
    for _ in range(4):
        upkeep._reaped_at = 0.0
        upkeep.step()
    assert {known(redis_client, task).state for task in tasks} == {"dead"}
    assert not redis_client.exists(keys.GATHERED)
    assert not redis_client.exists(keys.GATHERING)
