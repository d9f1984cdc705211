"""What buckets, indexes and searches count, over a real store."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.index.port import FaissIndex
from runtime.metrics import measures
from runtime.store.port import MinioStore
from tests.gatewaying import ORIGIN, deployment, settings
from tests.indexing import put, write
from tests.triggering import House
from tests.workers import until


def counts(client: redis.Redis) -> measures.Counts:
    found: list[Any] = [client.hgetall(name) for name in measures.NAMES]
    return measures.decode(found)


def test_changes_of_a_bucket_and_how_late_they_are(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    house = House.build(redis_client, broker_url, store_settings, tmp_path)
    name = house.watch.name
    house.put("before.txt")
    with house.running():
        until(lambda: counts(redis_client).others["changes", name] == 1)
        house.put("after.txt")
        house.tell("after.txt")
        until(lambda: counts(redis_client).others["changes", name] == 2)
        found = until(lambda: counts(redis_client).lags.get((name, house.bucket)))
        assert 1 <= sum(found.counts) <= 2
        assert 0 <= found.total < 60


def test_what_a_gateway_tells_of_its_index(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    store = MinioStore(own)
    store.ensure_bucket(own.bucket)
    made, index = settings(broker_url, own, tmp_path), FaissIndex(store, redis_client)
    with TestClient(create_app(made, deployment(made)), ORIGIN, client=("127.0.0.1", 1)) as web:

        def told(line: str) -> bool:
            return line in web.get("/metrics").text.splitlines()

        def answers_from(generation: int) -> None:
            until(lambda: told(f'celery_faiss_index_version{{index="default"}} {generation}.0'))

        for number in (1, 2):
            write(index, f"doc{number}", put(f"doc{number}", number))
            index.build("default")
            answers_from(number)
        assert told('tundish_index_vectors{index="default"} 2.0')
        swaps = web.get("/metrics").text.partition('tundish_index_swaps_total{index="default"} ')[2]
        assert 1 <= float(swaps.splitlines()[0]) <= 2
        assert told('celery_embedding_batches_total{index="default"} 2.0')
        vector = index_vector(store, index)
        assert web.post("/search", json={"vector": vector}).status_code == 200
        assert told('tundish_search_seconds_count{index="default"} 1.0')
        redis_client.xadd(keys.EVENTS, {"source": "minio", "body": b"{}"})
        text = web.get("/metrics").text
        assert "tundish_bucket_events_waiting 1.0" in text
        assert "tundish_bucket_events_total 1.0" in text


def index_vector(store: MinioStore, index: FaissIndex) -> list[float]:
    """One of the dimensions of the index."""
    current = index.current("default")
    assert current is not None
    return [float(number) for number in np.ones(current.dimensions)]
