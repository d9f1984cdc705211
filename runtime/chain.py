"""on_success and on_failure: what follows an invocation. Several parents that come together become one call.

A parent's word is written with its success, in one step, to a list; this module turns the list into calls. The
first goes at once; while a call is out, parents gather; after it, those wait until none has come for `debounce`, at
most `max_wait` from the first.
"""

from __future__ import annotations

import time
from typing import Any

import msgpack
import redis

from runtime import keys
from runtime.config import Chain
from runtime.deployment import Deployment
from runtime.invocations import TERMINAL
from runtime.submit import Call, new_id, submit_with

MAX_PARENTS = 1000
_NEVER_ENDED = float("-inf")

# Take exactly the parents that the call names, unless a call is out or another process was faster.
_GUARD = """
local active = redis.call('GET', GKEYS[2])
if active and active ~= GARGV[3] then return false end
if redis.call('LINDEX', GKEYS[1], 0) ~= GARGV[1] then return false end
redis.call('LTRIM', GKEYS[1], GARGV[2], -1)
redis.call('SET', GKEYS[2], GARGV[4])
if redis.call('LLEN', GKEYS[1]) == 0 then redis.call('SREM', GKEYS[3], GKEYS[1]) end
return true
"""


def due(policy: Chain, first: float, last: float, ended: float, now: float) -> bool:
    """Whether waiting parents go now: pure. Times are seconds; `ended` is when the last call of the chain ended."""
    idle = first >= ended  # those that came while a call was out gather; a later one finds nobody at work
    return idle or now - last >= policy.debounce or now - first >= policy.max_wait


def pump(client: redis.Redis, deployment: Deployment, function: str) -> str | None:
    """Call `function` for its waiting parents, if it is time; the new invocation's id, or None."""
    with client.pipeline(transaction=False) as pipe:
        pipe.lrange(keys.chain(function), 0, MAX_PARENTS - 1)
        pipe.get(keys.chain_active(function))
        pipe.get(keys.chain_ended(function))
        answers: list[Any] = pipe.execute()
    waiting, active, ended = answers
    if not waiting or function not in deployment.functions:
        return None
    if active and not _is_over(client, active.decode()):
        return None
    parents: list[dict[str, Any]] = [msgpack.unpackb(word, raw=False) for word in waiting]
    policy = _policy(deployment, parents[-1]["function"], function)
    ended_at = int(ended) / 1000 if ended else _NEVER_ENDED
    if not due(policy, parents[0]["at"], parents[-1]["at"], ended_at, time.time()):
        return None
    task_id = new_id()
    call = Call(
        function,
        policy.arguments,
        trigger="chain",
        id=task_id,
        root=parents[0]["root"] if len({parent["root"] for parent in parents}) == 1 else None,
        parent=parents[0]["id"],
        parents=[{key: parent[key] for key in ("id", "function", "result")} for parent in parents],
        tenant=parents[0]["tenant"],
        chained=True,
    )
    guard_keys = [keys.chain(function), keys.chain_active(function), keys.CHAINS]
    return submit_with(client, deployment, call, _GUARD, guard_keys, [waiting[0], len(waiting), active or b"", task_id])


def pump_all(client: redis.Redis, deployment: Deployment) -> None:
    """Look after every chain that has waiting parents: those that became due, and those a crash left behind."""
    names: set[bytes] = client.smembers(keys.CHAINS)  # type: ignore[assignment]
    for name in names:
        pump(client, deployment, name.decode().removeprefix(keys.chain("")))


def _policy(deployment: Deployment, parent: str, function: str) -> Chain:
    deployed = deployment.functions.get(parent)
    policy = deployed.spec.on_success if deployed else None
    return policy if policy and policy.function == function else Chain(function=function)


def _is_over(client: redis.Redis, task_id: str) -> bool:
    state: bytes | None = client.hget(keys.invocation(task_id), "state")  # type: ignore[assignment]
    return state is None or state.decode() in TERMINAL
