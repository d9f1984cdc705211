"""One trace from an upload to the first search that is answered from what came of it; JSON from every part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.collecting import Collector, collector
from tests.system import System, running_system, until

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ID = TRACE[3:35]


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, collected: Collector) -> Iterator[System]:
    """A whole system that logs as JSON and sends its spans to the collector."""
    told: dict[str, Any] = {**collected.environ, "TUNDISH_LOG_FORMAT": "json"}
    with running_system(tmp_path_factory.mktemp("traced"), "--no-reload", **told) as found:
        yield found


def test_from_an_upload_to_the_first_search(watched: System, collected: Collector) -> None:
    text = b"Cranes fly south in autumn, in the shape of a wedge."
    answer = watched.request("PUT", "/buckets/documents/cranes.txt", body=text, headers={"traceparent": TRACE})
    assert answer.status == 200

    def searched() -> bool:
        """A gateway may have the new version before it hears whose it is: then a later search is the first."""
        hits = watched.request("POST", "/search", json={"q": "birds that travel", "k": 1})
        there = hits.status == 200 and any(one["key"] == "cranes.txt" for one in hits.json()["results"])
        return there and any(span.name == "first search default" for span in collected.spans)

    until(searched, "the first search")
    last = collected.named("first search default", ID)
    put = "PUT /buckets/{bucket}/{key}"
    assert collected.is_below(last, put, "bucket documents", "embed_batch", "build_index", "swap default")
    upload = collected.named(put, ID)
    assert upload.parent == TRACE[36:52]
    waits = {span.name for span in collected.spans if span.trace == ID and span.name.startswith("wait in ")}
    assert waits == {"wait in embedding", "wait in work"}
    # The search has a trace of its own; each of the two names the other.
    ((other, search),) = last.links
    asked = collected.wait(lambda span: span.id == search)[0]
    swap = collected.named("swap default", ID)
    assert (asked.name, asked.trace, asked.links) == ("POST /search", other, ((ID, swap.id),))
    hot = collected.named("hot_swap", ID)
    assert collected.is_below(hot, put, "bucket documents", "embed_batch", "build_index")
    parts = {span.told["tundish.process"] for span in collected.spans if span.trace == ID}
    assert parts == {"gateway", "triggers", "worker embedding", "worker work"}


def test_a_schedule_or_a_store_begins_a_trace(watched: System, collected: Collector) -> None:
    """What comes into the bucket past the gateway has no trace yet."""
    from runtime.config.settings import StoreSettings
    from runtime.store.port import MinioStore

    told = watched.connections
    store = MinioStore(
        StoreSettings(
            endpoint=told["MINIO_ENDPOINT"], access_key=told["MINIO_ACCESS_KEY"], secret_key=told["MINIO_SECRET_KEY"]
        )
    )
    store.put("documents", "owls.txt", b"Owls hear better than they see.")
    first = collected.wait(lambda span: span.name == "bucket documents" and span.trace != ID)[0]
    assert first.parent == ""
    assert collected.is_below(collected.named("embed_batch", first.trace), "bucket documents")


def test_every_line_of_every_part_is_json(watched: System) -> None:
    answer = watched.request("POST", "/function/talk", json={"steps": 1})
    call = answer.headers["X-Call-Id"]

    def mine() -> list[dict[str, Any]]:
        return [json.loads(line) for line in watched.log.splitlines() if call in line]

    until(lambda: {one["logger"] for one in mine()} >= {"tundish.access", "tundish.task"}, "the call in the log")
    found = [json.loads(line) for line in watched.log.splitlines()]
    assert {"tundish", "gateway", "beat", "embedder", "worker embedding", "worker work"} <= {
        one["process"] for one in found
    }
    assert all({"time", "level", "logger", "message"} <= set(one) for one in found)
    assert {one["process"] for one in mine()} == {"gateway", "worker work"}
    assert {one["task_id"] for one in mine()} == {call}
    assert len({one["trace_id"] for one in mine()}) == 1
    secrets = [watched.connections["MINIO_SECRET_KEY"], watched.connections["TUNDISH_EVENT_TOKEN"]]
    assert not [secret for secret in secrets if secret in watched.log]
