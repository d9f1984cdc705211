"""How every bucket trigger is doing: what wakes it, its last listing, what is out, a loss that is held."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import redis

from runtime import keys, pause, source_state
from runtime.broker import translated
from runtime.config import Project
from runtime.watch import Watch, watches


def read(client: redis.Redis, project: Project) -> list[tuple[Watch, dict[str, Any]]]:
    """Each trigger with what is known of it, but for the counts of its ledger. Raises BrokerDown.

    `listing` is {"ended", "took", "objects"}, `held` {"count", "known", "at", "confirmed"}, `lost` {"at", "objects"} (a
    ledger that was lost and made anew), `source` that of runtime/source_state.py, `paused` {"since", "reason"}; None
    where there is none. Times are seconds since the epoch.
    """
    known, resting = watches(project), pause.paused(client)
    sources = source_state.read(client, project.buckets())
    with translated(), client.pipeline(transaction=False) as pipe:
        for watch in known:
            pipe.hlen(watch.flight)
            pipe.get(keys.listing(watch.name, watch.trigger.bucket))
            pipe.get(watch.hold)
            pipe.get(keys.lost(watch.name, watch.trigger.bucket))
        answers: list[Any] = pipe.execute()
    found = []
    for number, watch in enumerate(known):
        out, *told_by = answers[4 * number : 4 * number + 4]
        listing, held, lost = (json.loads(raw) if raw else None for raw in told_by)
        trigger, source = watch.trigger, sources.get(watch.trigger.bucket)
        told = {
            "name": watch.name,
            "function": watch.function.name,
            "bucket": trigger.bucket,
            "prefix": trigger.prefix,
            "index": trigger.index,
            "source": asdict(source) if source else None,
            "wanted_source": trigger.source.kind,
            "in_flight": out,
            "most_in_flight": trigger.in_flight,
            "listing": listing,
            "held": held,
            "lost": lost,
            "paused": next((resting["trigger", name] for name in watch.names if ("trigger", name) in resting), None),
        }
        found.append((watch, told))
    return found
