"""What is counted of calls: for the whole system in Redis, written in the step that ends an attempt; here it is read.

So a count is exact: an end is counted once, whoever writes it, and no restart loses it. A worker keeps the same of its
own ends (runtime/attempts/tally.py). What functions do beside (batches, removals) is counted here, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio

from runtime import keys
from runtime.broker.scripts import run_text
from runtime.values.histogram import INFINITE, RETRIES, SECONDS, Histogram

BATCHES, CHANGES, COUNTED = "batches", "changes", "counted"
"""What else is counted: batches of vectors by index, changes that a trigger handed out, what functions count."""

MOST_NAMES = 2000
"""So many things are counted at most; a further one is not."""

NAMES = (
    keys.METRICS_TIMES,
    keys.METRICS_RETRIES,
    keys.METRICS_FAILURES,
    keys.METRICS_SUCCEEDED,
    keys.METRICS_COUNTS,
    keys.TOTALS,
)
"""The hashes that `decode` takes, in this order."""

Pair = tuple[str, str]

# KEYS: the hash.  ARGV: how many fields it may have, field, by how much, …
# A script, since a plain command would be refused at the broker's memory limit.
_COUNT = """#!lua flags=allow-oom
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 or redis.call('HLEN', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
"""


@dataclass(slots=True)
class Counts:
    """Ends by (function, state), failures by (function, type of error), repeated attempts by function; how long
    attempts ran and had waited by (function, queue), how long calls took and how often they were retried by function.
    """

    ends: Counter[Pair] = field(default_factory=Counter)
    failures: Counter[Pair] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    runs: dict[Pair, Histogram] = field(default_factory=dict)
    waits: dict[Pair, Histogram] = field(default_factory=dict)
    latencies: dict[str, Histogram] = field(default_factory=dict)
    repeats: dict[str, Histogram] = field(default_factory=dict)
    succeeded: dict[str, float] = field(default_factory=dict)
    """The newest success of each function, in seconds since the epoch."""
    lags: dict[Pair, Histogram] = field(default_factory=dict)
    """By (trigger, bucket): from a change of an object to its call."""
    others: Counter[Pair] = field(default_factory=Counter)
    """By (what, of which)."""


def count(client: redis.Redis, what: str, of: Mapping[str, int]) -> None:
    """Count something that is done beside calls. A broker that is away is no reason to fail: the count is lost then."""
    _add(client, keys.METRICS_COUNTS, MOST_NAMES, {f"{what}\n{name}": number for name, number in of.items()})


def lag(client: redis.Redis, trigger: str, bucket: str, seconds: Sequence[float]) -> None:
    """Count how long after their change objects were handed out."""
    found = Counter(bisect_left(SECONDS, one) for one in seconds)
    field = f"lag\n{trigger}\n{bucket}\n"
    bounds = [f"{bound * 1000:.0f}" for bound in SECONDS] + ["inf"]
    given = {f"{field}{bounds[at]}": number for at, number in found.items()}
    _add(client, keys.METRICS_TIMES, 10**6, {**given, f"{field}sum": round(sum(seconds) * 1000)})


def _add(client: redis.Redis, name: str, most: int, numbers: Mapping[str, int]) -> None:
    given = [part for field, number in numbers.items() if number for part in (field, number)]
    if given:
        with suppress(redis.RedisError):
            run_text(client, _COUNT, [name], [most, *given])


def decode(found: list[dict[bytes, bytes]]) -> Counts:
    """What the hashes `NAMES` hold."""
    times, retried, failures, succeeded, others, totals = found
    counts = Counts(
        failures=_paired(failures),
        retries=Counter({name.decode(): int(value) for name, value in retried.items()}),
        succeeded={name.decode(): int(value) / 1000 for name, value in succeeded.items()},
        others=_paired(others),
    )
    for name, value in totals.items():
        function, _, state = name.decode().rpartition(":")
        counts.ends[function, state] = int(value)
    for name, value in times.items():
        kind, function, queue, bound = name.decode().split("\n")
        unit = 1 if kind == "retries" else 1000
        if (histogram := _place(counts, kind, function, queue)) is None:
            continue
        if bound == "sum":
            histogram.total = int(value) / unit
        else:
            histogram.add(INFINITE if bound == "inf" else int(bound) / unit, int(value))
    _add_those_without_retries(counts)
    return counts


async def read_async(client: redis.asyncio.Redis) -> Counts:
    """Raises redis errors."""
    async with client.pipeline(transaction=False) as pipe:
        for name in NAMES:
            pipe.hgetall(name)
        found: list[dict[bytes, bytes]] = await pipe.execute()
    return decode(found)


def _add_those_without_retries(counts: Counts) -> None:
    """Most calls are not retried, and the scripts count only those that are: the rest is what ended besides."""
    ended = Counter[str]()
    for (function, state), number in counts.ends.items():
        ended[function] += number if state != "cancelled" else 0
    for function, number in ended.items():
        histogram = counts.repeats.setdefault(function, Histogram(RETRIES))
        histogram.add(0.0, max(0, number - sum(histogram.counts)))


def _place(counts: Counts, kind: str, function: str, queue: str) -> Histogram | None:
    """Where a kind of measurement is kept; None for one that only another version knows."""
    if kind == "latency":
        return counts.latencies.setdefault(function, Histogram(SECONDS))
    if kind == "retries":
        return counts.repeats.setdefault(function, Histogram(RETRIES))
    pairs = {"run": counts.runs, "wait": counts.waits, "lag": counts.lags}.get(kind)
    return None if pairs is None else pairs.setdefault((function, queue), Histogram(SECONDS))


def _paired(found: Any) -> Counter[Pair]:
    counted = Counter[Pair]()
    for name, value in found.items():
        first, _, second = name.decode(errors="replace").partition("\n")
        counted[first, second] = int(value)
    return counted
