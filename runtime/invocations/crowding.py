"""On what terms a request's call is accepted: the limits of its tenant, how much may wait before it, and the share of
its queue that its tenant has. Lua decides (lua/_overload.lua), in the step that records the call.

What is not a request (a bucket's, a schedule's or a function's own call) and what an outbox has accepted is never
refused.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from runtime.callers import tenant_limits
from runtime.config.settings import Function, Project
from runtime.errors import LimitReached, Overloaded
from runtime.values.units import format_duration

if TYPE_CHECKING:
    from runtime.invocations.submit import Call

PER_TENANT = 100
"""Calls of one tenant and priority that stand in a queue at once where functions.yaml has `tenants:` and its queue no
`per_tenant`: enough for 50 processes to have the next call when one ends."""

LONGEST_SECONDS = 3600


def terms(project: Project, spec: Function, call: Call, priority: int, key: object = None) -> str:
    """What _submit.lua asks before it accepts a call (JSON); empty where there is nothing to ask. `key`: the value of
    its concurrency key."""
    if not call.caller:
        return ""
    asked: dict[str, Any] = {}
    if call.accepted is None:
        asked = tenant_limits.of_call(project, call.tenant, call.caller)
        if spec.overload is not None:
            asked["before"] = _before(spec, call.tenant, priority)
            if key is not None:
                asked["before"]["key"] = f"key:{spec.name}:{key}"
    if share := share_of(project, spec.queue):
        asked["share"] = {"gate": f"tenant:{spec.queue}:{call.tenant}:{priority}", "most": share}
    return json.dumps({"quotas": [], "rates": [], **asked}) if asked else ""


def share_of(project: Project, queue: str) -> int | None:
    """How many calls of one tenant and priority may stand in a queue; None: tenants are not told apart in it."""
    declared = project.queues.get(queue)
    if declared is not None and declared.per_tenant is not None:
        return declared.per_tenant
    return PER_TENANT if project.tenants else None


def refused(told: bytes) -> LimitReached:
    """What the script says of the terms that are not kept, as what is raised."""
    found = json.loads(told)
    if found["what"] not in ("waiting", "oldest"):
        return tenant_limits.reached(told)
    wait = min(LONGEST_SECONDS, max(1, math.ceil(found["wait"] / 1000)))
    if found["what"] == "waiting":
        why = f"{found['count']} calls wait before it, and {found['most']} may (overload.waiting)"
    else:
        age, oldest = (format_duration(round(found[name] / 1000, 1)) for name in ("age", "oldest"))
        why = f"the first of {found['count']} before it has waited for {age}, at most {oldest} may be (overload.oldest)"
    pace = f"{found['rate']:.3g} go in a second" if found.get("rate") else "none of them has gone lately"
    whose = "Your tenant has too much waiting for" if found["mine"] else "Too much waits for"
    message = f"{whose} {found['name']}: {why}; {pace}. Try again in {wait} s."
    return LimitReached(message, wait) if found["mine"] else Overloaded(message, wait)


def _before(spec: Function, tenant: str, priority: int) -> dict[str, Any]:
    overload = spec.overload
    asked: dict[str, Any] = {"name": spec.name, "queue": spec.queue, "priority": priority, "tenant": tenant}
    if spec.gather is not None:
        asked["gathered"] = True
    if overload is not None and overload.waiting is not None:
        asked["most"] = overload.waiting
    if overload is not None and overload.oldest is not None:
        asked["oldest"] = round(overload.oldest * 1000)
    return asked
