"""A thousand million chunks and 1,000 workers, on paper: what broker, store and Qdrant get, what gives way first.

    python -m bench.scaling                     the tables of docs/scaling.md
    python -m bench.scaling docs/scaling.md     put them into the page
    python -m bench.scaling --measure           what a batch asks of store and broker, measured: one JSON object a line

Every sum begins with the numbers of bench/scaling_inputs.py, which say where they come from.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.pages import put
from bench.scaling_inputs import INPUTS
from bench.scaling_qdrant import LAYOUTS
from bench.scaling_sums import CASES, Sums
from bench.scaling_text import amount, dollars, duration, row, size
from bench.scaling_walls import walls

Write = Callable[[Sums], str]
BROKER: Sequence[tuple[str, Write]] = (
    ("batches (calls)", lambda s: amount(s.batches)),
    ("batches a second, while 1,000 workers embed", lambda s: amount(s.batches_per_second)),
    ("round trips a second", lambda s: amount(s.trips_per_second)),
    ("bytes a second to the broker", lambda s: size(s.broker_bytes_per_second)),
    ("cores of the broker: calls + documents + 1,000 workers that live", lambda s: f"{s.broker_cores:.2f}"),
    ("memory: all batches waiting at once", lambda s: size(s.waiting_memory)),
    ("memory: newest versions of the documents, for ever", lambda s: size(s.versions_memory)),
    ("that memory for a month", lambda s: dollars(s.versions_price)),
    ("memory: the ledger, where a bucket trigger hands them out", lambda s: size(s.ledger_memory)),
)
STORE: Sequence[tuple[str, Write]] = (
    ("GET · LIST · PUT, all together", lambda s: " · ".join(amount(one) for one in s.requests)),
    ("requests a second", lambda s: amount(s.requests_per_second)),
    ("bytes a second, to it · from it", lambda s: f"{size(s.put_per_second)} · {size(s.got_per_second)}"),
    ("cores of the store for that, where it is SeaweedFS", lambda s: f"{s.store_cores:.2g}"),
    ("bytes that stay: batches", lambda s: size(s.stored)),
    ("requests, at S3's list price", lambda s: dollars(s.request_price)),
    ("batches kept for a month", lambda s: dollars(s.store_price)),
)
FILLING: Sequence[tuple[str, Write]] = (
    ("points: chunks and documents", lambda s: amount(s.points)),
    ("requests that write them", lambda s: amount(s.upserts)),
    ("bytes of JSON, all together", lambda s: size(s.json)),
    ("time of one builder (one core)", lambda s: duration(s.filling)),
    ("builders that keep up with 1,000 workers", lambda s: f"{math.ceil(s.filling / s.seconds)}"),
)
WORK: Sequence[tuple[str, Write]] = (
    ("documents", lambda s: amount(s.documents)),
    ("chunks a second of 1,000 workers (2,000 processes)", lambda s: amount(s.chunks_per_second)),
    ("time to embed all", lambda s: duration(s.seconds)),
    ("cores for that, for that time", lambda s: dollars(s.compute_price)),
)


def tables() -> dict[str, str]:
    """Every table of the page, by the name of its place."""
    head = [row(["", *(case.title for case in CASES)]), row(["---", *["---:"] * len(CASES)])]
    sums = [Sums(case) for case in CASES]

    def of(rows: Sequence[tuple[str, Write]]) -> str:
        return "\n".join([*head, *(row([title, *(write(one) for one in sums)]) for title, write in rows)])

    found = {"scaling work": of(WORK), "scaling broker": of(BROKER), "scaling store": of(STORE)}
    found["scaling filling"] = of(FILLING)
    found["scaling qdrant"] = _qdrant()
    found["scaling walls"] = "\n".join(
        [
            row(["what", *(case.title for case in CASES), "what helps"]),
            row(["---", *["---:"] * len(CASES), "---"]),
            *(row([one.title, *one.told, one.helps]) for one in walls(sums)),
        ]
    )
    listed = (row([f"`{name}`", _plain(one.value), one.unit, one.meaning, one.source]) for name, one in INPUTS.items())
    found["scaling inputs"] = "\n".join([row(["", "number", "unit", "what", "from"]), row(["---"] * 5), *listed])
    return found


def _qdrant() -> str:
    lines = [
        row(["one copy · two copies", *(one.title for one in LAYOUTS)]),
        row(["---", *["---:"] * len(LAYOUTS)]),
        row(["memory", *(f"{size(one.memory)} · {size(2 * one.memory)}" for one in LAYOUTS)]),
        row(["disk", *(f"{size(one.disk)} · {size(2 * one.disk)}" for one in LAYOUTS)]),
        row(["nodes of 64 GB", *(f"{one.nodes(1)} · {one.nodes(2)}" for one in LAYOUTS)]),
        row(
            [
                "time to take all points on so many",
                *(f"{duration(one.seconds(1))} · {duration(one.seconds(2))}" for one in LAYOUTS),
            ]
        ),
        row(["memory for a month", *(f"{dollars(one.price(1))} · {dollars(one.price(2))}" for one in LAYOUTS)]),
    ]
    return "\n".join(lines)


def measured(documents: int = 5000, batch: int = 1000, noted: int = 300_000) -> Iterator[dict[str, Any]]:
    """Real batches through a real store and broker."""
    from bench.embed_all import short_texts
    from bench.index_house import house_of, servers
    from bench.scaling_batch import Instant, batches, versions

    texts, models = short_texts(documents), Instant()
    tokens = sum(len(models.tokenize(text)) for text in texts[:500])
    yield _line("token_letters", sum(map(len, texts[:500])) / tokens, "characters of a token")
    yield _line("point_bytes", point_bytes(texts[:200]), "bytes of JSON for a chunk")
    with servers() as found:
        place = house_of(found, "scaling")
        told = versions(place, noted, "noted")
        yield _line("document_memory", told["bytes_of_memory"], "bytes of the broker for a document", documents=noted)
        yield _line("document_cpu_noted", told["cpu_seconds"], "s of the broker for a document", documents=noted)
        for way in ("part", "objects"):
            each = batches(place, texts, batch, way, f"scaling-{way}")[1:]
            for kind in ("GET", "LIST", "PUT"):
                yield _line(f"{way}_{kind}", _median(one["store"]["requests"].get(kind, 0) for one in each), "requests")
            for name, unit in (("sent", "bytes to the store"), ("received", "bytes from the store")):
                yield _line(
                    f"{way}_{name}", _median(one["store"][name] / one["chunks"] for one in each), f"{unit} a chunk"
                )
            for name, unit in (("cpu", "s of the broker"), ("received", "bytes to the broker")):
                value = _median(one["broker"][name] / one["documents"] for one in each)
                yield _line(f"{way}_broker_{name}", value, f"{unit} a document")


def point_bytes(texts: Sequence[str]) -> float:
    """Of chunks as they go to Qdrant, on average."""
    from qdrant_client import models

    from bench.scaling_batch import Instant
    from runtime.context import Row
    from runtime.index.qdrant import points

    total = 0
    for number, (text, vector) in enumerate(zip(texts, Instant().embed(texts), strict=True)):
        row = Row("documents", f"texts/{number:09}.txt", f"{number:032x}", number, end=len(text), text=text)
        payload = points.chunk("default", row, 1, "0" * 64, 1)
        made = models.PointStruct(
            id=points.chunk_id("default", row), vector={points.VECTOR: vector.tolist()}, payload=payload
        )
        total += len(made.model_dump_json(exclude_none=True))
    return total / len(texts)


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def _line(metric: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return {"metric": metric, "ours": float(f"{value:.4g}"), "unit": unit, **more}


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path, nargs="?")
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    if given.measure:
        for line in measured():
            print(json.dumps(line), flush=True)
        return
    for name, made in tables().items():
        if given.page:
            given.page.write_text(put(given.page.read_text(), name, made))
        else:
            print(f"{name}\n\n{made}\n")


if __name__ == "__main__":
    main()
