"""The index, measured against plain FAISS: one JSON object a line. `make bench B=index`.

Every size is built, searched, published to and served in turn; `--quick` takes minutes, `--sizes` says which ones. The
text is that of the installed libraries, embedded once by the project's model and kept in the cache folder of the user;
sizes beyond it take the same vectors with noise, which the answers say (`real_vectors`).
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import index_plot, index_swaps
from bench.index_corpus import prepared
from bench.index_data import Corpus
from bench.index_point import Plan, measure
from bench.sizes import sizes

USUAL, LARGE = 100_000, 1_000_000
"""The sizes that what is aimed at is about."""

QUICK = Plan(builds=3, publishes=3, searches=200, starts=2, visible=5, seconds=3.0)


def main(arguments: list[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    plan = QUICK if given.quick else Plan()
    plan = replace(plan, batch_rows=given.batch_rows)
    sizes = sorted(given.sizes or ([10_000, 100_000] if given.quick else [10_000, 100_000, 1_000_000]))
    corpus = Corpus(given.vectors, given.texts) if given.vectors else prepared(given.real)
    run(corpus, sizes, plan, given.folder, given.curve)
    swaps = given.swaps if given.swaps is not None else 50 if given.quick else 1000
    if swaps:
        data = ["--vectors", corpus.vectors_file, "--texts", corpus.texts_file]
        index_swaps.main(["--swaps", str(swaps), "--vectors-in", str(min(USUAL, max(sizes))), *data])


def run(corpus: Corpus, sizes: list[int], plan: Plan, folder: Path | None = None, curve: Path | None = None) -> None:
    """Measure each size, and tell what is known as soon as it is."""
    told: dict[str, Any] = {"machine": machine(), "points": []}
    for size in sizes:
        served = size in (min(sizes, key=lambda one: abs(one - USUAL)), min(LARGE, max(sizes)))
        told["points"].append(measure(corpus, size, plan, folder, served=served))
        lines(told["points"][-1], plan)
        if curve:
            curve.write_text(json.dumps(told, indent=1) + "\n")
            curve.with_suffix(".svg").write_text(index_plot.svg(told))


def lines(point: dict[str, Any], plan: Plan) -> None:
    """The numbers of one size, each beside FAISS's where there is one, and beside what is aimed at for that size."""
    size = point["vectors"]
    usual, large = size == USUAL, size >= LARGE
    end = "" if usual else f"_{label(size)}"
    flat = {"peer_name": "FAISS Flat, exact, in memory", "kind": point["kind"]}
    batch = {"peer_name": "FAISS Flat, 32 queries in one call"}

    def line(metric: str, key: str, unit: str, peer: str = "", target: str = "", **more: Any) -> None:
        told = {"metric": metric, "ours": _short(point[key]), "unit": unit}
        if point.get(peer):
            told |= {"peer": _short(point[peer]), "ratio": round(point[key] / point[peer], 3)}
        told |= {"target": target} if target else {}
        told |= {name: _short(value) if isinstance(value, float) else value for name, value in more.items()}
        print(json.dumps(told | {"vectors": size, "real_vectors": point["real_vectors"]}), flush=True)

    line(
        f"build{end}",
        "build_seconds",
        "s",
        "faiss_alone_seconds",
        "ratio <= 2.0" if usual else "",
        peer_name="FAISS add + write_index",
        cpu_seconds=point["build_cpu_seconds"],
        peer_cpu_seconds=point["faiss_alone_cpu_seconds"],
    )
    line(
        f"build_opened{end}",
        "build_opened_seconds",
        "s",
        "faiss_alone_seconds",
        peer_name="FAISS add + write_index",
        cpu_seconds=point["build_opened_cpu_seconds"],
    )
    line(
        f"build_by_hand{end}",
        "build_opened_seconds",
        "s",
        "faiss_by_hand_seconds",
        peer_name="get every batch, FAISS add + write_index, put",
        peer_cpu_seconds=point["faiss_by_hand_cpu_seconds"],
    )
    line(
        f"build_store_alone{end}",
        "build_opened_seconds",
        "s",
        "store_alone_seconds",
        peer_name="get every batch, put the bytes of the index",
        peer_cpu_seconds=point["store_alone_cpu_seconds"],
    )
    line(
        f"build_peak_memory_{label(size)}",
        "build_growth_bytes",
        "bytes",
        "step_vector_bytes",
        "ratio <= 1.3" if large else "",
        peer_name="the vectors",
        anonymous=point["build_anonymous_growth_bytes"],
    )
    line(f"search_p50{end}", "search_p50", "s", "search_peer_p50", "ratio <= 0.45" if usual else "", **flat)
    line(f"search_p99{end}", "search_p99", "s", "search_peer_p99", **flat)
    worst = {"worst": point["search_worst"], "queries": point["search_queries"]}
    line(f"recall_at_10{end}", "search_recall", "share", target=">= 0.999", **worst)
    line(f"search_many_qps{end}", "search_together_per_second", "queries/s", "search_peer_together_per_second", **batch)
    anonymous = point["search_anonymous_memory"]
    line(f"open{end}", "search_open_and_first_answer_seconds", "s", anonymous_memory=anonymous)
    if "collected_per_second" in point:
        _served(line, point, end)
    for name in ("publish", "publish_replacing"):
        metric = f"{name}_{label(plan.publish_rows)}_on_{label(size)}"
        slower = {"worst": point[f"{name}_worst_seconds"], "first": point[f"{name}_first_seconds"]}
        target = "<= 0.3" if size == LARGE and name == "publish" else ""
        line(f"{metric}_seconds", f"{name}_seconds", "s", target=target, **slower)
        line(f"{metric}_bytes", f"{name}_bytes", "bytes")


def _served(line: Callable[..., None], point: dict[str, Any], end: str) -> None:
    for name, metric, target in (("collected", "concurrent_qps", "ratio >= 0.8"), ("http", "http_qps", "")):
        line(
            f"{metric}{end}",
            f"{name}_per_second",
            "queries/s",
            "search_peer_together_per_second",
            "" if end else target,
            peer_name="FAISS Flat, 32 queries in one call",
            clients=32,
            p50=point[f"{name}_p50"],
            p99=point[f"{name}_p99"],
        )
    line(f"visible_ms{end}", "visible_ms", "ms", target="<= 100", worst=point["visible_worst_ms"])
    line(
        f"first_answer_{label(point['vectors'])}",
        "first_answer_seconds",
        "s",
        target="< 1" if point["vectors"] == LARGE else "",
        cold=point["first_answer_cold_seconds"],
        anonymous_memory=point["gateway_anonymous_bytes"],
    )


def machine() -> dict[str, Any]:
    """What the numbers belong to."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "faiss": version("faiss-cpu"),
    }


def label(count: int) -> str:
    """1000000 → 1m, 10000 → 10k."""
    for unit, name in ((1_000_000, "m"), (1000, "k")):
        if count >= unit and count % unit == 0:
            return f"{count // unit}{name}"
    return str(count)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure the index; one JSON object a line.")
    parser.add_argument("--quick", action="store_true", help="10,000 and 100,000 rows, fewer rounds")
    parser.add_argument("--sizes", type=sizes, help="rows of each index, like 10k,100k,1m,5m (5m: 40 GB of disk)")
    parser.add_argument("--real", type=int, default=100_000, help="texts that are embedded for it, once")
    parser.add_argument("--vectors", help="take these unit vectors (.npy) instead; needs --texts")
    parser.add_argument("--texts", help="the texts of --vectors, a JSON list")
    parser.add_argument("--folder", type=Path, help="where servers and indexes lie (default: the temporary folder)")
    parser.add_argument("--batch-rows", type=int, default=500, help="rows of a batch")
    parser.add_argument("--curve", type=Path, help="write the cost curve here (JSON), and its picture beside it")
    parser.add_argument("--swaps", type=int, help="versions that are swapped under load (default: 1000, quickly 50)")
    return parser


if __name__ == "__main__":
    main()
