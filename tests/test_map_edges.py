"""Maps met by a crash, a cancel or a reload at a bad moment: the steps of worker and upkeep, taken by hand."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import claim, finish, repeat, suspend
from runtime.broker import scripts
from runtime.deployment.deployment import Deployment
from runtime.invocations.admission import admit_next
from runtime.invocations.blobs import StoreBlobs
from runtime.invocations.calls import Origin, RedisCalls
from runtime.invocations.cancel import cancel
from runtime.invocations.fans import Fan
from runtime.invocations.requeue import requeue
from runtime.invocations.retry import Decision
from runtime.invocations.submit import Call, submit
from runtime.worker.reaper import Upkeep
from tests.stepping import KEPT, begun, done, parted, sent
from tests.workers import SAMPLES, known

FILE = SAMPLES / "flow" / "functions.yaml"


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


def test_a_parent_that_is_begun_anew_waits_again_for_what_it_waited_for(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    child = submit(redis_client, deployed, Call("child", {"number": 1, "path": ""}))
    parent, other = (submit(redis_client, deployed, Call("wish", {"path": ""})) for _ in range(2))
    for number in (0, 1_000_000):
        fan = Fan(redis_client, parent, number)
        fan.open("digest", 1)
        assert fan.adopt(child, 0)
    assert not Fan(redis_client, other, 0).adopt(child, 0)


def test_a_child_is_submitted_once_however_long_its_parent_lives(
    redis_client: redis.Redis, deployed: Deployment
) -> None:
    parent = begun(redis_client, deployed, submit(redis_client, deployed, Call("wish", {"path": ""})))

    def again() -> str:
        """What a run of the parent does."""
        blobs = StoreBlobs(lambda: pytest.fail("nothing here is large"))
        calls = RedisCalls(redis_client, deployed, Origin(parent.id, parent.id), blobs)
        return calls.submit("child", {"number": 1, "path": ""})

    child = again()
    done(redis_client, deployed, begun(redis_client, deployed, child))
    scripts.run(redis_client, "forget", (), ["succeeded", child])
    assert again() == child
    assert not redis_client.exists(keys.invocation(child))
    assert redis_client.ttl(keys.sent(parent.id)) > 0
    done(redis_client, deployed, parent)
    assert redis_client.ttl(keys.sent(parent.id)) <= 3600


def test_a_process_that_outlived_its_record_leaves_nothing(redis_client: redis.Redis) -> None:
    Fan(redis_client, "forgotten", 0).close()
    assert not redis_client.exists(keys.invocation("forgotten"))


@pytest.mark.parametrize(("ended", "told"), [(2, 1), (3, 2)])
def test_who_gives_its_slot_back_hears_whether_there_is_anything_to_wait_for(
    redis_client: redis.Redis, deployed: Deployment, ended: int, told: int
) -> None:
    task = submit(redis_client, deployed, Call("parent", {"count": 3, "path": ""}))
    attempt = begun(redis_client, deployed, task)
    for child in sent(redis_client, deployed, attempt, 3)[:ended]:
        done(redis_client, deployed, begun(redis_client, deployed, child))
        admit_next(redis_client, deployed, f"fan:{task}:0")
    assert suspend(redis_client, attempt, f"{task}:0", KEPT) == told
