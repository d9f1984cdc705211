"""Messages that are taken and begun in one step of the broker: what begins, what only waits, and what goes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import LEASE_MS, finish
from runtime.attempts.taking import Begun, Taken, Taking
from runtime.broker import scripts
from runtime.config.settings import Function, Gather, Project, Queue, Settings
from runtime.deployment.deployment import Deployment, build_deployment
from runtime.invocations import message
from runtime.invocations.cancel import cancel
from runtime.invocations.pause import pause, resume
from runtime.invocations.submit import Call, submit
from runtime.worker.receiver import Letter, Receiver
from tests.workers import known

WORKER = "q@test"
LISTS = keys.queue_lists("q")


@pytest.fixture
def house(redis_client: redis.Redis, broker_url: str, tmp_path: Any) -> Deployment:
    functions = {
        "plain": Function(name="plain", handler="x:y", queue="q"),
        "one": Function(name="one", handler="x:y", queue="q", concurrency=1),
        "many": Function(name="many", handler="x:y", queue="q", gather=Gather()),
    }
    project = Project(queues={"q": Queue()}, functions=functions)
    settings = Settings(project=project, file=tmp_path / "f.yaml", home=tmp_path, broker_url=broker_url)
    return build_deployment(settings, {})


@pytest.fixture
def take(redis_client: redis.Redis, house: Deployment) -> Callable[..., list[Taken]]:
    taking = Taking(house, WORKER)

    def take(most: int = 10, free: int = 10) -> list[Taken]:
        script = scripts.source("take")
        redis_client.script_load(script)
        answer: Any = redis_client.execute_command(  # type: ignore[no-untyped-call]
            *taking.words("q", LISTS, most, free)
        )
        return taking.read(answer, LISTS)

    return take


def ids(taken: list[Taken]) -> list[str]:
    return [json.loads(one.raw)["headers"]["id"] for one in taken]


def begun(taken: list[Taken]) -> list[str]:
    return [one.begun.id for one in taken if one.begun]


def test_what_has_a_process_begins(redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]) -> None:
    """The highest priority first; the others are marked with the worker's name, and nothing is left in the lists."""
    late = [submit(redis_client, house, Call("plain", {"n": number})) for number in range(3)]
    first = submit(redis_client, house, Call("plain", priority=9))
    found = take(free=2)
    assert ids(found) == [first, *late]
    assert begun(found) == [first, late[0]]
    assert [one.word for one in found] == ["run", "run", "marked", "marked"]
    assert redis_client.smembers(keys.held(WORKER)) == {task_id.encode() for task_id in late[1:]}
    for task_id in (first, late[0]):
        record = known(redis_client, task_id)
        assert (record.state, record.attempts, record.worker) == ("running", 1, WORKER)
        assert redis_client.zscore(keys.RUNNING, task_id)
    assert known(redis_client, late[1]).state == "queued"
    assert not any(redis_client.exists(name) for name in LISTS)


def test_its_attempt_is_the_one_that_a_claim_gives(
    redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]
) -> None:
    task_id = submit(redis_client, house, Call("plain", {"text": "größer", "raw": b"\x00\xff"}))
    (one,) = take()
    attempt = one.begun.attempt()
    assert (attempt.id, attempt.number, attempt.fence) == (task_id, 1, 1)
    assert attempt.record == redis_client.hgetall(keys.invocation(task_id))
    assert attempt.arguments() == {"text": "größer", "raw": b"\x00\xff"}
    written = finish(redis_client, house.find("plain").spec, attempt, "succeeded", {"result": b"1"})
    assert written
    assert known(redis_client, task_id).state == "succeeded"


def test_no_more_than_is_asked_for(redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]) -> None:
    """What is left leaves a token, so that the next pop is answered by it, and not by a message that has not begun."""
    sent = [submit(redis_client, house, Call("plain")) for _ in range(3)]
    assert redis_client.llen(keys.wake("q")) == 1
    redis_client.delete(keys.wake("q"))
    assert ids(take(most=2)) == sent[:2]
    assert redis_client.llen(keys.wake("q")) == 1
    redis_client.delete(keys.wake("q"))
    assert ids(take(most=2)) == sent[2:]
    assert not redis_client.exists(keys.wake("q"))
    assert take() == []


def test_gates_stay_closed(redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]) -> None:
    first, second = (submit(redis_client, house, Call("one")) for _ in range(2))
    assert [one.word for one in take()] == ["run", "waiting"]
    assert known(redis_client, first).state == "running"
    assert known(redis_client, second).waits == "concurrency"
    pause(redis_client, "function", "plain")
    resting = submit(redis_client, house, Call("plain"))
    assert [one.word for one in take()] == ["waiting"]
    assert known(redis_client, resting).waits == "paused"
    resume(redis_client, "function", "plain")


def test_what_has_ended_is_dropped(redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]) -> None:
    gone, ended = (submit(redis_client, house, Call("plain")) for _ in range(2))
    redis_client.delete(keys.invocation(gone))
    assert cancel(redis_client, house, ended) == "cancelled"
    assert [one.word for one in take()] == ["missing", "ended"]


def test_what_is_not_begun_here(redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]) -> None:
    """A gathered call begins where it is run, and another program's message has no record yet."""
    submit(redis_client, house, Call("many"))
    theirs = json.loads(message.build("id", "plain", {}, queue="q", priority=5, queued_ms=1, root="id"))
    body = {"body": theirs.pop("body"), **theirs}  # as kombu orders them
    redis_client.lpush(keys.queue_list("q", keys.transport_priority(5)), json.dumps(body))
    assert [(one.word, one.begun) for one in take()] == [("marked", None), ("plain", None)]


def test_a_long_or_strange_message_is_read_by_its_head(
    redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]
) -> None:
    long = submit(redis_client, house, Call("plain", {"text": '"id": "no"' * 5000}, id="a-b.c"))
    strange = submit(redis_client, house, Call("plain", id='"q"\\'))
    found = take()
    assert begun(found) == [long]
    assert ids(found) == [long, strange]
    assert found[1].word == "plain", "the process that runs it begins it"


def test_what_is_not_delivered_goes_back(
    redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]
) -> None:
    """As if it had never been taken: the next worker has it, in the old order, and it counts as its first attempt."""
    sent = [submit(redis_client, house, Call("plain", expires=60.0)) for _ in range(2)]
    found = take()
    mine = Receiver(redis_client, house, WORKER, running=frozenset)
    letters = [Letter(one.list, "q", json.loads(one.raw), one.begun) for one in found]
    mine.unclaim(letters)
    assert not redis_client.exists(keys.RUNNING)
    assert redis_client.zcard(keys.EXPIRING) == 2
    for task_id in sent:
        record = known(redis_client, task_id)
        assert (record.state, record.attempts, record.started) == ("queued", 0, None)
    again = take()
    assert begun(again) == sent
    assert known(redis_client, sent[0]).attempts == 1
    mine.unclaim(letters[:1])  # the same worker has it: this is its attempt, and it goes back
    Receiver(redis_client, house, "other@test", running=frozenset).unclaim(letters[1:])
    assert known(redis_client, sent[1]).state == "running", "it is not the other worker's to put back"


def test_a_beginning_that_is_old_is_asked_for(
    redis_client: redis.Redis, house: Deployment, take: Callable[..., Any]
) -> None:
    """A machine that slept: the upkeep may have given the call to another worker meanwhile."""
    task_id = submit(redis_client, house, Call("plain"))
    (one,) = take()
    old = Begun(one.begun.id, one.begun.fields, one.begun.at - LEASE_MS)
    lease = int(redis_client.hget(keys.invocation(task_id), "lease") or 0)
    assert old.valid(redis_client, WORKER)
    assert int(redis_client.hget(keys.invocation(task_id), "lease") or 0) >= lease
    assert not old.valid(redis_client, "other@test")
    redis_client.hincrby(keys.invocation(task_id), "fence", 1)
    assert not old.valid(redis_client, WORKER)
    assert one.begun.valid(redis_client, "other@test"), "nobody asks for what is fresh"
