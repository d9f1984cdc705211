"""Calls a second: accepted, worked off, and both; and those of functions that gather."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from bench.dispatch_house import House, Plan
from bench.dispatch_lines import Lines
from bench.dispatch_peers import Running, none_failed

_WAIT_SECONDS = 120.0
KINDS = ("accepted", "drained", "completed")
NAMED = {("accepted", "flower"): "async_vs_flower", ("accepted", "celery"): "async_vs_celery_enqueue"}


def counted(house: House, lines: Lines, plan: Plan) -> None:
    """Calls a second: accepted while no worker runs, worked off from a full queue, and both at once (completed)."""
    queues = [one for one in (house.ours, *house.peers) if one.queue]
    ways: dict[str, int] = {}
    rates: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in KINDS}
    errors: dict[str, str] = {}
    for _ in range(plan.rounds):
        for one in queues:
            # Behind Flower there is the worker of plain Celery.
            behind = house.peer("celery") if one.name == "flower" else one
            if behind is None or one.name in errors:
                continue
            try:
                with behind.awake():
                    found = _counted(one, behind, plan, ways)
                for kind, rate in zip(KINDS, found, strict=True):
                    rates[kind][one.name].append(rate)
            except SystemExit as error:
                if one is house.ours:
                    raise
                errors[one.name] = str(error)
    for kind, by_name in rates.items():
        for one in queues[1:]:
            metric = NAMED.get((kind, one.name), f"{kind}_vs_{one.name}")
            if one.name in errors:
                lines.tell(metric, by_name[house.ours.name], "calls/s", peer_name=one.name, error=errors[one.name])
            elif one.name in ways:
                clients = {"clients": ways[house.ours.name], "peer_clients": ways[one.name]}
                lines.tell(metric, by_name[house.ours.name], "calls/s", by_name[one.name], one.name, **clients)


def _counted(one: Running, behind: Running, plan: Plan, ways: dict[str, int]) -> tuple[float, float, float]:
    """The three rates of one; with 1 or 16 clients, whatever lets more of its calls in."""
    count = max(20, int(one.count * plan.share))
    if one.name not in ways:
        tried = {way: _filled(one, behind, "noop", {}, way, count)[0] for way in (1, 16)}
        ways[one.name] = max(tried, key=lambda way: tried[way])
    accepted, drained = _filled(one, behind, "noop", {}, ways[one.name], count)
    return accepted, drained, _completed(one, behind, ways[one.name], count)


def gathered(house: House, lines: Lines, plan: Plan) -> None:
    """Functions that declare `gather`, against plain Celery's tasks one by one."""
    celery = house.peer("celery")
    ours: dict[str, list[float]] = defaultdict(list)
    theirs: dict[str, list[float]] = defaultdict(list)
    count = max(20, int(celery.count * plan.share)) if celery else 0
    for _ in range(plan.rounds if celery else 0):
        assert celery
        ours["drained"].append(_filled(house.ours, house.ours, "gathered", {"item": "x"}, 16, plan.gathered)[1])
        ours["completed"].append(_completed(house.ours, house.ours, 16, plan.gathered, "gathered", {"item": "x"}))
        theirs["drained"].append(_filled(celery, celery, "noop", {}, 1, count)[1])
        theirs["completed"].append(_completed(celery, celery, 1, count))
    if celery:
        for kind, name in (("drained", "gathered_vs_celery"), ("completed", "gathered_over_http_vs_celery")):
            lines.tell(name, ours[kind], "calls/s", theirs[kind], "celery", calls=plan.gathered)


def _filled(
    one: Running, behind: Running, function: str, given: Mapping[str, Any], clients: int, count: int
) -> tuple[float, float]:
    """Calls a second that are accepted while no worker runs, and that the workers then work off."""
    before = behind.ended()
    behind.signal(signal.SIGSTOP)
    try:
        told = one.client.ask("sends", function=function, given=given, clients=clients, count=count)
    finally:
        behind.signal(signal.SIGCONT)
    began = time.perf_counter()
    none_failed(told, one.name)
    _until(lambda: behind.ended() - before >= count, one.name)
    return count / told["took"], count / (time.perf_counter() - began)


def _completed(
    one: Running,
    behind: Running,
    clients: int,
    count: int,
    function: str = "noop",
    given: Mapping[str, Any] | None = None,
) -> float:
    """Calls a second from the first one sent to the last one ended."""
    before, began = behind.ended(), time.perf_counter()
    none_failed(one.client.ask("sends", function=function, given=given or {}, clients=clients, count=count), one.name)
    _until(lambda: behind.ended() - before >= count, one.name)
    return count / (time.perf_counter() - began)


def _until(check: Callable[[], bool], who: str) -> None:
    give_up = time.monotonic() + _WAIT_SECONDS
    while not check():
        if time.monotonic() > give_up:
            raise SystemExit(f"{who}: its calls have not ended within {_WAIT_SECONDS:g} s")
        time.sleep(0.005)
