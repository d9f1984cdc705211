"""A flood: what is refused and with what Retry-After, and that tenants and priorities go on beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.config.gates import ConcurrencyKey, Overload
from runtime.config.limits import OutboxSpec
from runtime.config.load import load_settings
from runtime.config.settings import Function, Gather, Settings
from runtime.deployment.deployment import Deployment
from runtime.errors import ConfigError, Overloaded
from runtime.invocations import crowding
from runtime.invocations.submit import Call, Idempotency, submit
from runtime.outbox.delivery import deliver
from runtime.outbox.kept_call import Kept, unpack
from runtime.outbox.outbox import Waiting
from tests import gatewaying
from tests.gatewaying import problem, serving
from tests.overloading import Flood, crowded
from tests.workers import known


@pytest.fixture
def flood(redis_client: redis.Redis, made: Settings) -> Callable[..., Flood]:
    def build(per_tenant: int | None = None, **overload: Any) -> Flood:
        return Flood(redis_client, gatewaying.deployment(crowded(made, per_tenant, **overload)))

    return build


def test_nothing_is_asked_where_nothing_is_set(flood: Any) -> None:
    plain, call = flood().deployed, Call("add", caller="key")
    spec = plain.functions["add"].spec
    assert crowding.terms(plain.settings.project, spec, call, 5) == ""
    told = flood(waiting=3).deployed
    assert crowding.terms(told.settings.project, told.functions["add"].spec, Call("add"), 5) == "", "no request"


def test_as_many_wait_as_may(flood: Any, redis_client: redis.Redis) -> None:
    house = flood(waiting=5)
    house.many(5)
    with pytest.raises(Overloaded, match="5 calls wait before it, and 5 may") as refused:
        house.send(id="sixth", idempotency=Idempotency("d" * 64, "b"))
    assert 1 <= refused.value.wait <= 60
    assert not redis_client.exists(keys.invocation("sixth"), keys.idem("d" * 64)), "nothing of it is left"
    house.run()
    assert house.send(id="sixth").id == "sixth"
    with pytest.raises(Overloaded):
        house.send("globex")  # without shares it is one queue for all
    assert house.send(id="sixth").replayed, "what is known is told, not refused"


def test_what_was_accepted_elsewhere_is_never_refused(flood: Any, redis_client: redis.Redis) -> None:
    house = flood(waiting=1, oldest="1s")
    house.send()
    redis_client.zadd(keys.queued("default", 5), {"old": 1})
    submit(redis_client, house.deployed, Call("add", {"a": 1}, trigger="bucket"))
    submit(redis_client, house.deployed, Call("add", {"a": 1}, trigger="cron"))
    call = Call("add", {"a": 1}, id="kept", tenant="acme", caller="key")
    deliver(redis_client, house.deployed, Waiting(unpack(Kept(call, time.time(), "default", 5).pack()), "box", 1))
    assert redis_client.exists(keys.invocation("kept"))
    with pytest.raises(Overloaded):
        house.send()


def test_a_call_waits_behind_those_of_its_priority_and_above(flood: Any) -> None:
    house = flood(waiting=5)
    house.many(4, priority=2)
    house.many(3, priority=8)
    with pytest.raises(Overloaded, match="7 calls"):
        house.send(priority=2)
    house.many(2, priority=8)
    with pytest.raises(Overloaded, match="5 calls"):
        house.send(priority=8)
    assert house.send(priority=9).id == house.standing()[0]


def test_what_waits_at_the_gate_of_the_function_or_the_queue_counts(flood: Any, redis_client: redis.Redis) -> None:
    house = flood(waiting=4)
    redis_client.hset(keys.PAUSED, "function:add", "{}")
    for _ in range(4):
        house.send()
        assert house.take() is None
    assert redis_client.zcard(keys.parked("function:add")) == 4
    with pytest.raises(Overloaded, match="4 calls"):
        house.send()
    redis_client.delete(keys.PAUSED)
    redis_client.hset(keys.PAUSED, "queue:default", "{}")
    house.let_in(("function:add",))
    assert redis_client.zcard(keys.parked("queue:default")) == 4, "they wait at the other gate now"
    with pytest.raises(Overloaded, match="4 calls"):
        house.send()


def test_the_age_of_the_first_that_waits(flood: Any, redis_client: redis.Redis) -> None:
    house = flood(oldest="30s")
    first, *_ = house.many(3)
    now = int(time.time() * 1000)
    redis_client.zadd(keys.queued("default", 5), {first: now - 29_000})
    house.send()
    redis_client.zadd(keys.queued("default", 5), {first: now - 40_000})
    with pytest.raises(Overloaded, match=r"the first of 4 before it has waited for 4\d(\.\d)?s, at most 30s"):
        house.send()
    house.run()
    house.send()


def test_calls_that_wait_to_be_gathered_count(flood: Any, redis_client: redis.Redis) -> None:
    house = flood(waiting=5, oldest="30s")
    functions = house.deployed.functions
    spec = functions["add"].spec.model_copy(update={"gather": Gather(max_items=10, window=600)})
    gathered = Deployment(house.deployed.settings, {**functions, "add": replace(functions["add"], spec=spec)})
    house = Flood(redis_client, gathered)
    first = house.send().id  # goes at once; the others wait until it has ended
    assert known(redis_client, first).carrier
    second = house.many(4)[0]
    with pytest.raises(Overloaded, match="5 calls"):
        house.send()
    redis_client.hset(keys.invocation(second), "created", int(time.time() * 1000) - 45_000)
    with pytest.raises(Overloaded, match=r"Try again in 4\d s"):
        house.send()


def test_calls_that_wait_for_their_concurrency_key_count_for_those_of_the_same_key(
    flood: Any, redis_client: redis.Redis
) -> None:
    plain = flood(waiting=4).deployed
    spec = plain.functions["add"].spec.model_copy(update={"concurrency_key": ConcurrencyKey(argument="a")})
    keyed = Deployment(plain.settings, {**plain.functions, "add": replace(plain.functions["add"], spec=spec)})
    house = Flood(redis_client, keyed)
    house.send()
    running = house.take()
    assert running
    for _ in range(4):
        house.send()
        assert house.take() is None
    assert redis_client.zcard(keys.parked("key:add:1")) == 4
    redis_client.hset(
        keys.drain("key:add:1"), mapping={"at": int(time.time() * 1000) - 10_000, "count": 9, "rate": 0.01}
    )
    with pytest.raises(Overloaded, match=r"4 calls wait before it, and 4 may.*; 10 go in a second"):
        house.send()
    assert house.send(arguments={"a": 2}).id == house.standing()[0], "that of another key waits for none of them"
    house.end(running)
    house.run()
    house.run()
    house.send()


def test_when_to_come_again_follows_from_how_fast_they_go(flood: Any, redis_client: redis.Redis) -> None:
    house = flood(waiting=50)
    now = int(time.time() * 1000)
    redis_client.zadd(keys.queued("default", 5), {str(n): now - 20_000 + n for n in range(60)})
    # Ten seconds ago there were a hundred: forty have gone.
    redis_client.hset(keys.drain("add:5"), mapping={"at": now - 10_000, "count": 100, "rate": ""})
    with pytest.raises(Overloaded, match=r"(4|3\.\d+) go in a second") as refused:
        house.send()
    assert 4 <= refused.value.wait <= 5, "60 until 45, a tenth less than may, at four a second"
    with pytest.raises(Overloaded, match=r"(4|3\.\d+) go in a second"):
        house.send()
    redis_client.zremrangebyrank(keys.queued("default", 5), 0, 29)
    redis_client.hset(keys.drain("add:5"), "at", now - 10_000)
    house.many(15)
    rate = float(redis_client.hget(keys.drain("add:5"), "rate") or 0) * 1000
    assert 2 < rate < 3.9, "it was measured once more on the way: thirty of sixty"


def test_nothing_goes(flood: Any, redis_client: redis.Redis) -> None:
    house = flood(waiting=2, oldest="10m")
    house.many(2)
    with pytest.raises(Overloaded, match=r"none of them has gone lately\. Try again in 1 s"):
        house.send()
    redis_client.zadd(keys.queued("default", 5), {"old": int(time.time() * 1000) - 3_600_000})
    with pytest.raises(Overloaded, match="Try again in 60 s"):
        house.send()


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        ({"what": "waiting", "most": 1, "wait": 0.4}, "Try again in 1 s"),
        ({"what": "waiting", "most": 1, "wait": 1500, "rate": 12.345}, "12.3 go in a second. Try again in 2 s"),
        ({"what": "oldest", "age": 61_000, "oldest": 60_000, "wait": 1e12}, "Try again in 3600 s"),
    ],
    ids=["at_once", "rounded_up", "bounded"],
)
def test_how_a_refusal_reads(flood: Any, told: dict[str, Any], wait: str) -> None:
    assert flood().refusal(told).endswith(f"{wait}.")


def test_over_http(made: Settings, redis_client: redis.Redis) -> None:
    with serving(crowded(made, waiting=2)) as web:
        assert web.post("/async-function/add", json={"a": 1}).status_code == 202
        told = problem(
            web.post("/api/v1/tasks/batch", json={"tasks": [{"task_type": "add", "task_data": {"a": 1}}] * 3}), 503
        )
        assert told["detail"].startswith("Only 1 of 3 tasks were submitted")
        for path in ("/async-function/add", "/function/add"):
            answer = web.post(path, json={"a": 1})
            assert "Too much waits for add: 2 calls" in problem(answer, 503)["detail"]
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert "call_id" not in answer.json()
        answer = web.post("/async-function/add", json={"a": 1}, headers={"X-Delay": "1h"})
        problem(answer, 503)
    redis_client.flushall()
    with serving(crowded(made, per_tenant=1, waiting=2)) as web:
        for _ in range(2):
            assert web.post("/async-function/add", json={"a": 1}).status_code == 202
        assert "Your tenant" in problem(web.post("/async-function/add", json={"a": 1}), 429)["detail"]
        assert 'tundish_parked{gate="tenant:default"} 1.0' in web.get("/metrics").text


def test_the_outbox_takes_none_of_what_is_refused(made: Settings, redis_client: redis.Redis) -> None:
    with_outbox = crowded(made, waiting=1)
    project = with_outbox.project.model_copy(update={"outbox": OutboxSpec(enabled=True)})
    with serving(with_outbox.model_copy(update={"project": project})) as web:
        assert web.post("/async-function/add", json={"a": 1}).status_code == 202
        problem(web.post("/async-function/add", json={"a": 1}), 503)
        assert "tundish_outbox_calls 0.0" in web.get("/metrics").text


def test_in_functions_yaml(tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    (tmp_path / "f.py").write_text("def f(): ...\n")
    file.write_text(
        "version: 1\nqueues: {q: {per_tenant: 8}}\ndefaults: {queue: q, overload: {waiting: 100}}\n"
        "functions:\n  f: {handler: f.py:f}\n  g: {handler: f.py:f, overload: {oldest: 30s}}\n"
    )
    project = load_settings({}, file=file).project
    f, g = (project.functions[name].overload for name in "fg")
    assert (f, g) == (Overload(waiting=100), Overload(oldest=30))
    assert project.queues["q"].per_tenant == 8
    file.write_text(
        "version: 1\nfunctions:\n  f: {handler: f.py:f, overload: {}}\n  g: {handler: f.py:f, overload: {wating: 3}}\n"
    )
    with pytest.raises(ConfigError) as refused:
        load_settings({}, file=file)
    assert "functions.f.overload: " in str(refused.value) and "give waiting" in str(refused.value)
    assert "did you mean waiting?" in str(refused.value)


def test_json_of_terms_is_small(flood: Any) -> None:
    deployed = flood(per_tenant=3, waiting=7, oldest="1m").deployed
    spec: Function = deployed.functions["add"].spec
    told = json.loads(crowding.terms(deployed.settings.project, spec, Call("add", caller="key", tenant="acme"), 5))
    assert told["before"] == {
        "name": "add",
        "queue": "default",
        "priority": 5,
        "tenant": "acme",
        "most": 7,
        "oldest": 60_000,
    }
    assert told["share"] == {"gate": "tenant:default:acme:5", "most": 3}
