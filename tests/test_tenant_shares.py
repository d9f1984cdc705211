"""Of one tenant so many calls stand in a queue: its flood leaves the others their turn, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from runtime import keys
from runtime.config.settings import Settings
from runtime.config.tenants import TenantSpec
from runtime.errors import LimitReached, Overloaded
from runtime.invocations import admission, census, crowding
from runtime.invocations.cancel import cancel
from runtime.invocations.queue_purge import purge
from runtime.invocations.requeue import requeue
from runtime.invocations.submit import Call, accept
from tests import gatewaying
from tests.overloading import Flood, crowded
from tests.workers import SAMPLES, deployment, ended, known, upkeep, worker

FILE = SAMPLES / "overload" / "functions.yaml"


@pytest.fixture
def flood(redis_client: redis.Redis, made: Settings) -> Callable[..., Flood]:
    def build(per_tenant: int | None = None, **overload: Any) -> Flood:
        return Flood(redis_client, gatewaying.deployment(crowded(made, per_tenant, **overload)))

    return build


def test_of_a_tenant_so_many_stand_in_the_queue_and_the_others_come_next(flood: Any) -> None:
    house = flood(per_tenant=4)
    mine, theirs = house.many(20), house.many(2, "globex")
    assert house.standing() == [*mine[:4], *theirs]
    assert (house.beside(), house.beside("globex")) == (16, 0)
    assert known(house.client, mine[4]).waits == "tenant"
    assert census.take(house.client).parked == {"tenant:default": 16}
    ran = [house.run() for _ in range(22)]
    assert [one for one in ran if one in mine] == mine, "in the order in which they came"
    assert max(ran.index(one) for one in theirs) < 12, "not behind all that came before"
    assert house.run() is None
    assert (house.beside(), house.client.zcard(keys.holders(house.gate()))) == (0, 0)
    assert house.client.scard(keys.PARKED) == 0


def test_a_tenant_s_own_priorities_hold(flood: Any) -> None:
    house = flood(per_tenant=2)
    low, high = house.many(10, priority=1), house.send(priority=9).id
    assert house.standing() == [high, *low[:2]]


def test_a_tenant_that_floods_is_told_so_and_the_others_are_not(flood: Any) -> None:
    house = flood(per_tenant=5, waiting=20)
    house.many(20)
    with pytest.raises(LimitReached, match="Your tenant has too much waiting for add: 20 calls") as refused:
        house.send()
    assert not isinstance(refused.value, Overloaded)
    theirs = house.many(5, "globex")
    assert house.standing()[5:] == theirs
    with pytest.raises(LimitReached):
        house.send()


def test_places_become_free_in_every_way(flood: Any) -> None:
    house = flood(per_tenant=2)
    mine = house.many(12)
    cancel(house.client, house.deployed, mine[0])
    house.let_in(tuple(gate.decode() for gate in house.client.spop(keys.FREED, 10)))
    assert house.standing()[1:] == [mine[1], mine[2]], "a message of what was cancelled stays"
    attempt = house.take()
    assert attempt is not None and attempt.id == mine[1]
    house.fail(attempt)
    assert house.standing() == [mine[2], mine[3]]
    gone = purge(house.client, house.deployed, "default")
    assert gone.cancelled == 10, "the one that waits for its retry stays"
    assert house.client.scard(keys.PARKED) == 0


def test_with_tenants_there_is_a_share_without_asking(flood: Any, made: Settings) -> None:
    project = made.project
    assert crowding.share_of(project, "default") is None
    shared = project.model_copy(update={"tenants": {"acme": TenantSpec()}})
    assert crowding.share_of(shared, "default") == crowding.PER_TENANT
    assert crowding.share_of(crowded(made, 7).project, "default") == 7


OPERATIONS = st.lists(st.sampled_from(["a", "b", "c", "run", "fail", "cancel", "die"]), min_size=1, max_size=60)


def states_at_last(house: Flood, sent: list[str]) -> set[str]:
    """What has become of calls when all that waits has been let in and run."""
    for task_id in sent:
        if known(house.client, task_id).state in ("retrying", "running"):
            requeue(house.client, house.deployed, task_id)
    for _ in range(3 * len(sent) + 3):
        if house.run() is None:
            house.let_in(tuple(admission.gates(house.client)))
    return {known(house.client, task_id).state for task_id in sent}


@rules(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
def test_nothing_is_lost_beside_a_queue(flood: Any, operations: list[str]) -> None:
    house = flood(per_tenant=2)
    house.client.flushall()
    sent: list[str] = []
    for operation in operations:
        if operation in "abc":
            sent.append(house.send(operation).id)
        elif operation == "cancel" and sent:
            cancel(house.client, house.deployed, sent[len(sent) // 2])
        elif operation == "run":
            house.run()
        elif attempt := house.take():
            if operation == "fail":
                house.fail(attempt)  # it is due in a minute; the reaper's step below brings it back
            else:
                house.client.hset(keys.invocation(attempt.id), "lease", 0)
        assert max(house.client.zcard(keys.holders(house.gate(tenant))) for tenant in "abc") <= 2
    assert states_at_last(house, sent) <= {"succeeded", "cancelled"}
    assert house.client.scard(keys.PARKED) == 0
    assert not any(house.client.zcard(keys.holders(house.gate(tenant))) for tenant in "abc")


def test_with_a_real_worker(broker_url: str, redis_client: redis.Redis) -> None:
    deployed = deployment(FILE, broker_url)

    def send(tenant: str, *, fails: bool = False, priority: int | None = None) -> str:
        call = Call("tick", {"fails": fails}, tenant=tenant, caller="key", priority=priority)
        return accept(redis_client, deployed, call).id

    mine = [send("acme", fails=n % 10 == 9) for n in range(60)]
    theirs, urgent = send("globex"), send("acme", priority=9)
    assert len(Flood(redis_client, deployed).standing("shared")) == 6
    with upkeep(redis_client, deployed), worker(FILE, broker_url, "shared"):
        done = {task_id: ended(redis_client, task_id) for task_id in (*mine, theirs, urgent)}
    assert {one.state for one in done.values()} == {"succeeded", "dead"}
    for task_id, most in ((theirs, 30), (urgent, 10)):
        before = [one for one in mine if (done[one].ended or 0) < (done[task_id].ended or 0)]
        assert len(before) < most, "a flood of sixty was before it"
