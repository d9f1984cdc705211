"""One collection of Qdrant: made, filled, counted, dropped; and the alias that names one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from qdrant_client import models

from runtime.errors import EngineDown, IndexUnavailable, ObjectMissing
from runtime.index.qdrant.connection import Connection
from runtime.index.qdrant.points import VECTOR

PAGE = 1000
"""Points that are asked for at once."""

READY_SECONDS, READY_PAUSE = 600.0, 0.5

_WORD = models.KeywordIndexType.KEYWORD
_NUMBER = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, enable_hnsw=False)
_EPOCH = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True, enable_hnsw=False)
_PLAIN = models.KeywordIndexParams(type=_WORD, enable_hnsw=False)
_INDEXED: dict[str, Any] = {
    "tenant": models.KeywordIndexParams(type=_WORD, is_tenant=True),
    "bucket": models.KeywordIndexParams(type=_WORD),
    "terms": models.KeywordIndexParams(type=_WORD),
    "key": models.KeywordIndexParams(type=_WORD, prefix=True, enable_hnsw=False),
    "kind": _PLAIN,
    "document": _PLAIN,
    "batch": _PLAIN,
    "numbers[].name": _PLAIN,
    "numbers[].value": _NUMBER,
    "modified": _NUMBER,
    "chunks": _EPOCH,
    "born": _EPOCH,
    "died": _EPOCH,
}
"""What filters ask for, as it is held in memory. Tenants share a collection; Qdrant keeps the points of each together
(`is_tenant`)."""


class Collection:
    """A collection by its name. What it raises is in Connection.ask."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self.name = connection, name

    @property
    def _client(self) -> Any:
        return self._connection.client

    def create(self, dimensions: int) -> None:
        """Make it as functions.yaml says; nothing where it is there. Every copy of a shard takes part in a write.

        With `on_disk` what is large is read from disk when it is asked for: vectors, their graph, payload indexes. What
        is searched first, vectors in int8, stays in memory. Payloads are on disk always.
        """
        spec = self._connection.spec
        cold, pinned = (models.Memory.COLD, models.Memory.PINNED) if spec.on_disk else (None, None)
        quantization = None
        if spec.quantization == "int8":
            scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, memory=pinned)
            quantization = models.ScalarQuantization(scalar=scalar)
        vectors = models.VectorParams(size=dimensions, distance=models.Distance.DOT, memory=cold)

        def make() -> None:
            if not self._client.collection_exists(self.name):
                self._client.create_collection(
                    self.name,
                    vectors_config={VECTOR: vectors},
                    shard_number=spec.shards,
                    replication_factor=spec.replicas,
                    write_consistency_factor=spec.replicas,
                    payload=models.PayloadStorageParams(memory=models.Memory.COLD),
                    hnsw_config=models.HnswConfigDiff(memory=cold) if cold else None,
                    quantization_config=quantization,
                )

        self._connection.ask(make)
        for field, schema in _INDEXED.items():
            kept = schema.model_copy(update={"memory": cold})
            self._connection.ask(
                partial(self._client.create_payload_index, self.name, field, field_schema=kept, wait=True)
            )

    def exists(self) -> bool:
        return bool(self._connection.ask(lambda: self._client.collection_exists(self.name)))

    def drop(self) -> bool:
        """Whether it was there. What is gone is gone."""
        there = self.exists()
        self._connection.ask(lambda: self._client.delete_collection(self.name))
        return there

    def upsert(self, points: Sequence[models.PointStruct], unless: models.Filter | None = None) -> None:
        """Write points. `unless`: what a point that is there must be like for the new one to take its place."""
        if points:
            self._connection.ask(
                lambda: self._client.upsert(
                    self.name,
                    points=list(points),
                    wait=True,
                    ordering=models.WriteOrdering.MEDIUM,
                    update_filter=unless,
                )
            )

    def change(self, operations: Sequence[Any]) -> None:
        """Several changes in one request, one after the other, each under a condition of its own."""
        if operations:
            self._connection.ask(
                lambda: self._client.batch_update_points(
                    self.name, list(operations), wait=True, ordering=models.WriteOrdering.MEDIUM
                )
            )

    def remove(self, which: models.Filter) -> None:
        selector = models.FilterSelector(filter=which)
        self._connection.ask(
            lambda: self._client.delete(
                self.name, points_selector=selector, wait=True, ordering=models.WriteOrdering.MEDIUM
            )
        )

    def payloads(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What stands beside these points, by their names; of those that are there."""
        found: dict[str, dict[str, Any]] = {}
        for first in range(0, len(ids), PAGE):
            some = list(ids[first : first + PAGE])
            asked = partial(self._client.retrieve, self.name, some, with_payload=True, with_vectors=False)
            found |= {str(record.id): record.payload or {} for record in self._connection.ask(asked)}
        return found

    def count(self, which: models.Filter) -> int:
        """How many points pass, exactly."""
        return int(self._connection.ask(lambda: self._client.count(self.name, which, exact=True)).count)

    def scroll(
        self, which: models.Filter, fields: Sequence[str] | bool = True, *, vectors: bool = False, limit: int = PAGE
    ) -> Iterator[list[models.Record]]:
        """All points that pass, page by page, in the order of their names."""
        following: Any = None
        while True:
            asked = partial(
                self._client.scroll,
                self.name,
                scroll_filter=which,
                limit=limit,
                offset=following,
                with_payload=fields if isinstance(fields, bool) else list(fields),
                with_vectors=[VECTOR] if vectors else False,
            )
            page, following = self._connection.ask(asked)
            if page:
                yield page
            if following is None:
                return

    def wait_ready(self, stop: Callable[[], bool] = lambda: False, seconds: float = READY_SECONDS) -> bool:
        """Until what was written is in the graph, or `stop` or the time says no. Raises IndexUnavailable where
        Qdrant's own optimizer failed."""
        end, asked = time.monotonic() + seconds, False
        while True:
            status = self._connection.ask(lambda: self._client.get_collection(self.name)).status
            if status == models.CollectionStatus.GREEN:
                return True
            if status == models.CollectionStatus.GREY and not asked:
                # After a restart it waits for a change before it goes on; one that changes nothing is enough.
                nothing, asked = models.OptimizersConfigDiff(), True
                self._connection.ask(partial(self._client.update_collection, self.name, optimizers_config=nothing))
            if status == models.CollectionStatus.RED:
                raise IndexUnavailable(
                    f"Qdrant at {self._connection.place} says that collection {self.name} is broken (status red); "
                    "its log says why."
                )
            if stop() or time.monotonic() >= end:
                return False
            time.sleep(READY_PAUSE)


def alias_of(connection: Connection, alias: str) -> str | None:
    """The collection that an alias names."""
    found = connection.ask(connection.client.get_aliases).aliases
    return next((str(one.collection_name) for one in found if one.alias_name == alias), None)


def forget(connection: Connection, alias: str) -> None:
    """Let an alias name nothing."""
    gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    connection.ask(lambda: connection.client.update_collection_aliases(change_aliases_operations=[gone]))


def switch(connection: Connection, alias: str, collection: str) -> None:
    """Let an alias name a collection from now on: one request, which Qdrant does as a whole."""
    known = alias_of(connection, alias)
    if known == collection:
        return
    operations: list[Any] = []
    if known:
        operations.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
    made = models.CreateAlias(collection_name=collection, alias_name=alias)
    operations.append(models.CreateAliasOperation(create_alias=made))
    try:
        connection.ask(lambda: connection.client.update_collection_aliases(change_aliases_operations=operations))
    except (EngineDown, ObjectMissing, IndexUnavailable):
        if alias_of(connection, alias) != collection:  # somebody else has just done the same
            raise
