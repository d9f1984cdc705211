"""Handing over what waited in an outbox: in its order, and once, whenever a process or the broker dies."""

from __future__ import annotations

import time
from dataclasses import replace

import redis

from runtime import keys
from runtime.config.settings import Function
from runtime.deployment.deployment import Deployed, Deployment
from runtime.invocations.submit import Call, submit_with
from runtime.outbox.kept_call import Kept
from runtime.outbox.outbox import Waiting

_REMEMBERED_SECONDS = 30 * 86400

# How far a box was delivered stands beside the records: they are there together, and lost together.
_GUARD = """
if tonumber(redis.call('GET', GKEYS[1]) or '-1') >= tonumber(GARGV[1]) then return false end
redis.call('SET', GKEYS[1], GARGV[1], 'EX', GARGV[2])
return true
"""


def deliver(client: redis.Redis, deployment: Deployment, waiting: Waiting) -> None:
    """Submit a call, unless that was done already. Raises BrokerDown, BrokerFull."""
    deployment = _with_function(deployment, waiting.kept)
    call = _aged(waiting.kept, deployment)
    names, arguments = [keys.outbox(waiting.box)], [waiting.position, _REMEMBERED_SECONDS]
    submit_with(client, deployment, call, _GUARD, names, arguments)


def _aged(kept: Kept, deployment: Deployment) -> Call:
    """The call with what is left of its times. One whose time is over is submitted, too: its record says so.

    `expires` counts from the end of `delay`; less than nothing is left of it where it is over.
    """
    call, age = kept.call, max(0.0, time.time() - kept.accepted)
    delay = max(0.0, call.delay - age)
    expires = deployment.find(call.function).spec.expires if call.expires is None else call.expires
    left = None if expires is None else call.delay + expires - age - delay
    return replace(call, delay=delay, expires=left, accepted=kept.accepted)


def _with_function(deployment: Deployment, kept: Kept) -> Deployment:
    """The deployment; a function that is gone by now is added as it was, for the reaper to end the call."""
    name = kept.call.function
    if name in deployment.functions:
        return deployment
    spec = Function(name=name, handler="", queue=kept.queue, priority=kept.priority)
    return Deployment(deployment.settings, {**deployment.functions, name: Deployed(spec)})
