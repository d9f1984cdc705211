"""States met by a crash, a cancel or a reload at a bad moment: the steps of worker and upkeep, taken by hand."""

from __future__ import annotations

import time

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import claim, repeat, stopped
from runtime.deployment.deployment import Deployment
from runtime.invocations import abandon
from runtime.invocations.admission import admit_next
from runtime.invocations.cancel import cancel
from runtime.invocations.pause import pause, resume
from runtime.invocations.requeue import requeue
from runtime.invocations.retry import Decision
from runtime.invocations.submit import Call, Idempotency, accept, submit
from runtime.worker import reaper
from runtime.worker.reaper import Upkeep
from tests.stepping import KEPT, begun, done, function_of, parted, watched, without
from tests.workers import SAMPLES, known, until

FILE = SAMPLES / "flow" / "functions.yaml"

# Time


def test_a_parent_that_began_in_time_goes_on_when_its_time_to_begin_is_over(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    parent, (child,) = parted(redis_client, deployed, 1, expires=0.05)
    until(lambda: time.time() > (known(redis_client, parent.id).expires or 0))
    done(redis_client, deployed, begun(redis_client, deployed, child))
    Upkeep(redis_client, deployed).step()
    assert begun(redis_client, deployed, parent.id).number == 1


def test_an_expiry_that_is_looked_at_too_early_is_looked_at_again(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the host with the upkeep is fast."""
    task = submit(redis_client, deployed, Call("add", {"a": 1}, expires=0.3))
    upkeep = Upkeep(redis_client, deployed)
    monkeypatch.setattr(reaper, "now_ms", lambda: time.time_ns() // 1_000_000 + 5_000)
    upkeep.step()
    assert known(redis_client, task).state == "queued"

    def over() -> bool:
        upkeep.step()
        return known(redis_client, task).state == "expired"

    until(over, 5)


def test_the_shortest_delay_is_waited_for(redis_client: redis.Redis, deployed: Deployment) -> None:
    """What is left of a delay when an outbox is delivered, say."""
    task = submit(redis_client, deployed, Call("add", {"a": 1}, delay=0.0002))
    upkeep = Upkeep(redis_client, deployed)

    def came() -> bool:
        upkeep.step()
        return known(redis_client, task).state == "queued"

    until(came, 5)


def test_a_retry_does_not_wait_past_its_deadline(redis_client: redis.Redis, deployed: Deployment) -> None:
    task = submit(redis_client, deployed, Call("mark", {"path": ""}, expires=5, deadline=time.time() + 0.2))
    attempt = begun(redis_client, deployed, task)
    spec = deployed.find("mark").spec
    assert repeat(redis_client, spec, attempt, Decision("retrying", 60), {"type": "E", "message": ""}, KEPT)
    upkeep = Upkeep(redis_client, deployed)

    def over() -> bool:
        upkeep.step()
        return known(redis_client, task).state == "expired"

    until(over, 5)


def test_a_call_that_outlived_its_key_says_nothing_of_the_next(redis_client: redis.Redis, deployed: Deployment) -> None:
    key = Idempotency("d" * 64, "body")
    first = accept(redis_client, deployed, Call("add", {"a": 1}, idempotency=key)).id
    attempt = begun(redis_client, deployed, first)
    redis_client.delete(keys.idem(key.digest))  # its day is over
    second = accept(redis_client, deployed, Call("add", {"a": 1}, idempotency=key))
    assert not second.replayed
    done(redis_client, deployed, attempt)
    assert redis_client.hgetall(keys.idem(key.digest)) == {b"id": second.id.encode(), b"body": b"body"}


# Functions that are gone


def test_what_waits_at_a_gate_for_a_function_that_is_gone_ends(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause(redis_client, "queue", "many")
    gone = [submit(redis_client, deployed, Call("mark", {"path": ""})) for _ in range(110)]
    other = submit(redis_client, deployed, Call("add", {"a": 1}))
    for task in (*gone, other):
        assert claim(redis_client, task, "hand", deployed.find(function_of(redis_client, task)).spec) == "waiting"
    resume(redis_client, "queue", "many")
    left = without(deployed, "mark")
    upkeep = Upkeep(redis_client, left)
    for _ in range(2):
        upkeep.step()
    assert (known(redis_client, gone[0]).state, known(redis_client, gone[0]).waits) == ("accepted", "function")
    assert known(redis_client, other).state == "queued", "those behind it do not wait for it"
    monkeypatch.setattr(abandon, "ABANDON_SECONDS", 0.0)
    for _ in range(3):
        upkeep.step()
    assert {known(redis_client, task).state for task in gone} == {"dead"}
    assert not redis_client.exists(keys.PARKED)


def test_a_parent_goes_on_when_the_function_of_its_children_is_gone(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, children = parted(redis_client, deployed, 3)
    monkeypatch.setattr(abandon, "ABANDON_SECONDS", 0.0)
    done(redis_client, deployed, begun(redis_client, deployed, children[0]))
    upkeep = Upkeep(redis_client, without(deployed, "child"))
    for _ in range(3):
        upkeep.step()
    assert [known(redis_client, child).state for child in children] == ["succeeded", "dead", "dead"]
    assert known(redis_client, parent.id).state == "queued"


# Latest wins


def submitted(client: redis.Redis, deployed: Deployment, count: int) -> list[str]:
    tasks = []
    for number in range(count):
        tasks.append(submit(client, deployed, Call("newest", {"path": "", "user": "ann", "text": str(number)})))
        time.sleep(0.002)  # created in different milliseconds
    return tasks


def test_latest_wins_among_those_that_waited_elsewhere(redis_client: redis.Redis, deployed: Deployment) -> None:
    pause(redis_client, "function", "newest")
    tasks = submitted(redis_client, deployed, 4)
    for task in tasks:
        assert claim(redis_client, task, "hand", deployed.find("newest").spec) == "waiting"
    resume(redis_client, "function", "newest")
    Upkeep(redis_client, deployed).step()
    states = [known(redis_client, task).state for task in tasks]
    assert states == ["queued", "cancelled", "cancelled", "accepted"]


def test_a_killed_holder_does_not_take_the_place_of_a_newer_call(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    spec = deployed.find("newest").spec
    first, second, third = submitted(redis_client, deployed, 3)
    begun(redis_client, deployed, first)
    assert claim(redis_client, second, "hand", spec) == "waiting"
    redis_client.hset(keys.invocation(first), "lease", 1)
    assert requeue(redis_client, deployed, first)
    admit_next(redis_client, deployed, "key:newest:ann")
    begun(redis_client, deployed, second)
    assert claim(redis_client, third, "hand", spec) == "waiting"
    assert claim(redis_client, first, "hand", spec) == "ended"
    states = [known(redis_client, task).state for task in (first, second, third)]
    assert states == ["cancelled", "running", "accepted"]


# The memory limit


def test_upkeep_at_the_memory_limit_is_not_stopped_by_a_function_that_is_gone(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    task = submit(redis_client, deployed, Call("mark", {"path": ""}, delay=0.001))
    late = submit(redis_client, deployed, Call("add", {"a": 1}, expires=0.001))
    until(lambda: time.time() > (known(redis_client, late).expires or 0) + 0.01)
    redis_client.config_set("maxmemory", 1)
    try:
        Upkeep(redis_client, without(deployed, "mark")).step()
    finally:
        redis_client.config_set("maxmemory", 0)
    assert known(redis_client, late).state == "expired"
    assert known(redis_client, task).state == "accepted"


# Many gates


def test_upkeep_looks_at_few_of_many_gates_and_at_those_with_a_free_place(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    spec, waiting = deployed.find("keyed").spec, []
    for number in range(50):
        pair = [submit(redis_client, deployed, Call("keyed", {"path": "", "user": f"u{number:02}"})) for _ in range(2)]
        attempt = begun(redis_client, deployed, pair[0])
        assert claim(redis_client, pair[1], "hand", spec) == "waiting"
        waiting.append((attempt, pair[1]))
    upkeep = Upkeep(redis_client, deployed)
    with watched(redis_client) as commands:
        upkeep.step()
    assert commands() < 200
    holder, following = waiting[-1]
    assert cancel(redis_client, deployed, holder.id) == "stopping"
    assert stopped(redis_client, KEPT, holder.id, "hand")
    upkeep.step()
    assert known(redis_client, following).state == "queued"
    # Without a word of it, too, if it takes a few steps: the process that was to leave it is gone.
    holder, following = waiting[-2]
    done(redis_client, deployed, holder)
    redis_client.delete(keys.FREED)
    for _ in range(10):
        upkeep.step()
    assert known(redis_client, following).state == "queued"
