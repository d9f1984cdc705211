"""What one real `embed_batch` asks of store and broker: requests, bytes, and the broker's processor time and memory.

Nothing is embedded: vectors are made up, everything else is what a worker does. Documents come as `embed_all` lays them
down (`part`: all of a batch in one object) or as objects of a bucket (`objects`: one GET each).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import redis

from bench.index_data import Vectors
from bench.index_house import House
from bench.scaling_proxy import Counted, counting
from functions._source_parts import Parts
from functions.embed_batch import embed_batch
from runtime.context import Document, ObjectEvent
from runtime.embedding.backend import SentenceTransformerModels
from runtime.index.engines import Indexes
from runtime.testing import fake_context

BUCKET = "documents"
_BLOCK = 1000


class Instant(SentenceTransformerModels):
    """The model's name, tokenizer and shape; vectors that cost nothing."""

    def get(self, name: str) -> Instant:
        return self

    @property
    def backend(self) -> str:
        return "none"

    def embed(self, texts: Sequence[str]) -> Vectors:
        raw = np.random.default_rng(len(texts)).standard_normal((len(texts), self.dimensions)).astype(np.float32)
        made: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        return made


def batches(place: House, texts: Sequence[str], batch: int, way: str, index: str) -> list[dict[str, Any]]:
    """What each batch of `texts` cost. The first one of a process also pays for what is asked only once."""
    found = []
    with counting(place.store) as (settings, counted):
        seen = replace(place, store=settings)
        context = fake_context("embed_batch", store=seen.objects(), index=_index(seen), models=Instant())
        client = place.client()
        for number, first in enumerate(range(0, len(texts), batch)):
            given = _laid_down(place, texts[first : first + batch], way, index, f"{index}-{number}")
            counted.clear()
            before, began = figures(client), time.process_time()
            result = embed_batch(**given, index=index, context=context)
            found.append(_told(counted, figures(client), before, time.process_time() - began))
            if result.count < len(texts[first : first + batch]) or result.failed or result.reused:
                raise SystemExit(f"A batch of {batch} documents gave {result}")
            found[-1] |= {"documents": result.documents, "chunks": result.count}
    return found


def _index(place: House) -> Indexes:
    return Indexes(place.objects(), place.client(), place.cache)


def versions(place: House, documents: int, index: str) -> dict[str, float]:
    """What the newest versions of so many documents cost the broker, written and asked for as `embed_batch` does it."""
    known, client = place.index(), place.client()
    before = figures(client)
    for first in range(0, documents, _BLOCK):
        numbers = range(first, min(first + _BLOCK, documents))
        told = {f"{BUCKET}/texts/{number:012}.txt": (f"{number:032x}", number) for number in numbers}
        known.text_versions(index, list(told))
        known.set_text_versions(index, told)
    spent = {name: value - before[name] for name, value in figures(client).items()}
    return {"bytes_of_memory": spent["memory"] / documents, "cpu_seconds": spent["cpu"] / documents}


def _laid_down(place: House, texts: Sequence[str], way: str, index: str, name: str) -> dict[str, Any]:
    store = place.objects()
    if way == "part":
        parts = Parts(store, index, name)
        documents = [Document(text, f"{name}-{number}") for number, text in enumerate(texts)]
        parts.put(0, [asdict(one) for one in documents], [])
        return {"part": parts.name(0)}
    store.ensure_bucket(BUCKET)
    keys = [f"{name}/{number:06}.txt" for number in range(len(texts))]
    for key, text in zip(keys, texts, strict=True):
        store.put(BUCKET, key, text.encode())
    return {"objects": [ObjectEvent(BUCKET, key) for key in keys]}


def _told(counted: Counted, after: dict[str, float], before: dict[str, float], seconds: float) -> dict[str, Any]:
    of_broker = {name: after[name] - before[name] for name in after}
    return {"store": counted.plain(), "broker": of_broker, "cpu_seconds": seconds}


def figures(client: redis.Redis) -> dict[str, float]:
    """The broker's counters: processor seconds, bytes in and out, commands, bytes of memory."""
    told: Any = client.info()
    return {
        "cpu": told["used_cpu_user"] + told["used_cpu_sys"],
        "received": told["total_net_input_bytes"],
        "sent": told["total_net_output_bytes"],
        "commands": told["total_commands_processed"],
        "memory": told["used_memory"],
    }
