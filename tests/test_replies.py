"""The word that a call has ended brings a small answer along; a large one is read from the record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from gateway.calls.replies import Replies
from runtime.attempts.attempt import claim, finish
from runtime.broker.connection import connect_async
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import Invocation
from runtime.invocations.submit import Call, submit
from tests.workers import SAMPLES, until

FILE = SAMPLES / "basic" / "functions.yaml"


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
def test_an_answer_comes_with_its_word(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    async def main() -> Invocation | None:
        client, listener = connect_async(broker_url), connect_async(broker_url, timeout=None)
        replies = Replies(client, listener, "gateway")
        hgetall = client.hgetall

        def counted(name: str) -> Any:
            reads.append(name)
            return hgetall(name)

        monkeypatch.setattr(client, "hgetall", counted)
        listening = asyncio.create_task(replies.listen())
        with replies.expect("call") as answer:
            await asyncio.to_thread(until, lambda: redis_client.pubsub_numsub("tundish:reply:gateway")[0][1])
            await asyncio.to_thread(_run, redis_client, deployed, size)
            found = await replies.result(answer, "call", 30)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await replies.close()
        await client.aclose()
        return found

    found = asyncio.run(main())
    assert found is not None
    assert (found.id, found.state, found.function, found.attempts) == ("call", "succeeded", "add", 1)
    assert found.result_json == b"x" * size
    assert found.seconds is not None
    assert len(reads) == (0 if size < 16_384 else 1)


def _run(client: redis.Redis, deployed: Deployment, size: int) -> None:
    submit(client, deployed, Call("add", {"a": 1}, id="call", reply_to="gateway"))
    attempt = claim(client, "call", "worker")
    assert not isinstance(attempt, str)
    finish(client, deployed.find("add").spec, attempt, "succeeded", {"result": b"x" * size})


def test_whose_time_is_over_sees_the_record_as_it_is(
    broker_url: str, redis_client: redis.Redis, deployed: Deployment
) -> None:
    submit(redis_client, deployed, Call("add", {"a": 1}, id="call", reply_to="gateway"))

    async def main() -> Invocation | None:
        client, listener = connect_async(broker_url), connect_async(broker_url, timeout=None)
        replies = Replies(client, listener, "gateway")
        with replies.expect("call") as answer:
            found = await replies.result(answer, "call", 0.01)
        await replies.close()
        await client.aclose()
        return found

    found = asyncio.run(main())
    assert found is not None
    assert found.state == "queued"
