"""How every bucket trigger is doing: what wakes it, its last listing, what is out, a loss that is held."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from typing import Any

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.buckets import source_state
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Guard, Project
from runtime.invocations import pause


def read(client: redis.Redis, project: Project) -> list[tuple[Watch, dict[str, Any]]]:
    """Each trigger with what is known of it, but for the counts of its ledger. Raises BrokerDown.

    `listing` is {"ended", "took", "objects"}, `held` {"count", "known", "at", "confirmed"}, `lost` {"at", "objects"} (a
    ledger that was lost and made anew), `source` that of runtime/buckets/source_state.py with `standing`, `paused`
    {"since", "reason"}, `budget` what `_budget` tells; None where there is none. Times are seconds since the epoch.
    """
    known, resting = watches(project), pause.paused(client)
    sources = source_state.read(client, project.buckets())
    with translated(), client.pipeline(transaction=False) as pipe:
        for watch in known:
            pipe.hlen(watch.flight)
            pipe.get(keys.listing(watch.name, watch.trigger.bucket))
            pipe.get(watch.hold)
            pipe.get(keys.lost(watch.name, watch.trigger.bucket))
            pipe.hmget(keys.budget(watch.name, watch.trigger.bucket), "minute", "objects", "bytes")
        pipe.time()
        *answers, (now, _) = pipe.execute()
    found = []
    for number, watch in enumerate(known):
        out, *told_by, spent = answers[5 * number : 5 * number + 5]
        listing, held, lost = (json.loads(raw) if raw else None for raw in told_by)
        trigger, source = watch.trigger, sources.get(watch.trigger.bucket)
        told = {
            "name": watch.name,
            "function": watch.function.name,
            "bucket": trigger.bucket,
            "prefix": trigger.prefix,
            "index": trigger.index,
            "source": {**asdict(source), "standing": source.standing} if source else None,
            "wanted_source": trigger.source.kind,
            "in_flight": out,
            "most_in_flight": trigger.in_flight,
            "listing": listing,
            "held": held,
            "lost": lost,
            "budget": _budget(trigger.guard, [int(value or 0) for value in spent], now),
            "paused": next((resting["trigger", name] for name in watch.names if ("trigger", name) in resting), None),
        }
        found.append((watch, told))
    return found


def _budget(guard: Guard, spent: Sequence[int], now: int) -> dict[str, Any] | None:
    """What was handed out in this minute, which is the broker's, and of how much; None where nothing limits it.

    `spent`: no more goes in it, or no further object of the size that those had so far. `seconds`: how long it lasts.
    """
    most_objects, most_bytes = guard.objects_per_minute, guard.bytes_per_minute
    if most_objects is None and most_bytes is None:
        return None
    minute, objects, size = spent
    if minute != now // 60:
        objects = size = 0
    out = objects > 0 and (objects >= (most_objects or inf) or size + size / objects > (most_bytes or inf))
    told = {"objects": objects, "bytes": size, "objects_per_minute": most_objects, "bytes_per_minute": most_bytes}
    return {**told, "spent": out, "seconds": 60 - now % 60}
