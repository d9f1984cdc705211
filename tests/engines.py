"""The two engines of an index behind one face, for tests that both have to pass."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from runtime.config.limits import IndexSpec
from runtime.config.settings import Project
from runtime.context import Migration, Store
from runtime.index import manifest
from runtime.index.engines import Indexes, open_index
from runtime.index.qdrant import ledger
from runtime.index.qdrant.collection import Collection
from runtime.index.qdrant.engine import Connections
from runtime.index.qdrant.searching import Searcher
from runtime.index.reader import IndexReader
from runtime.index.search import MAX_K, Search, SearchResult
from tests.indexing import vector
from tests.qdrant_edge import edge_client
from tests.qdrant_server import Served, serve

EDGE = "qdrant-edge"
ENGINES = ("faiss", "qdrant", EDGE)
"""`qdrant`: a real server where the environment names one, else local mode. The last is Qdrant's own engine, always."""


@contextmanager
def a_qdrant(engine: str = "qdrant") -> Iterator[Served | str]:
    """The URL of a real server where the environment names one; else a small one over local mode, or the engine."""
    if engine == EDGE:
        with edge_client() as client, serve(client=client) as served:
            yield served
    elif url := os.environ.get("TUNDISH_TEST_QDRANT"):
        yield url
    else:
        with serve() as served:
            yield served


@dataclass
class Place:
    """One index of one engine. `later`: by how many seconds the clock of cleanup is ahead."""

    engine: str
    store: Store
    client: redis.Redis
    folder: Path
    served: Served | str
    name: str = "default"
    later: float = 0.0
    extra: dict[str, object] = field(default_factory=dict)
    url: str = ""

    def __post_init__(self) -> None:
        self.url = self.served if isinstance(self.served, str) else self.served.url

    @property
    def project(self) -> Project:
        spec = IndexSpec.model_validate({"engine": self.engine, "url": self.url, **self.extra})
        return Project(version=1, queues={}, functions={}, indexes={self.name: spec})

    def drop(self) -> None:
        """Leave nothing behind in a real server."""
        for made in ledger.listed(self.store, self.name) if isinstance(self.served, str) else ():
            Collection(self.index().remote.connect(self.name), made.collection).drop()

    def index(self) -> Indexes:
        """A port as another process would have it."""
        made = open_index(lambda: self.project, self.store, self.client, self.folder / "cache")
        made._clock = lambda: time.time() + self.later
        return made

    def search(self, search: Search, generation: int | None = None) -> SearchResult:
        """The answer of the newest version, or of another one, as a gateway would find it."""
        current = manifest.newest(self.store, self.name)
        if current is None:
            return SearchResult()
        if generation is not None:
            current = manifest.read(self.store, self.name, generation)
        if current.remote is None:
            reader = IndexReader(self.store, self.folder / "reader")
            reader.refresh(self.name)
            (found,) = reader.search_many(self.name, [search])
            if isinstance(found, Exception):
                raise found
            return found

        async def ask() -> SearchResult:
            searcher = Searcher(Connections(self.project.engine_of))
            try:
                return await searcher.search(current, search)
            finally:
                await searcher.close()

        return asyncio.run(ask())

    def contents(self, generation: int | None = None) -> dict[str, list[str]]:
        """Everything that a version holds: chunks by key."""
        hits = self.search(Search(vector("anything"), MAX_K), generation).hits
        found: dict[str, list[str]] = {}
        for hit in sorted(hits, key=lambda hit: (hit.key, hit.chunk)):
            found.setdefault(hit.key, []).append(hit.text)
        return found


def move(
    place: Place, engine: str, run: str = "r1", *, recall: float = 0.99, stop: Callable[[], bool] = lambda: False
) -> Migration:
    """Move an index to another engine, or go on with it: `run` names who does."""
    return place.index().move(
        place.name, engine, recall=recall, run=run, task=run, stop=stop, report=lambda done, total, message: None
    )


def engine_of(place: Place) -> str:
    """The engine of the current version; '' where there is none."""
    current = manifest.newest(place.store, place.name)
    return current.engine if current else ""
