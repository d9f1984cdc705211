"""How invocations ended: all of them by function and state, and the newest."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import redis

from runtime import keys
from runtime.broker.connection import translated
from runtime.config.settings import Retention
from runtime.invocations.invocation import TERMINAL

NEWEST = 1000


def totals(client: redis.Redis) -> dict[str, dict[str, int]]:
    """Function → state → how many ended so, ever. Raises BrokerDown."""
    found: dict[str, dict[str, int]] = {}
    with translated():
        fields: dict[bytes, bytes] = client.hgetall(keys.TOTALS)  # type: ignore[assignment]
    for name, count in sorted(fields.items()):
        function, _, state = name.decode().rpartition(":")
        found.setdefault(function, {})[state] = int(count)
    return found


def newest(client: redis.Redis, retention: Retention) -> dict[str, Any]:
    """How the newest thousand ended. No older ones are counted than successes are kept: they would only be failures.

    `success_rate` leaves the cancelled out; None where nothing ended. Raises BrokerDown.
    """
    since = time.time() - min(retention.succeeded, retention.failed)
    states, most = sorted(TERMINAL), min(NEWEST, retention.count)
    with translated(), client.pipeline(transaction=False) as pipe:
        for state in states:
            pipe.zrevrangebyscore(keys.ended(state), "+inf", int(since * 1000), start=0, num=most, withscores=True)
        answers: list[Any] = pipe.execute()
    ends = [(score, state) for state, found in zip(states, answers, strict=True) for _, score in found]
    counts = Counter(state for _, state in sorted(ends, reverse=True)[:most])
    judged = sum(counts.values()) - counts["cancelled"]
    return {
        "count": sum(counts.values()),
        "since": since,
        "states": {state: counts[state] for state in states},
        "success_rate": counts["succeeded"] / judged if judged else None,
    }
