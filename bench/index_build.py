"""Building, measured: batches in the store → published, and 1,000 more rows on top of it.

A build is over for its readers when it is announced (`seconds`); when it returns, its vectors were read, checked and
put together on this host as well (`opened_seconds`), which it does after the announcement where they are many.

It has three peers: FAISS alone (the same vectors, already in memory, `add` and `write_index`), FAISS by hand with
the same way to go (from the batches in the store to an index in the store), and the store alone, which only hands out
the batches and takes as many bytes as the index has: no build can be faster.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bench.index_data import Corpus
from bench.index_house import INDEX, House
from bench.memory import Peak
from runtime.context import Row
from runtime.index import layout
from runtime.keys import SWAP_CHANNEL

_BLOCK = 10_000
_PATIENCE = 3600.0
_AT_ONCE = 8
PUBLISHED = 1000
_REPLACED = 10
"""One row in so many takes the place of an older one, where a publish is to leave tombstones."""


def build(house: dict[str, Any]) -> dict[str, Any]:
    """One build of all batches that are in the store, by a worker that has built something before."""
    place = House(**house)
    index = place.index()
    unit = np.eye(1, 4, dtype=np.float32)
    index.write_batch("warm", "b", [Row("", "warm", "1", index.next_seq("warm"), text="warm", end=4)], unit, "bench")
    index.build("warm")  # what a worker that has built something has imported and opened
    with Peak() as peak, Announcement(place) as announced:
        began, cpu = time.perf_counter(), time.process_time()
        report = index.build(INDEX)
        opened, opened_cpu = time.perf_counter() - began, time.process_time() - cpu
        heard, heard_cpu = announced.heard()
    return {
        "seconds": heard - began,
        "cpu_seconds": heard_cpu - cpu,
        "opened_seconds": opened,
        "opened_cpu_seconds": opened_cpu,
        "vectors": report.vectors,
        "warnings": list(report.warnings),
        "growth": peak.resident,
        "anonymous_growth": peak.anonymous,
        "bytes": sum(place.stored().values()),
        "kind": getattr(index.current(INDEX), "kind", ""),
    }


class Announcement:
    """Listens for the first version of the index that is told to everybody."""

    def __init__(self, place: House) -> None:
        self._hearing = place.client().pubsub()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Announcement:
        self._hearing.subscribe(SWAP_CHANNEL)
        self._hearing.get_message(timeout=_PATIENCE)  # that it is subscribed
        self._pool = ThreadPoolExecutor(1)
        self._heard = self._pool.submit(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def heard(self) -> tuple[float, float]:
        """When, by the clock and in processor time of this process."""
        return self._heard.result(_PATIENCE)

    def _listen(self) -> tuple[float, float]:
        while True:
            message = self._hearing.get_message(timeout=_PATIENCE)
            if message and json.loads(message["data"])["index"] == INDEX:
                return time.perf_counter(), time.process_time()


def faiss_alone(house: dict[str, Any], corpus: dict[str, Any], count: int) -> dict[str, Any]:
    """`add` and `write_index` of the same vectors, on one thread, to the same disk."""
    faiss.omp_set_num_threads(1)
    vectors = all_of(Corpus(**corpus), count)
    with tempfile.TemporaryDirectory(dir=House(**house).home) as folder:
        began, cpu = time.perf_counter(), time.process_time()
        flat: Any = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        faiss.write_index(flat, str(Path(folder, "flat.faiss")))
        return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}


def faiss_by_hand(house: dict[str, Any]) -> dict[str, Any]:
    """What one would write without us: get every batch, keep its rows, `add`, `write_index`, put both into the store.

    One thread, no hashes, nothing looked at, nothing made for search by documents or filters.
    """
    faiss.omp_set_num_threads(1)
    place = House(**house)
    store = place.objects()
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=place.home) as folder:
        flat: Any = None
        paths = [Path(folder, name) for name in ("flat.faiss", "rows")]
        with paths[1].open("wb") as rows:
            for item in store.list(store.bucket, layout.batches(INDEX)):
                data = store.get(store.bucket, item.key).data
                if item.key.endswith(layout.ROWS):
                    rows.write(data)
                    continue
                vectors = np.load(io.BytesIO(data), allow_pickle=False)
                flat = flat or faiss.IndexFlatIP(vectors.shape[1])
                flat.add(vectors)
        faiss.write_index(flat, str(paths[0]))
        for path in paths:
            with path.open("rb") as file:
                store.put_stream(store.bucket, f"by-hand/{path.name}", file, path.stat().st_size)
    found = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu, "vectors": flat.ntotal}
    for path in paths:
        store.delete(store.bucket, f"by-hand/{path.name}")
    return found


def store_alone(house: dict[str, Any]) -> dict[str, Any]:
    """Every batch read, eight at a time as a build does, and the bytes of the index written; nothing done with them."""
    place = House(**house)
    store, written = place.objects(), dict(place.stored())
    names = [item.key for item in store.list(store.bucket, layout.batches(INDEX))]
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = sum(pool.map(lambda name: len(store.get(store.bucket, name).data), names))
        reading = time.perf_counter() - began
        sizes = {f"store-alone/{number}": size for number, size in enumerate(written.values())}
        list(pool.map(lambda one: store.put_stream(store.bucket, one[0], io.BytesIO(bytes(one[1]))), sizes.items()))
    found = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu, "bytes": read}
    for name in sizes:
        store.delete(store.bucket, name)
    return found | {"reading_seconds": reading}


def all_of(corpus: Corpus, count: int) -> Any:
    """The first `count` vectors in memory, shape (count, dimensions)."""
    vectors = np.empty((count, corpus.dimensions), np.float32)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        vectors[start:end] = corpus.vectors(start, end)
    return vectors


def publish(
    house: dict[str, Any],
    corpus: dict[str, Any],
    count: int,
    rounds: int,
    size: int = PUBLISHED,
    *,
    replace: bool = False,
) -> dict[str, Any]:
    """`size` rows more, in one batch, on an index of `count` rows, `rounds` times over.

    The first round of a fresh process, which has to look at the index once, is told apart from the others.
    """
    place, data = House(**house), Corpus(**corpus)
    index = place.index()
    seconds, written = [], []
    for number in range(rounds + 1):
        start = count + number * size
        seq = index.next_seq(INDEX, size)
        rows = data.rows(start, start + size, seq, etag="new")
        if replace:
            older = data.rows(number * size, (number + 1) * size, seq, etag="changed")
            rows[::_REPLACED] = older[::_REPLACED]
        index.write_batch(INDEX, f"p{seq:012d}", rows, data.vectors(start, start + size), "bench")
        before = place.stored()
        began = time.perf_counter()
        report = index.build(INDEX, [f"p{seq:012d}"])
        seconds.append(time.perf_counter() - began)
        written.append(sum(n for key, n in place.stored().items() if key not in before))
        assert report.published, report
        if report.crowded:  # as the function compact_index does, beside the builds
            index.compact(INDEX)
    return {"first_seconds": seconds[0], "seconds": seconds[1:], "bytes": written[1:]}
