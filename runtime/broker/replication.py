"""New work that counts only when replicas of the broker have it, too (`broker: replicas`).

Redis answers before its replicas have what was written. A master that dies in between takes it along; so whoever wants
to lose nothing asks for them with WAIT, on the same connection and in the same round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from runtime.broker import scripts
from runtime.errors import BrokerDown

if TYPE_CHECKING:
    from runtime.broker.wire import Wire

WAIT_MS = 2000
"""How long replicas have for it. One that is a moment behind is no reason to refuse work."""


def run(client: redis.Redis, name: str, arguments: Sequence[scripts.Argument], replicas: int) -> Any:
    """Run a script that needs no keys; its answer when so many replicas have what it wrote. Raises BrokerDown."""
    if not replicas:
        return scripts.run(client, name, (), arguments)
    text = scripts.source(name)
    for known in (True, False):
        with client.pipeline(transaction=False) as pipe:
            if known:
                pipe.evalsha(scripts.sha(text), 0, *arguments)
            else:
                pipe.eval(text, 0, *arguments)
            pipe.execute_command("WAIT", replicas, WAIT_MS)  # type: ignore[no-untyped-call]
            answer, reached = pipe.execute(raise_on_error=False)
        if not (known and isinstance(answer, NoScriptError)):
            break
    return _confirmed(answer, reached, replicas)


async def run_async(
    client: redis.asyncio.Redis,
    name: str,
    arguments: Sequence[scripts.Argument],
    replicas: int,
    wire: Wire | None = None,
) -> Any:
    """`run` for asyncio. Over `wire`, if there is one: but for WAIT, which would make all others wait, too."""
    if not replicas:
        return await (wire.run(name, arguments) if wire else scripts.run_async(client, name, (), arguments))
    text = scripts.source(name)
    for known in (True, False):
        async with client.pipeline(transaction=False) as pipe:
            if known:
                pipe.evalsha(scripts.sha(text), 0, *arguments)
            else:
                pipe.eval(text, 0, *arguments)
            pipe.execute_command("WAIT", replicas, WAIT_MS)
            answer, reached = await pipe.execute(raise_on_error=False)
        if not (known and isinstance(answer, NoScriptError)):
            break
    return _confirmed(answer, reached, replicas)


def _confirmed(answer: Any, reached: Any, replicas: int) -> Any:
    for found in (answer, reached):
        if isinstance(found, Exception):
            raise found
    if reached < replicas:
        raise BrokerDown(
            f"The broker has the call, but only {reached} of {replicas} replicas have it after {WAIT_MS / 1000:g} s. "
            "It may be run all the same; ask again with the same Idempotency-Key."
        )
    return answer
