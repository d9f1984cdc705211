"""Several builders, a compaction and a rollback at once, as processes on the real store: no work is lost."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.config.settings import StoreSettings
from runtime.errors import PreconditionFailed, Retry
from runtime.index import plan
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.indexing import Doc, House, fresh_store, gone, house, put, write

BUILDERS, BUILDS = 3, 5
SHARED = 4  # documents that all of them write


@dataclass(frozen=True)
class Place:
    """Where a process works. `told` is a queue for what it wrote."""

    store: StoreSettings
    broker: str
    cache: Path

    def index(self, name: str) -> FaissIndex:
        return FaissIndex(MinioStore(self.store), broker.connect(self.broker), self.cache / name)


def build(place: Place, number: int, told: Any) -> None:
    """Write a document of its own, one that the others write too, and remove one; publish; and again."""
    index = place.index(f"builder{number}")
    for step in range(BUILDS):
        seq = index.next_seq("default", 3)
        docs = [
            put(f"own {number} {step}", seq),
            put(f"shared {step % SHARED}", seq + 1),
            gone(f"shared {(step + number) % SHARED}", seq + 2),
        ]
        if docs[1].key == docs[2].key:  # two versions of a document cannot be in one batch
            docs.pop()
        write(index, f"b{number}-{step}", *docs)
        insist(partial(index.build, "default", [f"b{number}-{step}"]))
        told.put(docs)


def compact(place: Place, over: Any, merges: Any) -> None:
    plan.MANY_SEGMENTS = 2
    index = place.index("compactor")
    while True:
        last = over.is_set()
        merges.value += insist(lambda: index.compact("default")).published
        if last:
            return
        time.sleep(0.01)


def insist(action: Callable[[], Any]) -> Any:
    """As a worker does with a call that asks to be run again."""
    while True:
        try:
            return action()
        except (Retry, PreconditionFailed):
            continue


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


@pytest.fixture
def place(home: House, store_settings: StoreSettings, broker_url: str, tmp_path: Path) -> Place:
    return Place(store_settings.model_copy(update={"bucket": home.store.bucket}), broker_url, tmp_path)


@pytest.mark.parametrize("leases", ["kept", "lost"])
def test_nothing_is_lost(home: House, place: Place, redis_client: redis.Redis, leases: str) -> None:
    """`lost`: the leases vanish again and again, and once all that the broker holds. The conditional PUT is enough."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_index_builders", "runtime.index.compact", "runtime.index.writer"])
    told, over, merges = context.Queue(), context.Event(), context.Value("i", 0)
    write(home.index, "first", put("first", home.index.next_seq("default")))
    first = home.index.build("default").generation
    builders = [context.Process(target=build, args=(place, number, told)) for number in range(BUILDERS)]
    compactor = context.Process(target=compact, args=(place, over, merges))
    for process in (*builders, compactor):
        process.start()
    losing = threading.Thread(target=lose_leases, args=(redis_client, over)) if leases == "lost" else None
    if losing:
        losing.start()
    docs: list[Doc] = [put("first", 1)]
    for count in range(BUILDERS * BUILDS):
        docs += told.get(timeout=120)
        if losing and count == 2:
            redis_client.flushdb()  # the sequence numbers are gone, too
        if count == BUILDERS * BUILDS // 2:
            insist(lambda: home.index.rollback("default", first))
            insist(lambda: home.index.release("default"))
    for process in builders:
        process.join(120)
    over.set()
    compactor.join(120)
    if losing:
        losing.join()
    assert [process.exitcode for process in (*builders, compactor)] == [0] * (BUILDERS + 1)
    assert merges.value or leases == "lost"  # without leases a compaction may always come too late
    home.index.build("default")
    home.reader.refresh("default")
    newest: dict[str, Doc] = {}
    for doc in docs:
        newest[doc.key] = max(doc, newest.get(doc.key, doc), key=lambda one: one.seq)
    assert home.contents() == {doc.key: doc.contents for doc in newest.values() if doc.contents}
    generations = [version.generation for version in home.index.versions("default")]
    assert generations == list(range(len(generations), 0, -1))


def lose_leases(client: redis.Redis, over: Any) -> None:
    while not over.wait(0.01):
        client.delete(keys.index_build("default"), keys.index_compact("default"))
