"""Seconds from the PUT of a small text until a search finds it, the system idle and its model warm.

The search is by vector, made beforehand: a query in words would put the model to work while the document waits for it.
The peer is what no pipeline can do without: the model's pass over that text, alone.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import urllib3

from bench.common import System, percentiles, system
from runtime.embedding.backend import SentenceTransformerModels

_WARM_UP = 5
_PAUSE_SECONDS = 0.1
_LOOK_SECONDS = 0.003
_WAIT_SECONDS = 60.0


def measure(count: int) -> None:
    models = SentenceTransformerModels()
    models.load()
    http = urllib3.PoolManager(retries=False, timeout=60.0)
    ours: list[float] = []
    alone: list[float] = []
    with system() as found:
        for number in range(_WARM_UP + count):
            word = uuid.uuid4().hex
            text = f"The harbour log of {word}: a grey barge brought copper and salt."
            began = time.perf_counter()
            vector = models.embed([text])[0]
            embedded = time.perf_counter() - began
            seconds = drop(found, http, f"bench/{word}.txt", text, vector.tolist())
            if number >= _WARM_UP:
                ours.append(seconds)
                alone.append(embedded)
            time.sleep(_PAUSE_SECONDS)  # what follows a build has ended: the system is idle again
    percentiles("put_to_searchable", ours, peer=alone, peer_name="the model alone")


def drop(found: System, http: urllib3.PoolManager, key: str, text: str, vector: list[float]) -> float:
    """Seconds from the PUT until the search finds it."""
    query = json.dumps({"vector": vector, "k": 1}).encode()
    began = time.perf_counter()
    answer = http.request("PUT", f"{found.url}/buckets/documents/{key}", body=text.encode())
    if answer.status != 200:
        raise SystemExit(f"PUT answered {answer.status}: {answer.data!r}")
    while not _finds(found, http, query, key):
        if time.perf_counter() - began > _WAIT_SECONDS:
            raise SystemExit(f"{key} did not become searchable within {_WAIT_SECONDS} s")
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter() - began


def _finds(found: System, http: urllib3.PoolManager, query: bytes, key: str) -> bool:
    headers = {"Content-Type": "application/json"}
    answer = http.request("POST", f"{found.url}/search", body=query, headers=headers)
    results: list[Any] = json.loads(answer.data)["results"] if answer.status == 200 else []
    return any(hit["key"] == key for hit in results)
