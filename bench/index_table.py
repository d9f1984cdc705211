"""The cost curve as Markdown, a column for each size: `python -m bench.index_table CURVE.json [PAGE.md]`.

In the page it takes the place of the table that is between the two comments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.pages import put
from bench.plot import in_bytes, in_seconds

Point = dict[str, Any]


def table(points: Sequence[Point]) -> str:
    """Markdown; what was not measured at a size is left empty there."""
    sizes = [f"{point['vectors']:,}" for point in points]
    rows = [["vectors", *sizes], ["---", *["---:"] * len(points)]]
    rows += [[title, *(_cell(point, keys, write) for point in points)] for title, keys, write in ROWS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(point: Point, keys: Sequence[str], write: Callable[..., str]) -> str:
    values = [point.get(key) for key in keys]
    return "" if values[0] is None else write(*values)


def _beside(write: Callable[[float], str]) -> Callable[[float, float | None], str]:
    """Ours, and how many times FAISS's that is."""
    return lambda ours, peer: f"{write(ours)} ({ours / peer:.2f} ×)" if peer else write(ours)


def _rate(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.2g}/s"


def _share(value: float, worst: float) -> str:
    return f"{value:.4f} ({worst:.1f})"


ROWS: Sequence[tuple[str, Sequence[str], Callable[..., str]]] = (
    (
        "batches in the store → published (FAISS `add` + write)",
        ("build_seconds", "faiss_alone_seconds"),
        _beside(in_seconds),
    ),
    (
        "… → every vector read, checked and here, too",
        ("build_opened_seconds", "faiss_alone_seconds"),
        _beside(in_seconds),
    ),
    (
        "the same (a script: get the batches, FAISS `add` + write, put the file)",
        ("build_opened_seconds", "faiss_by_hand_seconds"),
        _beside(in_seconds),
    ),
    (
        "the same (the store alone: get the batches, put the bytes of the index)",
        ("build_opened_seconds", "store_alone_seconds"),
        _beside(in_seconds),
    ),
    ("memory that the build adds (of its vectors)", ("build_growth_bytes", "step_vector_bytes"), _beside(in_bytes)),
    ("1,000 rows more → published", ("publish_seconds",), in_seconds),
    ("1,000 rows more, 100 of them in the place of older ones", ("publish_replacing_seconds",), in_seconds),
    ("bytes written for 1,000 rows more", ("publish_bytes",), in_bytes),
    ("search, median (FAISS Flat in memory)", ("search_p50", "search_peer_p50"), _beside(in_seconds)),
    ("search, p99", ("search_p99", "search_peer_p99"), _beside(in_seconds)),
    ("recall@10 against exact search (worst query)", ("search_recall", "search_worst"), _share),
    (
        "32 searches at once (FAISS Flat's own batch)",
        ("search_together_per_second", "search_peer_together_per_second"),
        _beside(_rate),
    ),
    ("32 clients of the gateway's reader", ("collected_per_second", "search_peer_together_per_second"), _beside(_rate)),
    ("32 clients over HTTP", ("http_per_second", "search_peer_together_per_second"), _beside(_rate)),
    ("announced → answered from, over HTTP", ("visible_ms",), lambda value: in_seconds(value / 1000)),
    ("gateway's start → first answer", ("first_answer_seconds",), in_seconds),
    ("the index in the store, beside its batches", ("stored_bytes",), in_bytes),
    ("memory of a reader that it does not share", ("search_anonymous_memory",), in_bytes),
)


def main() -> None:
    curve, *pages = (Path(name) for name in sys.argv[1:])
    made = table(json.loads(curve.read_text())["points"])
    print(made)
    for page in pages:
        page.write_text(put(page.read_text(), "index curve", made))


if __name__ == "__main__":
    main()
