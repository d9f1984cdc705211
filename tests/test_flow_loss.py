"""Gates, maps, keys and retention where things go wrong or nobody works; each with a broker of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.deployment.deployment import Deployment
from runtime.errors import KeyReused
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, Idempotency, accept, submit
from tests.workers import SAMPLES, deployment, ended, kill, known, queued, until, upkeep, worker

FILE = SAMPLES / "flow" / "functions.yaml"


def lines(path: Path, begin: str) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith(begin)] if path.exists() else []


def test_what_was_not_started_in_time_is_not_started(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, tmp_path: Path
) -> None:
    own = submit(redis_client, deployed, Call("brief", {"path": str(tmp_path / "marks")}))
    given = submit(redis_client, deployed, Call("mark", {"path": str(tmp_path / "marks")}, expires=0.5))
    dead = submit(redis_client, deployed, Call("mark", {"path": str(tmp_path / "marks")}, deadline=time.time() - 1))
    with upkeep(redis_client, deployed):  # no worker at all
        found = [ended(redis_client, task) for task in (own, given, dead)]
    assert [one.state for one in found] == ["expired"] * 3
    assert [one.celery_status for one in found] == ["FAILURE"] * 3
    assert redis_client.zcard(keys.EXPIRING) == 0
    with worker(FILE, broker_url, "many"):
        last = submit(redis_client, deployed, Call("mark", {"path": str(tmp_path / "others")}))
        assert ended(redis_client, last).state == "succeeded"
    assert not (tmp_path / "marks").exists()


def test_a_key_is_for_one_call(redis_client: redis.Redis, deployed: Deployment) -> None:
    key = Idempotency("d" * 64, "body")
    first = accept(redis_client, deployed, Call("add", {"a": 1}, idempotency=key))
    again = accept(redis_client, deployed, Call("add", {"a": 1}, idempotency=key))
    assert (first.replayed, again.replayed, again.id) == (False, True, first.id)
    with pytest.raises(KeyReused):
        accept(redis_client, deployed, Call("add", {"a": 2}, idempotency=Idempotency("d" * 64, "other")))
    assert queued(redis_client) == {first.id}
    assert 86_000_000 < redis_client.pttl(keys.idem("d" * 64)) <= 86_400_000


def test_what_waits_is_cancelled_at_once(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    waiting = [
        submit(redis_client, deployed, Call("add", {"a": 1})),
        submit(redis_client, deployed, Call("add", {"a": 1}, delay=60)),
    ]
    assert [cancel(redis_client, deployed, task, "not needed") for task in waiting] == ["cancelled"] * 2
    assert cancel(redis_client, deployed, waiting[0]) == "cancelled"
    assert cancel(redis_client, deployed, "unknown") == "missing"
    found = [known(redis_client, task) for task in waiting]
    assert [(one.state, one.stop, one.celery_status) for one in found] == [("cancelled", "not needed", "REVOKED")] * 2
    with worker(FILE, broker_url, "many"):  # the message is still there: it is not run
        last = submit(redis_client, deployed, Call("add", {"a": 2}))
        assert ended(redis_client, last).state == "succeeded"
        assert [known(redis_client, task).attempts for task in waiting] == [0, 0]
    assert redis_client.zcard(keys.DUE) == 0


def test_a_killed_holder_frees_its_place(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = str(tmp_path / "marks")
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "many", name="many@first") as first:
            held = submit(redis_client, deployed, Call("keyed", {"path": path, "user": "ann", "seconds": 60}))
            until(lambda: lines(Path(path), "begin"))
            waits = submit(redis_client, deployed, Call("keyed", {"path": path, "user": "ann", "text": "next"}))
            until(lambda: known(redis_client, waits).waits == "key")
            kill(first)
        with worker(FILE, broker_url, "many", name="many@second"):
            assert ended(redis_client, waits, 40).state == "succeeded"
            until(
                lambda: (
                    (known(redis_client, held).worker, known(redis_client, held).state) == ("many@second", "running")
                )
            )
    assert redis_client.zrange(keys.holders("key:keyed:ann"), 0, -1) == [held.encode()]


def test_a_map_survives_the_death_of_its_worker(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    with upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "one", name="one@first") as first:
            task = submit(redis_client, deployed, Call("parent", {"count": 8, "path": str(path), "seconds": 0.2}))
            until(lambda: len(lines(path, "child")) >= 3)
            kill(first)
        with worker(FILE, broker_url, "one", name="one@second"):
            done = ended(redis_client, task, 60)
    assert (done.state, json.loads(done.result_json or b"")["results"]) == ("succeeded", [n * 10 for n in range(8)])
    runs = [lines(path, f"child {n}") for n in range(8)]
    assert sum(len(found) for found in runs) <= 9  # only the one that was killed ran again


def test_nothing_stays_of_what_is_over(broker_url: str, redis_client: redis.Redis) -> None:
    from runtime.attempts.attempt import claim, finish
    from runtime.config.settings import Retention

    made = deployment(FILE, broker_url)
    short = Retention(succeeded=0.3, failed=0.3, count=10)
    project = made.settings.project.model_copy(update={"retention": short})
    made = Deployment(made.settings.model_copy(update={"project": project}), made.functions)
    spec = made.find("add").spec
    for number in range(30):
        task = submit(redis_client, made, Call("add", {"a": number}, root="tree" if number % 2 else None))
        attempt = claim(redis_client, task, "hand", spec, short)
        assert not isinstance(attempt, str)
        assert finish(redis_client, spec, attempt, "failed" if number % 3 else "succeeded", {"result": b"1"}, short)
        assert redis_client.zcard(keys.ended("failed")) <= 10
    assert redis_client.zcard(keys.ALL) == 20
    with upkeep(redis_client, made):
        until(lambda: not redis_client.zcard(keys.ALL))
    names: Any = redis_client.keys("tundish:*")
    left = {name.decode() for name in names}
    lists = {name for name in left if redis_client.type(name) == b"list"}
    counts = {name for name in left if name.startswith(("tundish:metrics:", "tundish:usage"))}  # of fixed size
    assert left - lists - counts == {keys.TOTALS, keys.QUEUED}


def test_ids_of_records_that_lapsed_leave_the_lists(redis_client: redis.Redis, deployed: Deployment) -> None:
    """As after days without any beat: the records' own life is over, and nobody has taken them off the lists."""
    from runtime.invocations import forgetting

    lapsed, kept = (submit(redis_client, deployed, Call("add", {"a": number})) for number in range(2))
    redis_client.delete(keys.invocation(lapsed))
    assert forgetting.sweep(redis_client, deployed) == 2
    assert redis_client.zrange(keys.ALL, 0, -1) == [kept.encode()]
    assert redis_client.zrange(keys.by_function("add"), 0, -1) == [kept.encode()]


def test_a_key_that_lapsed_before_its_call_ended_is_not_brought_back(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    key = Idempotency("d" * 64, "body")
    first = accept(redis_client, deployed, Call("add", {"a": 1}, idempotency=key, delay=60))
    assert redis_client.pttl(keys.idem("d" * 64)) > 86_400_000  # it counts from the end of the delay
    redis_client.delete(keys.idem("d" * 64))
    assert cancel(redis_client, deployed, first.id) == "cancelled"
    assert not redis_client.exists(keys.idem("d" * 64))
    second = accept(redis_client, deployed, Call("add", {"a": 1}, idempotency=key))
    assert not second.replayed


def test_an_answer_that_is_still_to_be_posted_is_not_forgotten(broker_url: str, redis_client: redis.Redis) -> None:
    from runtime.config.settings import Retention
    from runtime.invocations import forgetting

    made = deployment(FILE, broker_url)
    project = made.settings.project.model_copy(update={"retention": Retention(succeeded=0, failed=0, count=1)})
    made = Deployment(made.settings.model_copy(update={"project": project}), made.functions)
    tasks = [submit(redis_client, made, Call("add", callback=url)) for url in ("https://example.org/", None)]
    assert [cancel(redis_client, made, task) for task in tasks] == ["cancelled"] * 2
    forgetting.forget(redis_client, made)
    assert [redis_client.exists(keys.invocation(task)) for task in tasks] == [1, 0]
    assert redis_client.zrange(keys.CALLBACKS, 0, -1) == [tasks[0].encode()]
    assert redis_client.zcard(keys.ALL) == 0
