"""A process that changes an index in Qdrant and is killed, as by `kill -9`, before its N-th step: a request that
changes something in Qdrant, an object in the store, a key in the broker. For N = 1, 2, 3 … until it comes through."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.config.limits import IndexSpec
from runtime.config.settings import Project, StoreSettings
from runtime.index import manifest
from runtime.index.engines import Indexes, open_index
from runtime.index.manifest import Manifest
from runtime.index.qdrant import collection, ledger
from runtime.index.qdrant.collection import Collection
from runtime.index.qdrant.conditions import seen
from runtime.index.qdrant.connection import Connection
from runtime.store.port import MinioStore
from tests.crashing import LATER, Fault, Faulty, later
from tests.engines import Place
from tests.qdrant_server import Served

_OBJECTS = {"put", "put_stream", "delete", "abort_uploads"}
_REQUESTS = {
    *("create_collection", "create_payload_index", "delete_collection", "update_collection_aliases"),
    *("upsert", "batch_update_points", "delete"),
}
_MOST_STEPS = 200
Action = Callable[[Indexes, str], object]


@dataclass(frozen=True)
class Elsewhere:
    """Where a process that will be killed works."""

    store: StoreSettings
    broker: str
    cache: Path
    engine: str
    url: str
    name: str


def few_indexes() -> None:
    """Of payload's fields: making one is like making another, and each is a step."""
    collection._INDEXED = dict(islice(collection._INDEXED.items(), 1))


def _die(where: Elsewhere, action: Action, at: int) -> None:
    fault = Fault(at)
    few_indexes()
    plain: Any = Connection.__dict__["client"]
    faulty: Any = cached_property(lambda self: Faulty(plain.func(self), fault, _REQUESTS))
    faulty.__set_name__(Connection, "client")
    Connection.client = faulty  # type: ignore[method-assign]
    store: Any = Faulty(MinioStore(where.store), fault, _OBJECTS)
    client: Any = Faulty(broker.connect(where.broker), fault)
    spec = IndexSpec.model_validate({"engine": where.engine, "url": where.url})
    project = Project(version=1, queues={}, functions={}, indexes={where.name: spec})
    index = open_index(lambda: project, store, client, where.cache)
    index._clock = later
    action(index, where.name)


@dataclass
class Scene:
    """One index; `wrong` is what was seen whenever the alias was switched, and must not be."""

    place: Place
    settings: StoreSettings
    broker: str
    wrong: list[str] = field(default_factory=list)

    @property
    def served(self) -> Served:
        assert isinstance(self.place.served, Served)
        return self.place.served

    def watch(self) -> None:
        def after(method: str, path: str) -> None:
            if path == "/collections/aliases":
                self.wrong += self.half_filled()

        self.served.trouble.after = after

    def kill(self, at: int, action: Action) -> bool:
        """Run `action(index, name)` in a process that dies before its step `at`; whether it came through."""
        assert at < _MOST_STEPS
        where = Elsewhere(
            self.settings, self.broker, self.place.folder / "killed", self.place.engine, self.place.url, self.place.name
        )
        child = _context().Process(target=_die, args=(where, action, at))
        child.start()
        child.join(120)
        if child.is_alive():
            child.kill()
            child.join()
            raise AssertionError(f"{action.__name__} hung at step {at}")
        assert child.exitcode in (0, -signal.SIGKILL), f"{action.__name__} failed at step {at}: see its output"
        name = self.place.name
        self.place.client.delete(keys.index_build(name), keys.index_removal(name))  # they have run out
        return bool(child.exitcode == 0)

    def named(self) -> str:
        """The collection that the alias names."""
        wanted = ledger.alias(self.place.name)
        aliases = self.served.client.get_aliases().aliases
        return next((str(one.collection_name) for one in aliases if one.alias_name == wanted), "")

    def half_filled(self) -> list[str]:
        """What is wrong with the collection that the alias names: no version is in it, or not all of one."""
        named = self.named()
        if not named:
            return []
        inside = [one for one in self.versions() if one.remote and one.remote.collection == named]
        told = [] if inside else [f"no version is in {named}"]
        for one in inside:
            assert one.remote
            count = self.served.client.count(named, seen(one.remote)).count
            if count != one.remote.rows:
                told.append(f"{named} has {count} of {one.remote.rows} chunks of generation {one.generation}")
        return told

    def versions(self) -> list[Manifest]:
        store, name = self.place.store, self.place.name
        return [manifest.read(store, name, number) for number, _ in manifest.listed(store, name)]

    def orphans(self) -> set[str]:
        """After a cleanup: collections that no kept version is in and that are there, are written down, or are named by
        the alias; and those that one is in and that are not there."""
        self.place.later = LATER
        self.place.index().cleanup(self.place.name, 0)
        mine = f"{ledger.alias(self.place.name)}_"
        there = {one.name for one in self.served.client.get_collections().collections if one.name.startswith(mine)}
        kept = {one.collection for version in self.versions() for one in (version.remote, version.ahead) if one}
        noted = {one.collection for one in ledger.listed(self.place.store, self.place.name)}
        return (there ^ kept) | (noted ^ kept) | ({self.named()} - {""} - kept)

    def drop(self) -> None:
        """Of many indexes each needs its own look only."""
        for one in ledger.listed(self.place.store, self.place.name):
            Collection(self.place.index().remote.connect(self.place.name), one.collection).drop()


def scene_of(
    settings: StoreSettings, broker_url: str, client: redis.Redis, folder: Path, served: Served, engine: str, at: int
) -> Scene:
    """An index of its own for each step."""
    name = f"{engine}-{at}-{time.monotonic_ns() % 10**6}"
    place = Place(engine, MinioStore(settings), client, folder, served, name=name)
    made = Scene(place, settings, broker_url)
    made.watch()
    return made


def _context() -> Any:
    """Children are forked from a process of one thread that has imported everything and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.qdrant_killing", "minio", "runtime.index.qdrant.move_in", "qdrant_client"])
    return context
