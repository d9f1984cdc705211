"""The model and the way to it: texts a second on one core, and what of that is left from the bucket to the store.

    make bench B=embedding                          everything, some minutes
    python -m bench.embedding --only pipeline --tokens 36 --documents 3000

Each step has a process of its own. The model's peer is `SentenceTransformer.encode` at its defaults, the pipeline's is
our model alone on the same texts; both are taken in turn with ours, and a ratio is the median over the turns.
`cpu_ratio` and `cpu` are the same in CPU time: on a busy machine they say more. TUNDISH_BACKEND pins the back end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.alone import alone
from bench.embedding_alone import BUCKET, key
from bench.embedding_texts import DOCUMENT, LENGTHS, texts
from bench.index_house import House, house_of, plain, servers
from runtime.embedding.backend import SentenceTransformerModels

TEXTS = {36: 2048, 130: 640}
"""Texts that the model alone gets."""

DOCUMENTS = {36: 10_000, 130: 1500, DOCUMENT: 240}
"""Objects of the pipeline: of one chunk, and whole documents."""

GROUPS = 8
BATCHES = {36: 1000, 130: 300, DOCUMENT: 60}
_CLAIM = {"documents": 100_000, "seconds": 60}
_UPLOADS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("model", "pipeline"))
    parser.add_argument("--tokens", type=int, choices=list(DOCUMENTS), action="append", help="lengths of texts; all")
    parser.add_argument("--texts", type=int, help="texts of a length for the model alone")
    parser.add_argument("--documents", type=int, help="objects of a length for the pipeline")
    parser.add_argument("--batch", type=int, help="documents of a batch")
    parser.add_argument("--cores", choices=("one", "all"), action="append", help="that the pipeline may use; both")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tundish-bench-") as made:
        folder = Path(made)
        lengths = given.tokens or list(DOCUMENTS)
        for tokens in [one for one in lengths if one in LENGTHS] if given.only != "pipeline" else ():
            file = written(folder, tokens, given.texts or TEXTS[tokens])
            of_model(tokens, alone("embedding_alone:model", texts=str(file), groups=GROUPS))
        if given.only != "model":
            with servers(folder) as found:
                for tokens in lengths:
                    file = written(folder, tokens, given.documents or DOCUMENTS[tokens])
                    place = house_of(found, f"embedding-{tokens}")
                    uploaded(place, f"{tokens}", file)
                    for cores in given.cores or ("one", "all"):
                        told = through(
                            place, f"{tokens}", file, given.batch or BATCHES[tokens], one_core=cores == "one"
                        )
                        of_pipeline(tokens, cores, told)


def written(folder: Path, tokens: int, count: int) -> Path:
    """A file with `count` texts of `tokens` tokens on average."""
    file = folder / f"{tokens}-{count}.json"
    if not file.exists():
        file.write_text(json.dumps(texts(SentenceTransformerModels(), count, tokens)))
    return file


def uploaded(place: House, prefix: str, file: Path) -> None:
    """Each text of `file` as an object."""
    store = place.objects()
    store.ensure_bucket(BUCKET)
    found = enumerate(json.loads(file.read_text()))
    with ThreadPoolExecutor(_UPLOADS) as pool:
        list(pool.map(lambda one: store.put(BUCKET, key(prefix, one[0]), one[1].encode()), found))


def through(place: House, prefix: str, file: Path, batch: int, *, one_core: bool) -> dict[str, Any]:
    """The pipeline in a worker of its own, with an index of its own."""
    index = f"tokens-{prefix}-{'one' if one_core else 'all'}"
    step = "embedding_alone:pipeline"
    return alone(step, one_core=one_core, house=plain(place), index=index, prefix=prefix, texts=str(file), batch=batch)


def of_model(tokens: int, told: dict[str, Any]) -> None:
    """Print what the model alone does."""
    rates("docs_per_second", tokens, told, told["theirs"], "SentenceTransformer.encode", backend=told["backend"])
    line(f"mean_cosine_{tokens}", told["cosine"], "cosine to fp32", worst=round(told["worst_cosine"], 6))


def of_pipeline(tokens: int, cores: str, told: dict[str, Any]) -> None:
    """Print what is left of the model's speed on the way, and what that means for the claims."""
    name = f"pipeline_share_{tokens}" + ("" if cores == "one" else "_all_cores")
    share, cpu = ratios(told["bare"], told["ours"])
    per_second = [count / seconds for count, (seconds, _) in zip(told["counts"], told["ours"], strict=True)]
    ours = statistics.median(per_second)
    line(
        name,
        share,
        "of the model alone",
        cpu=cpu,
        docs_per_second=round(ours, 1),
        batch=max(told["counts"]),
        backend=told["backend"],
    )
    workers = len(os.sched_getaffinity(0))
    needed = _CLAIM["documents"] / ours
    line(
        f"seconds_for_100000_{tokens}" + ("" if cores == "one" else "_all_cores"),
        needed / workers,
        "s, reckoned",
        met=needed / workers < _CLAIM["seconds"],
        workers=workers,
        workers_for_60_s=-(-int(needed) // _CLAIM["seconds"]),
    )
    line(f"worker_memory_{tokens}", told["peak_bytes"] / 1e6, "MB at its peak", own=round(told["own_bytes"] / 1e6))


def rates(
    metric: str, tokens: int, told: dict[str, Any], theirs: Sequence[Sequence[float]], peer: str, **more: Any
) -> None:
    ratio, cpu = ratios(theirs, told["ours"])
    counts = told["counts"]
    found = [
        statistics.median(count / seconds for count, (seconds, _) in zip(counts, times, strict=True))
        for times in (told["ours"], theirs)
    ]
    line(
        f"{metric}_{tokens}",
        found[0],
        "1/s",
        peer=round(found[1], 1),
        peer_name=peer,
        ratio=ratio,
        cpu_ratio=cpu,
        **more,
    )


def ratios(theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]) -> tuple[float, float]:
    """How many times as fast ours is, by the clock and in CPU time: medians over the turns."""
    return tuple(  # type: ignore[return-value]
        round(statistics.median(their[n] / our[n] for their, our in zip(theirs, ours, strict=True)), 3) for n in (0, 1)
    )


def line(metric: str, ours: float, unit: str, **more: Any) -> None:
    print(json.dumps({"metric": metric, "ours": round(ours, 5), "unit": unit, **more}), flush=True)


if __name__ == "__main__":
    main()
