"""The cost curve of an index as a picture: `python -m bench.index_plot CURVE.json > CURVE.svg`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import plot
from bench.plot import in_bytes, in_seconds

Point = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram over the number of vectors: its lines are (name, what a point has of it; None leaves it out)."""

    title: str
    lines: Sequence[tuple[str, Callable[[Point], float | None]]]
    write: Callable[[float], str]
    linear: bool = False

    def drawn(self, points: Sequence[Point]) -> plot.Panel:
        lines = [
            (name, [(float(p["vectors"]), height) for p in points if (height := value(p)) is not None])
            for name, value in self.lines
        ]
        return plot.Panel(self.title, lines, self.write, self.linear)


def svg(curve: dict[str, Any]) -> str:
    """A picture of all panels; `curve` is what `bench.index --curve` writes."""
    points = sorted(curve["points"], key=lambda point: int(point["vectors"]))
    return plot.svg("What an index costs, by its number of vectors", [panel.drawn(points) for panel in PANELS])


def _of(name: str) -> Callable[[Point], float | None]:
    return lambda point: point.get(name) or None


PANELS = (
    Panel(
        "Build, all at once", [("ours", _of("build_seconds")), ("FAISS alone", _of("faiss_alone_seconds"))], in_seconds
    ),
    Panel("Publish 1,000 more", [("time", _of("publish_seconds"))], in_seconds),
    Panel("Bytes of such a publish", [("written", _of("publish_bytes"))], in_bytes),
    Panel("Search, median", [("ours", _of("search_p50")), ("FAISS Flat", _of("search_peer_p50"))], in_seconds),
    Panel(
        "Memory",
        [
            ("mapped", _of("search_mapped")),
            ("build", _of("build_growth_bytes")),
            ("not shared", _of("search_anonymous_memory")),
        ],
        in_bytes,
    ),
    Panel("Recall@10 against exact", [("ours", _of("search_recall"))], lambda value: f"{value:.4f}", linear=True),
)


if __name__ == "__main__":
    print(svg(json.loads(Path(sys.argv[1]).read_text())), end="")
