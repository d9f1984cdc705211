"""What stops work, without a worker in the way: time limits while the broker is away, the flag of an attempt."""

from __future__ import annotations

import os
import signal

import redis

from runtime.attempts.attempt import claim
from runtime.attempts.stop_flag import StopFlag
from runtime.broker.connection import connect
from runtime.deployment.deployment import Deployment
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, submit
from runtime.worker.keeper import Keeper
from tests.workers import SAMPLES, ended, known, until

FILE = SAMPLES / "stopping" / "functions.yaml"


def test_the_parent_does_not_wait_for_a_broker_that_is_away(redis_client: redis.Redis, deployed: Deployment) -> None:
    """A limit that passes meanwhile is written when the broker is back."""
    task_id = submit(redis_client, deployed, Call("hang"))
    assert not isinstance(claim(redis_client, task_id, "one@test"), str)
    keeper = Keeper(connect(deployed.settings.broker_url), deployed, "one@test")
    keeper.start()
    server = int(redis_client.info("server")["process_id"])
    os.kill(server, signal.SIGSTOP)
    try:
        keeper.timed_out("hang", task_id, 1.0)  # comes back, though nobody answers
    finally:
        os.kill(server, signal.SIGCONT)
    found = ended(redis_client, task_id, 20)
    keeper.stop()
    assert found.error is not None
    assert (found.state, found.error["type"]) == ("dead", "TimeLimitExceeded")


def test_the_limit_of_an_older_attempt_ends_no_newer_one(redis_client: redis.Redis, deployed: Deployment) -> None:
    """An outage outlived the lease; the call was put back and begun again, on the same worker."""
    task_id = submit(redis_client, deployed, Call("hang"))
    assert not isinstance(claim(redis_client, task_id, "one@test"), str)
    keeper = Keeper(connect(deployed.settings.broker_url), deployed, "one@test")
    keeper.start()
    keeper.timed_out("hang", task_id, 60.0)
    keeper.stop()  # what was left to write is written
    assert known(redis_client, task_id).state == "running"


def test_a_flag_looks_at_the_record_now_and_then(redis_client: redis.Redis, deployed: Deployment) -> None:
    task_id = submit(redis_client, deployed, Call("add", {"a": 1}))
    attempt = claim(redis_client, task_id, "one@test")
    assert not isinstance(attempt, str)
    flag = StopFlag(redis_client, task_id, attempt.fence)
    assert not flag()
    before = redis_client.info("stats")["total_commands_processed"]
    for _ in range(1000):
        flag()
    assert redis_client.info("stats")["total_commands_processed"] - before < 50
    cancel(redis_client, deployed, task_id)
    until(flag)
    assert StopFlag(connect("redis://127.0.0.1:1/0"), task_id, attempt.fence)() is False
