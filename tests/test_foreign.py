"""What other Celery programs send: recorded on receipt, run once, answered in Celery's own way."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import TaskRevokedError

from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import Invocation, read
from runtime.worker import foreign
from tests.channeling import FILE, held, lines, waiting
from tests.workers import ended, kill, until, upkeep, worker


@pytest.fixture
def other(broker_url: str, redis_client: redis.Redis) -> Iterator[Celery]:
    """A program that knows nothing of us but the broker."""
    app = Celery("other", broker=broker_url, backend=broker_url, set_as_current=False)
    yield app
    app.close()


def recorded(client: redis.Redis, task_id: str) -> Invocation:
    found = until(lambda: read(client, task_id))
    assert found is not None
    return found


def test_arguments_by_place_and_by_name_run_and_the_result_arrives(
    broker_url: str, redis_client: redis.Redis, other: Celery
) -> None:
    with worker(FILE, broker_url, "one"):
        answer = other.send_task("add", args=[20], kwargs={"b": 21, "c": 1}, queue="one")
        assert answer.get(timeout=30) == 42
    found = recorded(redis_client, answer.id)
    assert (found.state, found.trigger, found.arguments) == ("succeeded", "celery", {"a": 20, "b": 21, "c": 1})


def test_it_is_recorded_on_receipt_and_survives_its_worker(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, other: Celery, tmp_path: Path
) -> None:
    """Received behind a call that runs, when the worker is killed: it runs elsewhere, and the sender hears of it."""
    path = tmp_path / "trace"
    told = {"path": str(path), "text": "first", "seconds": 2.0}
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "one", name="first@test") as first:
            other.send_task("note", kwargs=told, queue="one")
            until(lambda: lines(path, "begin"))
            answer = other.send_task("note", kwargs={**told, "text": "second", "seconds": 0}, queue="one")
            assert recorded(redis_client, answer.id).state == "queued"
            until(lambda: answer.id in held(redis_client, "first@test"))
            assert not waiting(redis_client, "one"), "nothing but the worker has it"
            kill(first)
        with worker(FILE, broker_url, "one", name="second@test"):
            assert answer.get(timeout=60) == "second"
    assert ended(redis_client, answer.id).worker == "second@test"


def test_a_countdown_waits_in_due_and_not_in_the_worker(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, other: Celery
) -> None:
    with worker(FILE, broker_url, "one", name="first@test") as first:
        answer = other.send_task("add", args=[1], countdown=3, queue="one")
        found = recorded(redis_client, answer.id)
        assert (found.state, found.due is not None) == ("accepted", True)
        assert redis_client.zscore(keys.DUE, answer.id)
        kill(first)
    with upkeep(redis_client, deployed), worker(FILE, broker_url, "one", name="second@test"):
        assert answer.get(timeout=30) == 2
        found = ended(redis_client, answer.id)
    assert found.started is not None
    assert found.due is None or found.started >= found.due
    assert found.attempts == 1


def test_a_countdown_that_is_over_runs_at_once(broker_url: str, redis_client: redis.Redis, other: Celery) -> None:
    answer = other.send_task("add", args=[1], eta=datetime.now(UTC) - timedelta(hours=1), queue="one")
    with worker(FILE, broker_url, "one"):
        assert answer.get(timeout=30) == 2


def test_what_expired_is_not_run(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, other: Celery, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    told = {"path": str(path), "text": "first", "seconds": 2.0}
    with worker(FILE, broker_url, "one"), upkeep(redis_client, deployed):
        first = other.send_task("note", kwargs=told, queue="one")
        until(lambda: lines(path, "begin"))
        answer = other.send_task("note", kwargs={**told, "text": "late"}, expires=0.5, queue="one")
        assert recorded(redis_client, answer.id).expires is not None
        assert first.get(timeout=30) == "first"
        with pytest.raises(TaskRevokedError):
            answer.get(timeout=30)
        assert ended(redis_client, answer.id).state == "expired"
    assert lines(path, "end") == ["first"]


def test_a_chain_of_another_program_goes_on(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, other: Celery
) -> None:
    first = other.signature("add", args=[1], queue="one")
    second = other.signature("add", args=[10], queue="one")
    later = other.signature("add", args=[100], queue="one", countdown=1)
    with worker(FILE, broker_url, "one"), upkeep(redis_client, deployed):
        assert (first | second | later | second).apply_async().get(timeout=30) == 122


def test_what_is_no_function_of_ours_gets_no_record(broker_url: str, redis_client: redis.Redis, other: Celery) -> None:
    with worker(FILE, broker_url, "one"):
        unknown = other.send_task("nobody.knows", queue="one")
        with pytest.raises(Exception, match=r"NotRegistered|nobody\.knows"):
            unknown.get(timeout=30)
        assert other.send_task("add", args=[1], queue="one").get(timeout=30) == 2
    assert read(redis_client, unknown.id) is None


def message(other: Celery, client: redis.Redis, **options: Any) -> dict[str, Any]:
    """A message as another program leaves it in a list."""
    other.send_task("add", args=[1], queue="nobody", **options)
    found: dict[str, Any] = json.loads(waiting(client, "nobody")[0])
    return found


@pytest.mark.parametrize(
    "options", [{}, {"serializer": "msgpack"}, {"compression": "gzip"}, {"priority": 3}, {"serializer": "yaml"}]
)
def test_messages_are_read_as_celery_sends_them(
    other: Celery, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    found = foreign.read(message(other, redis_client, **options))
    if options.get("serializer") == "yaml":
        assert found is None, "Celery refuses it"
    else:
        assert found is not None
        assert (found.function, found.args, found.kwargs, found.eta) == ("add", (1,), {}, None)
        assert found.priority == 9 - options.get("priority", 0)


def test_values_that_only_celery_knows_are_kept_as_text(
    broker_url: str, redis_client: redis.Redis, other: Celery
) -> None:
    moment, name = datetime(2026, 11, 21, 12, tzinfo=UTC), uuid.uuid4()
    other.send_task("add", kwargs={"a": [moment, {"name": name}]}, queue="nobody")
    found = foreign.read(json.loads(waiting(redis_client, "nobody")[0]))
    assert found is not None
    assert found.kwargs == {"a": ["2026-11-21T12:00:00+00:00", {"name": str(name)}]}


def test_a_number_that_no_record_holds_fails_alone(broker_url: str, redis_client: redis.Redis, other: Celery) -> None:
    with worker(FILE, broker_url, "one"):
        answer = other.send_task("add", args=[2**80], queue="one")
        with pytest.raises(Exception, match=r"(?i)integer|int too|64"):
            answer.get(timeout=30)
        assert other.send_task("add", args=[1], queue="one").get(timeout=30) == 2


def test_the_first_protocol_is_read(other: Celery, redis_client: redis.Redis) -> None:
    other.conf.task_protocol = 1
    found = foreign.read(message(other, redis_client, countdown=60, expires=120))
    assert found is not None
    assert (found.function, found.args) == ("add", (1,))
    assert found.eta is not None
    assert found.expires is not None
    assert 50 < found.expires - found.eta < 70


@pytest.mark.parametrize("damage", [b"", bytes(range(0x80, 0x94))], ids=["nothing", "noise"])
def test_what_cannot_be_read_is_left_to_celery(other: Celery, redis_client: redis.Redis, damage: bytes) -> None:
    payload = message(other, redis_client)
    payload["body"] = damage.decode("latin-1")
    assert foreign.read(payload) is None
