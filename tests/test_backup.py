"""docs/backup.md, done: broker and store are copied while they work, and an empty place goes on from the copies."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker.connection import connect
from runtime.buckets.documents import document_status
from runtime.config.settings import StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.host.free_ports import Ports
from runtime.index import layout
from runtime.invocations.submit import Call, Idempotency, accept, submit
from runtime.store.port import MinioStore
from runtime.system import services
from tests.brokers import Broker, own_broker
from tests.conftest import running
from tests.indexing import fresh_store, house, put, write
from tests.rolling import Fleet, environ_of
from tests.workers import SAMPLES, deployment, ended, known, until

BUCKET = "backup"
PROJECT = """
version: 1
queues: {{work: {{concurrency: 2}}}}
defaults: {{queue: work}}
functions:
  note: {{handler: life.py:note}}
  take:
    handler: life.py:take
    triggers: [{{bucket: backup, source: poll, rescan: 300ms, with: {{path: "{notes}"}}}}]
"""
KEY = Idempotency("digest", "body")


def copy_broker(client: redis.Redis, source: Path, target: Path) -> None:
    """The append-only files of a broker that goes on working: nothing may rewrite them meanwhile."""
    client.config_set("auto-aof-rewrite-percentage", 0)
    until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    shutil.copytree(source / "appendonlydir", target / "appendonlydir")
    client.config_set("auto-aof-rewrite-percentage", 100)


def copy_store(source: MinioStore, target: MinioStore, *buckets: str) -> None:
    """As `mc mirror` does it. Batches once more in the end: segments that were copied after them may refer to them."""
    for bucket, prefix in [*((bucket, "") for bucket in buckets), (source.bucket, layout.EMBEDDINGS)]:
        target.ensure_bucket(bucket)
        for info in source.list(bucket, prefix):
            with contextlib.suppress(Exception):  # removed since the listing
                found = source.get(bucket, info.key)
                target.put(bucket, info.key, found.data)


def forget_counters(client: redis.Redis) -> None:
    """Numbers given out since the copy are in the store, perhaps: the counters are made anew from what is there."""
    for name in client.scan_iter(keys.index_seq("*")):
        client.delete(name)


class Place:
    """A broker, a store, and a project over them."""

    def __init__(self, folder: Path, broker: Broker, store: MinioStore, settings: StoreSettings, notes: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.file, self.store = folder / "functions.yaml", store
        self.file.write_text(PROJECT.format(notes=notes))
        shutil.copy(SAMPLES / "life" / "life.py", folder)
        self.client = connect(broker.url)
        environ = {**environ_of(broker.url, settings), "TUNDISH_BUCKET": store.bucket}
        self.deployed: Deployment = deployment(self.file, broker.url, environ)
        self.fleet = Fleet(self.file, folder / "home", environ, self.client)
        self.house = house(store, self.client, folder)
        self.index = self.house.index

    def state(self, key: str) -> str:
        found: Any = document_status(self.client, self.deployed.settings.project, BUCKET, key)
        return found["status"] if found else "unknown"

    def answers(self, text: str) -> str:
        """The document with this text, in the newest version."""
        self.house.reader.refresh("default")
        return self.house.found(text)


@pytest.fixture
def empty_store(tmp_path: Path) -> Iterator[StoreSettings]:
    """Another store, with nothing in it."""
    home = tmp_path / "another"
    service, settings = services.seaweedfs(home, Ports(home), services.load_credentials(home))
    with running(service):
        yield settings


def test_an_empty_place_goes_on_from_the_copies(
    store_settings: StoreSettings, empty_store: StoreSettings, tmp_path: Path
) -> None:
    notes, copies = tmp_path / "notes", tmp_path / "copies"
    store = fresh_store(store_settings)
    store.ensure_bucket(BUCKET)
    with own_broker(tmp_path / "first") as broker:
        place = Place(tmp_path / "one", broker, store, store_settings, notes)
        with contextlib.closing(place.fleet) as fleet:
            fleet.add("worker", "work")
            fleet.add("triggers")
            store.put(BUCKET, "old.txt", b"old")
            until(lambda: place.state("old.txt") == "completed")
            done = submit(place.client, place.deployed, Call("note", {"path": str(notes), "text": "done"}))
            ended(place.client, done)
        waiting = accept(
            place.client, place.deployed, Call("note", {"path": str(notes), "text": "waiting"}, idempotency=KEY)
        )
        write(place.index, "batch-1", put("first", 1, "first words"))
        place.index.build("default")
        copy_broker(place.client, tmp_path / "first" / "valkey", copies)
        # What happens between the two copies is in the store and not in the broker.
        store.put(BUCKET, "between.txt", b"between")
        store.delete(BUCKET, "old.txt")
        place.index.next_seq("default", 5)
        write(place.index, "batch-2", put("second", 9, "second words"))
        other = MinioStore(empty_store.model_copy(update={"bucket": store.bucket}))
        copy_store(store, other, store.bucket, BUCKET)
    with own_broker(tmp_path / "second", data=copies) as broker:
        place = Place(tmp_path / "two", broker, other, empty_store, notes)
        forget_counters(place.client)
        assert known(place.client, done).state == "succeeded", "what had ended is known"
        call = Call("note", {"path": str(notes), "text": "again"}, idempotency=KEY)
        again = accept(place.client, place.deployed, call)
        assert again.replayed and again.id == waiting.id, "a repeated call is the same call"
        assert place.answers("first words") == "first"
        with contextlib.closing(place.fleet) as fleet:
            fleet.add("worker", "work")
            fleet.add("triggers")
            fleet.add("beat")
            assert ended(place.client, waiting.id).state == "succeeded", "what waited is run"
            until(lambda: place.state("between.txt") == "completed")
            until(lambda: place.state("old.txt") == "removed")
        assert place.index.next_seq("default", 1) > 9, "no number is given out twice"
        place.index.build("default")
        assert place.answers("second words") == "second"
    assert notes.read_text().split().count("waiting") == 1
