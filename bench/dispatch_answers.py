"""From a call to its answer: everybody in turn, at half load, with 256 clients, and what it takes of the processor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench import memory
from bench.common import cpu_seconds
from bench.dispatch_house import LOADS, House, Plan
from bench.dispatch_lines import Lines, share
from bench.dispatch_peers import Ended, none_failed


def answers(house: House, lines: Lines, plan: Plan, cells: Sequence[tuple[str, int]]) -> None:
    """From a call to its answer, everybody in turn."""
    for load, clients in cells:
        function, given = LOADS[load]
        seconds: dict[str, list[float]] = defaultdict(list)
        rates: dict[str, list[float]] = defaultdict(list)
        errors: dict[str, str] = {}
        for _ in range(plan.rounds):
            for one in (house.ours, *house.peers):
                if clients > one.clients or one.name in errors:
                    continue
                order = {"function": function, "given": given, "clients": clients, "seconds": plan.seconds}
                try:
                    with one.awake():
                        told = one.client.ask("calls", **order)
                except Ended as error:
                    errors[one.name] = str(error)
                    continue
                if told["errors"]:
                    errors[one.name] = f"{told['errors']} calls failed, the first: {told['error']}"
                else:
                    seconds[one.name] += told["seconds"]
                    rates[one.name].append(len(told["seconds"]) / told["took"])
        if house.ours.name in errors:
            raise SystemExit(f"{load}, {clients} clients: {errors[house.ours.name]}")
        for one in house.peers:
            name = f"answer_{load}_{clients}_vs_{one.name}"
            if (load, clients, one.name) == ("noop", 1, "celery"):
                name = "sync_p50"
            _compared(lines, name, one.name, seconds, rates, house.ours.name, errors.get(one.name))


def _compared(
    lines: Lines,
    name: str,
    peer: str,
    seconds: Mapping[str, list[float]],
    rates: Mapping[str, list[float]],
    ours: str,
    error: str | None,
) -> None:
    if error:
        lines.tell(name, seconds[ours], "s", peer_name=peer, error=error)
    elif seconds.get(peer):
        p99 = {"p99": share(seconds[ours], 0.99), "peer_p99": share(seconds[peer], 0.99)}
        rate = {"rate": max(rates[ours]), "peer_rate": max(rates[peer])}
        more = {key: float(f"{value:.4g}") for key, value in (p99 | rate).items()}
        lines.tell(name, seconds[ours], "s", seconds[peer], peer, **more)


def half_load(house: House, lines: Lines, plan: Plan) -> None:
    """Calls at even intervals, half as many as could be answered just before; as often as all else, for a stall is soon
    a p99. Of the most that was ever answered, half would be nearly all that a machine can do whose neighbours are busy.
    """
    noop = {"function": "noop", "given": {}}
    p99, p50, rates, calls = list[float](), list[float](), list[float](), 0
    for _ in range(plan.rounds):
        full = house.ours.client.ask("calls", **noop, clients=16, seconds=plan.steady_seconds / 4)
        none_failed(full, "full load")
        rates.append(len(full["seconds"]) / full["took"] / 2)
        told = house.ours.client.ask("paced", **noop, clients=64, seconds=plan.steady_seconds, rate=rates[-1])
        none_failed(told, "half load")
        p99.append(share(told["seconds"], 0.99))
        p50.append(share(told["seconds"], 0.5))
        calls += len(told["seconds"])
    lines.tell(
        "p99_at_half_load", p99, "s", p50, "our own p50 at this load", rates=list(map(round, rates)), n_calls=calls
    )


def many_clients(house: House, lines: Lines, plan: Plan) -> None:
    """256 clients at once: none is refused, all are served alike, and nothing grows."""

    def resident() -> int:
        return sum(memory.status("VmRSS", pid) for pid in (house.gateway, house.worker))

    order = {"function": "noop", "given": {}, "clients": plan.many}
    first = house.ours.client.ask("calls", seconds=plan.steady_seconds / 4, **order)
    before = resident()
    told = house.ours.client.ask("calls", seconds=plan.steady_seconds, **order)
    after = resident()
    error = {"error": told["error"] or first["error"]} if told["errors"] or first["errors"] else {}
    lines.tell("clients_256_errors", [first["errors"] + told["errors"]], "calls", **error)
    least, most = told["each"]
    lines.tell("clients_256_fairness", [least], "calls of the client served least", [most], "served most")
    lines.tell("clients_256_memory", [after], "bytes", [before], "after a fifth of the time")
    lines.tell("clients_256_p99", [share(told["seconds"], 0.99)], "s", [share(told["seconds"], 0.5)], "p50")


def processor(house: House, lines: Lines, plan: Plan) -> None:
    """Processor time of a call and its answer: all of our processes, the broker and the client."""
    celery = house.peer("celery")
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(plan.rounds):
        for one in (house.ours, celery):
            if one:
                pids = [house.root] if one is house.ours else [*one.pids, *(_broker_pid(house) or ())]
                before = sum(cpu_seconds(pid) + memory.processor(pid) for pid in pids)
                told = one.client.ask("calls", function="noop", given={}, clients=1, seconds=plan.seconds * 4)
                used = sum(cpu_seconds(pid) + memory.processor(pid) for pid in pids) - before + told["cpu"]
                found[one.name].append(used / len(told["seconds"]))
    lines.tell("sync_cpu", found[house.ours.name], "s of processor time", found["celery"], "celery" if celery else "")


def _broker_pid(house: House) -> list[int]:
    told: Any = house.broker.info("server")
    return [int(told["process_id"])]
