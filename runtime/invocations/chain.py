"""on_success and on_failure: what follows an invocation. Several parents that come together become one call.

A parent's word is written with its success, in one step, to a list; this module turns the list into calls. The
first goes at once; while a call is out, parents gather; after it, those wait until none has come for `debounce`, at
most `max_wait` from the first.
"""

from __future__ import annotations

import itertools
import logging
import time
from typing import Any

import msgpack
import redis

from runtime import keys
from runtime.config.settings import Chain
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import TERMINAL
from runtime.invocations.submit import Call, new_id, submit_with
from runtime.security.principal import DEFAULT_TENANT

MAX_PARENTS = 1000
MAX_BYTES = 8 * 2**20
"""Words of parents, with their results, that one call is told at once; the next call gets the rest."""

FORGET_SECONDS = 600.0
"""How long parents wait for a function that nobody declares any more."""

log = logging.getLogger("tundish.chain")

_TOLD = ("id", "function", "state", "result", "result_ref", "result_type", "trace")
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
        pipe.get(keys.chain_active(function))
        pipe.get(keys.chain_ended(function))
        pipe.lindex(keys.chain(function), 0)
        pipe.lindex(keys.chain(function), -1)
        answers: list[Any] = pipe.execute()
    active, ended, *ends = answers
    if ends[0] is None or (active and not _is_over(client, active.decode())):
        return None
    first, last = (_unpack(word) for word in ends)
    if function not in deployment.functions:
        _forget(client, function, first)
        return None
    policy = _policy(deployment, last["function"], function)
    ended_at = int(ended) / 1000 if ended else _NEVER_ENDED
    if not due(policy, first["at"], last["at"], ended_at, time.time()):
        return None
    waiting: Any = client.lrange(keys.chain(function), 0, MAX_PARENTS - 1)
    if not waiting:  # another process was faster
        return None
    sizes = itertools.accumulate(len(word) for word in waiting)
    waiting = waiting[: max(1, sum(size <= MAX_BYTES for size in sizes))]
    parents = [_unpack(word) for word in waiting]
    system = deployment.functions[function].spec.role == "admin"
    if not system:  # what follows belongs to one tenant, but for what works for all of them
        parents = list(itertools.takewhile(lambda parent: parent["tenant"] == first["tenant"], parents))
        waiting = waiting[: len(parents)]
    task_id = new_id()
    call = Call(
        function,
        policy.arguments,
        trigger="chain",
        id=task_id,
        root=parents[0]["root"] if len({parent["root"] for parent in parents}) == 1 else None,
        parent=parents[0]["id"],
        parents=[{key: parent.get(key) for key in _TOLD} for parent in parents],
        trace=next((parent["trace"] for parent in parents if parent.get("trace")), None),
        tenant=DEFAULT_TENANT if system else first["tenant"],
        hops=max(parent.get("hops", 0) for parent in parents),
        chained=True,
    )
    guard_keys = [keys.chain(function), keys.chain_active(function), keys.CHAINS]
    return submit_with(client, deployment, call, _GUARD, guard_keys, [waiting[0], len(waiting), active or b"", task_id])


def pump_all(client: redis.Redis, deployment: Deployment) -> None:
    """Look after every chain that has waiting parents: those that became due, and those a crash left behind."""
    names: set[bytes] = client.smembers(keys.CHAINS)  # type: ignore[assignment]
    for name in names:
        pump(client, deployment, name.decode().removeprefix(keys.chain("")))


def _unpack(word: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgpack.unpackb(word, raw=False, strict_map_key=False)
    return found


def _forget(client: redis.Redis, function: str, first: dict[str, Any]) -> None:
    if time.time() - first["at"] > FORGET_SECONDS:
        log.warning("%s is no longer declared; what should have followed [%s] is dropped", function, first["id"])
        client.delete(keys.chain(function))
        client.srem(keys.CHAINS, keys.chain(function))


def _policy(deployment: Deployment, parent: str, function: str) -> Chain:
    deployed = deployment.functions.get(parent)
    policy = deployed.spec.on_success if deployed else None
    return policy if policy and policy.function == function else Chain(function=function)


def _is_over(client: redis.Redis, task_id: str) -> bool:
    state: bytes | None = client.hget(keys.invocation(task_id), "state")  # type: ignore[assignment]
    return state is None or state.decode() in TERMINAL
