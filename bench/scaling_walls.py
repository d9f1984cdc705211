"""What gives way first when 1,000 workers embed as fast as they can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.scaling_inputs import value
from bench.scaling_qdrant import LAYOUTS
from bench.scaling_sums import WORKERS, Sums
from bench.scaling_text import amount

_HALF = 0.5
"""Of a core: what one plans with of a broker that has one for its commands."""


@dataclass(frozen=True, slots=True)
class Wall:
    """`told`: for each case, how far it goes; `share`: the part of what 1,000 workers do that it lets through."""

    title: str
    told: Sequence[str]
    helps: str
    share: float


def walls(sums: Sequence[Sums]) -> list[Wall]:
    """What gives way, the one that lets through least first. A share is of what 1,000 workers embed."""
    chunks = [each.chunks_per_second for each in sums]
    documents = [each.documents_per_second for each in sums]
    nodes, idle = LAYOUTS[-1].nodes(2), value("idle_share")
    return sorted(
        [
            _wall(
                "`embed_all` as it is called without `in_flight`: 8 batches out",
                [value("in_flight") / (WORKERS * value("processes"))] * len(sums),
                f"`in_flight: 2000`, several runs: one has {amount(value('run_batches'))} batches at most",
            ),
            _rate(
                "one `triggers`: new objects of a bucket",
                1 / value("trigger_cpu"),
                documents,
                "files with many documents each, through `embed_all`",
            ),
            _rate(
                "one builder → Qdrant, one core",
                1 / value("builder_cpu"),
                chunks,
                "an index for each part of the documents: each has its builder",
            ),
            _wall(
                "processor of the broker, of which one plans with half a core",
                [(_HALF - idle) / (each.broker_cores - idle) for each in sums],
                "documents of many chunks; several systems with a broker each",
            ),
            _rate(
                f"graphs of Qdrant: {nodes} nodes of 8 cores, two copies",
                nodes * value("node_indexed") / 2,
                chunks,
                "more nodes, or waiting: points are taken first, and found before they are in the graph",
            ),
            _wall(
                "memory of the broker: 64 GB for the newest versions of all documents",
                [value("node_memory") / each.versions_memory for each in sums],
                "documents of many chunks; several systems with a broker each",
                ["of 10⁹ chunks"] * len(sums),
            ),
            _rate(
                "PUTs of S3 below one prefix",
                value("prefix_puts"),
                [each.batches_per_second * value("puts") for each in sums],
                "is none",
            ),
        ],
        key=lambda wall: wall.share,
    )


def _rate(title: str, most: float, needed: Sequence[float], helps: str) -> Wall:
    """`most`: a second, whoever needs it."""
    told = [f"of {amount(need)}/s" for need in needed]
    return _wall(f"{title}: {amount(most)}/s", [most / need for need in needed], helps, told)


def _wall(title: str, shares: Sequence[float], helps: str, of: Sequence[str] = ()) -> Wall:
    words = [
        f"**{amount(share)}** {more}".strip() for share, more in zip(shares, of or [""] * len(shares), strict=True)
    ]
    return Wall(title, words, helps, min(shares))
