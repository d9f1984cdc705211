"""Who hears of the end of a call: triggers of theirs alone, so that no other call wakes them up."""

from __future__ import annotations

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import Attempt, claim, finish
from runtime.config.settings import StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.invocations.cancel import cancel
from runtime.invocations.submit import Call, submit
from tests import gatewaying


@pytest.fixture
def deployed(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return gatewaying.deployment(gatewaying.settings(broker_url, StoreSettings(), tmp_path_factory.mktemp("home")))


def test_triggers_hear_of_the_ends_of_their_calls(redis_client: redis.Redis, deployed: Deployment) -> None:
    spec, theirs = deployed.find("add").spec, list[str]()
    with redis_client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(keys.ENDED_CHANNEL)
        assert channel.get_message(timeout=5) is None  # it is heard from now on
        for trigger in ("http", "bucket", "cron", "function", "bucket"):
            task_id = submit(redis_client, deployed, Call("add", {"a": 1}, trigger=trigger))
            if theirs:  # one that never began ends, too
                assert cancel(redis_client, deployed, task_id)
            else:
                attempt = claim(redis_client, task_id, "hand", spec)
                assert isinstance(attempt, Attempt)
                assert finish(redis_client, spec, attempt, "succeeded", {"result": "1"})
            theirs += [task_id] if trigger == "bucket" else []
        heard = [channel.get_message(timeout=5)["data"].decode() for _ in theirs]
        assert heard == theirs
        assert channel.get_message(timeout=0.2) is None
