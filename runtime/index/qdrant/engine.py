"""Qdrant for the indexes of one store: its parts, made at the first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import redis

from runtime.config.engine import QDRANT, EngineSpec
from runtime.context import Store
from runtime.index.manifest import Manifest
from runtime.index.qdrant import ledger
from runtime.index.qdrant.connection import Connection

if TYPE_CHECKING:
    from runtime.index.cache import SegmentCache
    from runtime.index.qdrant.builder import Builder
    from runtime.index.qdrant.move_in import MoveIn
    from runtime.index.qdrant.move_out import MoveOut
    from runtime.index.qdrant.remodel import Remodel
    from runtime.index.writer import Builder as FilesBuilder

Spec = Callable[[str], EngineSpec]


class Connections:
    """One connection for each index, and another one when functions.yaml says something else of it."""

    def __init__(self, spec_of: Spec) -> None:
        self._spec_of = spec_of
        self._known: dict[str, Connection] = {}

    def __call__(self, index: str) -> Connection:
        spec, known = self._spec_of(index), self._known.get(index)
        if known is None or known.spec != spec:
            known = self._known[index] = Connection(index, spec)
        return known

    def fresh(self) -> Connections:
        """The same, with nothing opened: an event loop that ends has connections of its own."""
        return Connections(self._spec_of)

    async def aclose(self) -> None:
        for one in self._known.values():
            await one.aclose()
        self._known.clear()


class QdrantEngine:
    """What `runtime.index.engines` needs of Qdrant."""

    def __init__(self, store: Store, client: redis.Redis, spec_of: Spec, *, tell: Callable[[Manifest], object]) -> None:
        self._store, self._client, self._tell = store, client, tell
        self.connect = Connections(spec_of)

    @cached_property
    def builder(self) -> Builder:
        from runtime.index.qdrant.builder import Builder

        return Builder(self._store, self._client, self.connect, tell=self._tell)

    def migrator(self, cache: SegmentCache) -> Remodel:
        """Who brings an index to another model."""
        from runtime.index.qdrant.remodel import Remodel

        return Remodel(self._store, self._client, cache, self.builder, self._tell)

    def mover(self, engine: str, cache: SegmentCache, files: FilesBuilder) -> MoveIn | MoveOut:
        """Who brings an index to Qdrant, or to FAISS, whose builder is `files`."""
        if engine == QDRANT:
            from runtime.index.qdrant.move_in import MoveIn

            return MoveIn(self._store, self._client, cache, files.build, self._tell, self.connect)
        from runtime.index.qdrant.move_out import MoveOut

        return MoveOut(self._store, self._client, cache, self.builder.build, self._tell, files.take)

    def point(self, current: Manifest) -> None:
        """Let the alias of an index name the collection of this version."""
        from runtime.index.qdrant.collection import switch

        if current.remote:
            switch(self.connect(current.index), ledger.alias(current.index), current.remote.collection)

    def holds(self, version: Manifest) -> bool:
        """Whether the collection of a version is there."""
        from runtime.index.qdrant.collection import Collection

        remote = version.remote
        return remote is not None and Collection(self.connect(version.index), remote.collection).exists()

    def has_any(self, index: str) -> bool:
        """Whether a collection was ever made for an index, and is not forgotten."""
        return any(True for _ in ledger.listed(self._store, index))

    def used(self, version: Manifest) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """The batches that a version has read, and those that hold the newest version of a document."""
        from runtime.index.qdrant.cleaning import used

        return used(self.connect(version.index), version)

    def cleanup(self, index: str, clock: Callable[[], float]) -> dict[str, int]:
        from runtime.index.qdrant.cleaning import clean

        return clean(self._store, self.connect(index), index, clock())
