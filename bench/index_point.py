"""One size of an index, measured from its batches to its answers, each step in a fresh process."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.alone import alone
from bench.index_data import Corpus
from bench.index_house import House, house_of, plain, servers

BYTES_A_ROW = 8_000
"""What a row takes on disk over a run: its batch, its segment in the store, both again in work and cache folders."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How thorough a run is. Sizes beyond `step` are built a step at a time, as embedding would hand them out."""

    builds: int = 5
    publishes: int = 5
    searches: int = 400
    starts: int = 5
    visible: int = 20
    seconds: float = 10.0
    batch_rows: int = 500
    publish_rows: int = 1000
    step: int = 1_000_000
    peer_up_to: int = 1_000_000
    thorough_up_to: int = 100_000
    """Beyond it: one build, and half the searches."""


def measure(corpus: Corpus, size: int, plan: Plan, folder: Path | None, *, served: bool) -> dict[str, Any]:
    """Everything about an index of `size` rows; `served`: through a gateway, too."""
    needed, free = size * BYTES_A_ROW, shutil.disk_usage(folder or tempfile.gettempdir()).free
    if free < needed:
        raise SystemExit(
            f"{size} rows need about {needed / 2**30:.0f} GiB of disk and {folder or tempfile.gettempdir()} has "
            f"{free / 2**30:.0f}: name another --folder, or leave this size out."
        )
    with servers(folder) as running:
        return of(house_of(running, "size"), corpus, size, plan, served=served)


def of(place: House, corpus: Corpus, size: int, plan: Plan, *, served: bool) -> dict[str, Any]:
    """The same in an empty house that is there already. What is published more comes last: it changes the index."""
    found = {"vectors": size, "real_vectors": min(size, corpus.real), **_built(place, corpus, size, plan)}
    found |= _searched(place, corpus, size, plan)
    if served:
        found |= _served(place, corpus, size, plan)
    return found | _published(place, corpus, size, plan)


def _built(place: House, corpus: Corpus, size: int, plan: Plan) -> dict[str, Any]:
    house, data = plain(place), plain(corpus)
    rounds = plan.builds if size <= plan.thorough_up_to else 1
    builds, peers, by_hand, stores = [], [], [], []
    for number in range(rounds):
        if number:
            place.forget()
        steps = []
        for start in range(0, size, plan.step):
            end = min(start + plan.step, size)
            if not number:
                alone(
                    "index_house:fill",
                    one_core=False,
                    house=house,
                    corpus=data,
                    start=start,
                    end=end,
                    batch_rows=plan.batch_rows,
                )
            steps.append(alone("index_build:build", house=house))
        assert steps[-1]["vectors"] == size, steps[-1]
        builds.append(steps)
        if size <= plan.peer_up_to:
            peers.append(alone("index_build:faiss_alone", house=house, corpus=data, count=size))
            stores.append(alone("index_build:store_alone", house=house))
            by_hand.append(alone("index_build:faiss_by_hand", house=house))
            assert by_hand[-1]["vectors"] == size, by_hand[-1]
    return {
        "kind": builds[-1][-1]["kind"],
        "build_seconds": statistics.median(sum(step["seconds"] for step in steps) for steps in builds),
        "build_cpu_seconds": statistics.median(sum(step["cpu_seconds"] for step in steps) for steps in builds),
        "build_opened_seconds": statistics.median(sum(step["opened_seconds"] for step in steps) for steps in builds),
        "build_opened_cpu_seconds": statistics.median(
            sum(step["opened_cpu_seconds"] for step in steps) for steps in builds
        ),
        "faiss_alone_seconds": statistics.median(peer["seconds"] for peer in peers) if peers else None,
        "faiss_alone_cpu_seconds": statistics.median(peer["cpu_seconds"] for peer in peers) if peers else None,
        "faiss_by_hand_seconds": statistics.median(peer["seconds"] for peer in by_hand) if by_hand else None,
        "faiss_by_hand_cpu_seconds": statistics.median(peer["cpu_seconds"] for peer in by_hand) if by_hand else None,
        "store_alone_seconds": statistics.median(peer["seconds"] for peer in stores) if stores else None,
        "store_alone_cpu_seconds": statistics.median(peer["cpu_seconds"] for peer in stores) if stores else None,
        "build_growth_bytes": max(step["growth"] for steps in builds for step in steps),
        "build_anonymous_growth_bytes": max(step["anonymous_growth"] for steps in builds for step in steps),
        "vector_bytes": size * corpus.dimensions * 4,
        "step_vector_bytes": min(size, plan.step) * corpus.dimensions * 4,
        "stored_bytes": builds[-1][-1]["bytes"],
    }


def _searched(place: House, corpus: Corpus, size: int, plan: Plan) -> dict[str, Any]:
    rounds = plan.searches if size <= plan.thorough_up_to else plan.searches // 2
    found = alone(
        "index_search:search",
        house=plain(place),
        corpus=plain(corpus),
        count=size,
        rounds=rounds,
        peer_up_to=plan.peer_up_to,
    )
    return {f"search_{name}": value for name, value in found.items()}


def _published(place: House, corpus: Corpus, size: int, plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    start = size + plan.visible * plan.publish_rows
    for name, replace in (("publish", False), ("publish_replacing", True)):
        told = alone(
            "index_build:publish",
            house=plain(place),
            corpus=plain(corpus),
            count=start,
            rounds=plan.publishes,
            size=plan.publish_rows,
            replace=replace,
        )
        start += (plan.publishes + 1) * plan.publish_rows
        found |= {
            f"{name}_seconds": statistics.median(told["seconds"]),
            f"{name}_worst_seconds": max(told["seconds"]),
            f"{name}_first_seconds": told["first_seconds"],
            f"{name}_bytes": int(statistics.median(told["bytes"])),
        }
    return found


def _served(place: House, corpus: Corpus, size: int, plan: Plan) -> dict[str, Any]:
    house, data = plain(place), plain(corpus)
    started = alone("index_gateway:first_answer", one_core=False, house=house, corpus=data, rounds=plan.starts)
    together = alone("index_gateway:collected", house=house, corpus=data, seconds=plan.seconds)
    found = alone(
        "index_gateway:served",
        one_core=False,
        house=house,
        corpus=data,
        count=size,
        rounds=plan.visible,
        size=plan.publish_rows,
        seconds=plan.seconds,
    )
    return {
        "first_answer_seconds": statistics.median(started["seconds"]),
        "first_answer_cold_seconds": started["first_seconds"],
        "gateway_anonymous_bytes": started["anonymous_memory"],
        **{f"collected_{name}": value for name, value in together.items()},
        **{f"http_{name}": value for name, value in found["http"].items()},
        "visible_ms": statistics.median(found["visible"]) * 1000,
        "visible_worst_ms": max(found["visible"]) * 1000,
    }
