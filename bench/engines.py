"""FAISS beside Qdrant: the same batches, the same queries. `make bench B=engines`; one JSON object a line.

Without a server it is qdrant-client's own local mode in a process of its own, behind the same requests. That is **no
measure of the server**: it is Python, scans every vector, keeps all in memory and has one lock. What its lines show is
that the way there works, what it costs on our side, and that what is found is right. `TUNDISH_TEST_QDRANT=URL` (and
`TUNDISH_TEST_QDRANT_KEY`) measures a real one; `what` in each line says which it was. Beside them is Qdrant's own
engine as a library (bench/engines_edge.py).

    python -m bench.engines --count 10k                            quick
    TUNDISH_TEST_QDRANT=http://127.0.0.1:6333 make bench B=engines
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from bench import engines_edge, memory
from bench.alone import alone
from bench.index_corpus import prepared
from bench.index_data import QUERIES, Corpus
from bench.index_house import House, house_of, plain, servers
from bench.sizes import sizes

LOCAL = "qdrant-client's local mode, no measure of the server"
LOCAL_QUERIES = 20
"""It looks at each point in Python: a search of 100,000 takes it many seconds."""

_BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class Qdrant:
    """One that answers. `pid` is that of the stand-in; 0 where it is a server of somebody's own."""

    url: str
    key: str = ""
    pid: int = 0

    @property
    def what(self) -> str:
        return LOCAL if self.pid else "Qdrant"

    def engine(self) -> dict[str, Any]:
        """As functions.yaml says it of an index."""
        return {"engine": "qdrant", "url": self.url, "api_key": self.key, "timeout": "120s"}

    def memory(self) -> int:
        """Bytes that it holds; 0 where it does not tell."""
        if self.pid:
            return memory.status("VmRSS", self.pid)
        answer = urllib3.request("GET", f"{self.url}/metrics", headers={"api-key": self.key})
        found = re.search(rb"^memory_resident_bytes (\d+)", answer.data, re.MULTILINE)
        return int(found[1]) if found else 0


@contextlib.contextmanager
def qdrant(environ: Mapping[str, str]) -> Iterator[Qdrant]:
    """The server that the environment names, or else the stand-in."""
    if url := environ.get("TUNDISH_TEST_QDRANT"):
        yield Qdrant(url.rstrip("/"), environ.get("TUNDISH_TEST_QDRANT_KEY", ""))
        return
    command = [sys.executable, "-P", "-m", "tests.qdrant_server", "0"]
    root = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(command, env={**environ, **root}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Qdrant(process.stdout.readline().strip(), pid=process.pid)
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=sizes, default=[100_000], help="chunks of the index, such as 10k")
    parser.add_argument("--queries", type=int, help="that both are asked (1,000; 20 of local mode)")
    parser.add_argument("--vectors", help="take these unit vectors (.npy) instead of embedding; needs --texts")
    parser.add_argument("--texts", help="the texts of --vectors, a JSON list")
    given = parser.parse_args()
    corpus = Corpus(given.vectors, given.texts) if given.vectors else prepared(max(given.count))
    with servers() as running, qdrant(os.environ) as engine:
        for count in given.count:
            places = [house_of(running, f"{name}-{count}") for name in ("faiss", "qdrant")]
            queries = given.queries or (LOCAL_QUERIES if engine.pid else QUERIES)
            told = measured(places, corpus, count, engine, queries)
            for line in lines(told, engine.what):
                print(json.dumps(line), flush=True)
            with tempfile.TemporaryDirectory(prefix="tundish-bench-") as folder:
                found = engines_edge.measured(Path(folder), corpus, count, QUERIES, engines_edge.SETTINGS)
            for line in engines_edge.lines(found, count, flat(told)):
                print(json.dumps(line), flush=True)


def measured(places: list[House], corpus: Corpus, count: int, engine: Qdrant, queries: int) -> dict[str, Any]:
    """Both built from the same rows, and asked the same."""
    faiss, qdrant = (plain(place) for place in places)
    for house in (faiss, qdrant):
        alone("index_house:fill", house=house, corpus=plain(corpus), start=0, end=count, batch_rows=_BATCH_ROWS)
    told: dict[str, Any] = {"count": count, "real": min(count, corpus.real)}
    told["faiss_build"] = alone("engines_alone:build", house=faiss, engine={"engine": "faiss"})
    before = engine.memory()
    told["qdrant_build"] = alone("engines_alone:build", house=qdrant, engine=engine.engine())
    told["qdrant_memory"] = engine.memory() - before
    told["stored"] = sum(places[0].stored().values())
    return told | alone(
        "engines_alone:search",
        faiss_house=faiss,
        qdrant_house=qdrant,
        engine=engine.engine(),
        corpus=plain(corpus),
        count=count,
        most=queries,
    )


def flat(told: Mapping[str, Any]) -> dict[str, float]:
    """FAISS's numbers, by the names of the lines."""
    found = {"build": told["faiss_build"]["seconds"], "build_cpu": told["faiss_build"]["cpu_seconds"]}
    found |= {f"search_{name}": told["faiss"][name] for name in ("p50", "p99")}
    return found | {"recall_at_10": told["faiss"]["recall"], "disk": told["stored"]}


def lines(told: Mapping[str, Any], what: str) -> Iterator[dict[str, Any]]:
    """Ours is Qdrant's number, the peer FAISS's."""

    def line(metric: str, ours: float, peer: float, unit: str, **more: Any) -> dict[str, Any]:
        ratio = {"ratio": round(ours / peer, 3)} if peer else {}
        numbers = {"ours": _short(ours), "peer": _short(peer)}
        return {"metric": metric, **numbers, "peer_name": "FAISS", **ratio, "unit": unit, "what": what, **more} | size

    size = {"vectors": told["count"], "real_vectors": told["real"]}
    ours, peer = told["qdrant_build"], told["faiss_build"]
    yield line("build", ours["seconds"], peer["seconds"], "s")
    yield line("build_cpu", ours["cpu_seconds"], peer["cpu_seconds"], "s of the builder")
    yield line("build_memory", ours["growth"], peer["growth"], "bytes that the builder grows by")
    for name in ("p50", "p99"):
        yield line(f"search_{name}", told["qdrant"][name], told["faiss"][name], "s", queries=told["queries"])
    worst = {"worst": told["qdrant"]["worst"], "peer_worst": told["faiss"]["worst"]}
    yield line("recall_at_10", told["qdrant"]["recall"], told["faiss"]["recall"], "share", **worst)
    where = {"ours_is": "the process that answers", "peer_is": "files that a reader maps"}
    yield line("memory", told["qdrant_memory"], told["stored"], "bytes", **where, reader=told["reader_memory"])


def _short(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
