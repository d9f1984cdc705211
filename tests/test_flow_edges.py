"""States met by a crash, a cancel or a reload at a bad moment: the steps of worker and upkeep, taken by hand."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from runtime import gather, keys, reaper, scripts
from runtime.admission import admit_next
from runtime.attempt import Attempt, claim, finish, repeat, suspend
from runtime.cancel import cancel
from runtime.config import Retention
from runtime.deployment import Deployment
from runtime.fans import Fan
from runtime.pause import pause, resume
from runtime.reaper import Upkeep
from runtime.requeue import requeue
from runtime.retry import Decision
from runtime.submit import Call, prepare, submit
from tests.workers import SAMPLES, deployment, known, queued, until

FILE = SAMPLES / "flow" / "functions.yaml"
KEPT = Retention()


@pytest.fixture(scope="module")
def deployed(broker_url: str) -> Deployment:
    return deployment(FILE, broker_url)


def without(deployed: Deployment, *names: str) -> Deployment:
    left = {name: one for name, one in deployed.functions.items() if name not in names}
    return Deployment(deployed.settings, left)


def begun(client: redis.Redis, deployed: Deployment, task_id: str) -> Attempt:
    attempt = claim(client, task_id, "hand", deployed.find(function_of(client, task_id)).spec, KEPT)
    assert isinstance(attempt, Attempt), attempt
    return attempt


def function_of(client: redis.Redis, task_id: str) -> str:
    found: Any = client.hget(keys.invocation(task_id), "function")
    return str(found.decode())


def done(client: redis.Redis, deployed: Deployment, attempt: Attempt, state: str = "succeeded") -> None:
    spec = deployed.find(function_of(client, attempt.id)).spec
    assert finish(client, spec, attempt, state, {"result": b"1"}, KEPT)


def parted(client: redis.Redis, deployed: Deployment, children: int, **options: Any) -> tuple[Attempt, list[str]]:
    """A parent that waits for a map of `child`, one in flight."""
    task = submit(client, deployed, Call("parent", {"count": children, "path": ""}, **options))
    attempt = begun(client, deployed, task)
    tasks = sent(client, deployed, attempt, children)
    assert suspend(client, attempt, f"{task}:0", KEPT)
    return attempt, tasks


def sent(client: redis.Redis, deployed: Deployment, parent: Attempt, children: int) -> list[str]:
    fan = Fan(client, parent.id, 0)
    fan.open("digest", children)
    tasks = [
        submit(
            client,
            deployed,
            Call(
                "child",
                {"number": n, "path": ""},
                fan=fan.name,
                fan_index=n,
                in_flight=1,
                parent=parent.id,
                root=parent.id,
            ),
        )
        for n in range(children)
    ]
    fan.close()
    admit_next(client, deployed, f"fan:{fan.name}")
    return tasks


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
    upkeep.step()
    assert known(redis_client, gone[0]).state == "accepted"
    assert known(redis_client, other).state == "queued", "those behind it do not wait for it"
    monkeypatch.setattr(reaper, "ABANDON_SECONDS", 0.0)
    for _ in range(3):
        upkeep.step()
    assert {known(redis_client, task).state for task in gone} == {"dead"}
    assert not redis_client.exists(keys.PARKED)


def test_a_parent_goes_on_when_the_function_of_its_children_is_gone(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, children = parted(redis_client, deployed, 3)
    monkeypatch.setattr(reaper, "ABANDON_SECONDS", 0.0)
    done(redis_client, deployed, begun(redis_client, deployed, children[0]))
    upkeep = Upkeep(redis_client, without(deployed, "child"))
    for _ in range(2):
        upkeep.step()
    assert [known(redis_client, child).state for child in children] == ["succeeded", "dead", "dead"]
    assert known(redis_client, parent.id).state == "queued"


def test_gathered_calls_of_a_function_that_is_gone_end(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [submit(redis_client, deployed, Call("score", {"number": n, "path": ""})) for n in range(3)]
    assert [known(redis_client, task).state for task in tasks] == ["queued", "accepted", "accepted"]
    monkeypatch.setattr(reaper, "ABANDON_SECONDS", 0.0)
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


# Gathered calls


def carried(client: redis.Redis, deployed: Deployment, count: int) -> tuple[str, list[str]]:
    """A gathered call of `count` members that waits in its queue."""
    client.set(f"{keys.gather('score', 5)}:active", "out")
    client.hset(keys.invocation("out"), "state", "running")
    tasks = [submit(client, deployed, Call("score", {"number": n, "path": ""}, priority=5)) for n in range(count)]
    client.delete(keys.invocation("out"))
    assert gather.pump(client, deployed, "score", 5)
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


# Maps


def test_an_answer_that_comes_after_its_parent_leaves_nothing(redis_client: redis.Redis, deployed: Deployment) -> None:
    parent, (child,) = parted(redis_client, deployed, 1)
    attempt = begun(redis_client, deployed, child)
    assert cancel(redis_client, deployed, parent.id) == "cancelled"
    redis_client.delete(keys.fan(f"{parent.id}:0"))  # its hour is over
    spec = deployed.find("child").spec
    assert finish(redis_client, spec, attempt, "succeeded", {"result": b"1"}, KEPT)
    assert not redis_client.exists(keys.fan(f"{parent.id}:0"))


@pytest.mark.parametrize("state", ["running", "retrying", "queued"])
def test_children_of_a_parent_that_was_cancelled_do_not_begin(
    redis_client: redis.Redis, deployed: Deployment, state: str
) -> None:
    task = submit(redis_client, deployed, Call("parent", {"count": 3, "path": ""}))
    attempt = begun(redis_client, deployed, task)
    children = sent(redis_client, deployed, attempt, 3)
    if state == "retrying":
        spec = deployed.find("parent").spec
        assert repeat(redis_client, spec, attempt, Decision("retrying", 60), {"type": "E", "message": ""}, KEPT)
    elif state == "queued":
        redis_client.hset(keys.invocation(task), "lease", 1)
        assert requeue(redis_client, deployed, task)
    cancel(redis_client, deployed, task)
    if state == "running":
        assert suspend(redis_client, attempt, f"{task}:0", KEPT)
    assert known(redis_client, task).state == "cancelled"
    for _ in range(2):
        Upkeep(redis_client, deployed).step()
    for child in children:
        assert claim(redis_client, child, "hand", deployed.find("child").spec) == "ended"
    assert {known(redis_client, child).state for child in children} == {"cancelled"}


def test_a_redriven_child_answers_the_parent_that_still_waits(redis_client: redis.Redis, deployed: Deployment) -> None:
    parent, children = parted(redis_client, deployed, 2)
    done(redis_client, deployed, begun(redis_client, deployed, children[0]), "dead")
    assert requeue(redis_client, deployed, children[0], reset=True)
    done(redis_client, deployed, begun(redis_client, deployed, children[0]))
    admit_next(redis_client, deployed, f"fan:{parent.id}:0")
    done(redis_client, deployed, begun(redis_client, deployed, children[1]))
    found: Any = redis_client.hgetall(keys.fan(f"{parent.id}:0"))
    assert found == {b"total": b"2", b"0": b"result\n1", b"1": b"result\n1"}


def test_a_child_is_redriven_after_its_parent(redis_client: redis.Redis, deployed: Deployment) -> None:
    parent, (child,) = parted(redis_client, deployed, 1)
    done(redis_client, deployed, begun(redis_client, deployed, child), "dead")
    Upkeep(redis_client, deployed).step()
    done(redis_client, deployed, begun(redis_client, deployed, parent.id), "dead")
    assert requeue(redis_client, deployed, child, reset=True)
    done(redis_client, deployed, begun(redis_client, deployed, child))


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
