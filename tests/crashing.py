"""A process that is killed, as by `kill -9`, before the N-th step by which it changes anything: an object in the store,
a key in the broker, a file's name on disk. For N = 1, 2, 3 … until it comes through, these are all its steps."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.config.settings import StoreSettings
from runtime.index import layout, manifest, pieces
from runtime.index.integrity import damaged_batches, rows_flaw
from runtime.index.pieces import PIECES
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.index.segment import Meta
from runtime.store.port import MinioStore
from tests.indexing import Doc, House, put, rows_of, vector, write

LATER = 10 * 86_400.0
"""So far ahead is the clock that cleanup reads."""

_CHANGES = {"put", "put_stream", "delete", "abort_uploads"}
_MOVES = ("rename", "replace", "fsync")
_MOST_STEPS = 200
_MODULES = [f"runtime.index.{name}" for name in ("writer", "retention", "compact", "migration")]


class Fault:
    """Kills this process before the step numbered `at`, counted from 1 over all threads."""

    def __init__(self, at: int) -> None:
        self._at, self._count, self._lock = at, 0, threading.Lock()

    def step(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any, **options: Any) -> Any:
            self.step()
            return call(*arguments, **options)

        return stepping


class Faulty:
    """Something else, but that calling it is a step: all of it, or the methods named in `names`."""

    def __init__(self, real: Any, fault: Fault, names: set[str] | None = None) -> None:
        self._real, self._fault, self._names = real, fault, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        stepping = callable(found) and (self._names is None or name in self._names)
        return self._fault.before(found) if stepping else found


@dataclass(frozen=True)
class Place:
    """Where a process that will be killed works."""

    store: StoreSettings
    broker: str
    cache: Path


def _die(place: Place, action: Callable[..., object], words: tuple[Any, ...], at: int) -> None:
    fault = Fault(at)
    for name in _MOVES:
        setattr(os, name, fault.before(getattr(os, name)))
    store: Any = Faulty(MinioStore(place.store), fault, _CHANGES)
    client: Any = Faulty(broker.connect(place.broker), fault)
    action(FaissIndex(store, client, place.cache, clock=later), *words)


def later() -> float:
    return time.time() + LATER


@dataclass
class Scene:
    """An index over a real store; `expected` are its documents' chunks by key."""

    home: House
    place: Place
    client: redis.Redis
    name: str = "default"
    seq: int = 0
    expected: dict[str, list[str]] = field(default_factory=dict)

    def commit(self, *docs: tuple[str, str]) -> str:
        """A batch of (key, content); no content: it is removed. Returns the batch's path in the store."""
        made = []
        for key, content in docs:
            self.seq += 1
            made.append(put(key, self.seq, content) if content else Doc(key, self.seq))
            self.expected.pop(key, None)
            if content:
                self.expected[key] = [content]
        return write(self.home.index, f"b{self.seq:08d}", *made, name=self.name)

    def build(self) -> int:
        return self.home.index.build(self.name).generation

    def kill(self, at: int, action: Callable[..., object], *words: Any) -> bool:
        """Run `action(index, *words)` in a process that dies before its step `at`; whether it came through."""
        assert at < _MOST_STEPS
        child = _context().Process(target=_die, args=(self.place, action, words, at))
        child.start()
        child.join(120)
        if child.is_alive():
            child.kill()
            child.join()
            raise AssertionError(f"{action.__name__} hung at step {at}")
        assert child.exitcode in (0, -signal.SIGKILL), f"{action.__name__} failed at step {at}: see its output"
        for lease in (keys.index_build("*"), keys.index_compact("*"), keys.index_removal("*")):
            for key in self.client.scan_iter(lease):  # it has run out
                self.client.delete(key)
        return bool(child.exitcode == 0)

    def seen(self) -> dict[str, list[str]]:
        """What a gateway that starts now, on another host, answers from."""
        return self._held(IndexReader(self.home.store, self.home.cache.parent / f"fresh-{uuid.uuid4().hex}"))

    def served(self) -> dict[str, list[str]]:
        """What a gateway that has run all the time answers from."""
        return self._held(self.home.reader)

    def _held(self, reader: IndexReader) -> dict[str, list[str]]:
        reader.refresh(self.name)
        version = reader.version(self.name)
        if version is None:
            return {}
        hits = reader.search(self.name, vector("anything", version.dimensions), 10_000).hits
        return {hit.key: [hit.text] for hit in hits}

    def orphans(self) -> set[str]:
        """What lies in the store and belongs to no version and no batch; what a version names and is not there."""
        store, name = self.home.store, self.name
        there = {item.key for item in store.list(store.bucket, layout.root(name))}
        named, halves = {layout.latest(name)} & there, dict[str, int]()
        for generation, _ in manifest.listed(store, name):
            version = manifest.read(store, name, generation)
            named.add(layout.manifest(name, generation))
            for ref in version.segments:
                folder, meta = layout.segment(name, ref.segment), self.home.index._cache.meta(name, ref.segment)
                files = () if layout.is_packed(ref.segment) else meta.stored
                named |= {layout.beginning(name, ref.segment), *(folder + file for file in files)}
                named |= {layout.tombstones(name) + ref.tombstones} if ref.tombstones else set()
                halves |= self._lacking(folder, meta) if meta.refers else {}
        for item in store.list(store.bucket, f"{layout.EMBEDDINGS}{name}/"):
            folder = item.key.rpartition("/")[0]
            halves[folder] = halves.get(folder, 0) + 1
        return (there ^ named) | {folder for folder, files in halves.items() if files != 2}

    def _lacking(self, folder: str, meta: Meta) -> dict[str, int]:
        """The batches that a segment needs and that are not what they were."""
        store = self.home.store
        _, listed = pieces.decode(PIECES, store.get(store.bucket, folder + PIECES).data)
        rows = {"rows": 0} if rows_flaw(store, meta, listed) else {}
        return {key: 0 for key, *_ in damaged_batches(store, meta.refers, listed)} | rows


def _context() -> Any:
    """Children are forked from a process of one thread that has imported everything and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.crashing", "minio", *_MODULES])
    return context


def commit_rows(index: FaissIndex, batch: str, docs: list[Doc], name: str) -> None:
    """`tests.indexing.write` for a process that will be killed."""
    vectors = np.array([vector(text) for doc in docs for text in doc.contents], np.float32)
    index.write_batch(name, batch, rows_of(docs), vectors, "model")
