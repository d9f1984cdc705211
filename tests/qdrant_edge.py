"""Qdrant's own engine behind qdrant-client's methods, as far as tests/qdrant_server.py asks for them.

Qdrant Edge is the shard of a server, as a library: its write-ahead log, its segments, its indexes, and what it makes of
conditions and filters. Left out is what a server has around its shards: network, copies and consensus. Aliases are a
dictionary here, and groups are made of an answer that is long enough, since a server does both outside of its shards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import qdrant_edge as edge
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from tests.qdrant_edge_words import condition, index_of, memory, quantized

MANY = 10_000
"""Points that are looked at for groups."""

SMALL_KB = 1
"""From so many kB of vectors on a segment gets its graph and its quantized vectors: tests have few."""


class EdgeClient:
    """Collections as shards below a folder. Not safe from several threads; tests/qdrant_server.py has a lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def close(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    def shard(self, name: str) -> Any:
        """By its own name or an alias. Raises ValueError where there is none."""
        found = self._shards.get(self._aliases.get(name, name))
        if found is None:
            raise ValueError(f"Collection {name} not found")
        return found

    def reopen(self, name: str) -> None:
        """As after a restart: what is not in its files is gone."""
        self.shard(name).close()
        self._shards[name] = edge.EdgeShard.load(self._place(name))

    # Collections and aliases

    def collection_exists(self, name: str) -> bool:
        return name in self._shards or name in self._aliases

    def create_collection(
        self,
        name: str,
        vectors_config: dict[str, models.VectorParams],
        *,
        hnsw_config: models.HnswConfigDiff | None = None,
        quantization_config: models.ScalarQuantization | None = None,
        payload: models.PayloadStorageParams | None = None,
        **_: Any,
    ) -> bool:
        vectors = {
            vector: edge.EdgeVectorParams(one.size, edge.Distance.Dot, memory=memory(one.memory))
            for vector, one in vectors_config.items()
        }
        graph = edge.HnswIndexConfig(16, 100, 10, memory=memory(hnsw_config.memory if hnsw_config else None))
        config = edge.EdgeConfig(
            vectors=vectors,
            hnsw_config=graph,
            quantization_config=quantized(quantization_config),
            payload_memory=memory(payload.memory if payload else None),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=SMALL_KB),
        )
        self._shards[name] = edge.EdgeShard.create(self._place(name), config)
        return True

    def delete_collection(self, name: str) -> bool:
        shard = self._shards.pop(name, None)
        if shard is not None:
            shard.close()
            shutil.rmtree(self._place(name))
            self._aliases = {alias: one for alias, one in self._aliases.items() if one != name}
        return shard is not None

    def get_collections(self) -> models.CollectionsResponse:
        return models.CollectionsResponse(collections=[models.CollectionDescription(name=one) for one in self._shards])

    def get_collection(self, name: str) -> models.CollectionInfo:
        """Its optimizer has run to its end: a server's does so by itself."""
        shard = self.shard(name)
        while shard.optimize():
            pass
        optimizer = models.OptimizersConfig(
            deleted_threshold=0.2, vacuum_min_vector_number=1000, default_segment_number=0, flush_interval_sec=5
        )
        graph = models.HnswConfig(m=16, ef_construct=100, full_scan_threshold=10)
        return models.CollectionInfo(
            status=models.CollectionStatus.GREEN,
            optimizer_status=models.OptimizersStatusOneOf.OK,
            segments_count=shard.info().segments_count,
            config=models.CollectionConfig(
                params=models.CollectionParams(), hnsw_config=graph, optimizer_config=optimizer
            ),
            payload_schema={},
        )

    def create_payload_index(self, name: str, field: str, schema: Any) -> None:
        self._update(name, edge.UpdateOperation.create_field_index(field, index_of(schema)))

    def get_aliases(self) -> models.CollectionsAliasesResponse:
        known = self._aliases.items()
        return models.CollectionsAliasesResponse(
            aliases=[models.AliasDescription(alias_name=alias, collection_name=name) for alias, name in known]
        )

    def update_collection_aliases(self, change_aliases_operations: Sequence[Any]) -> bool:
        changed = dict(self._aliases)
        for one in change_aliases_operations:
            if isinstance(one, models.DeleteAliasOperation):
                changed.pop(one.delete_alias.alias_name, None)
            else:
                self.shard(one.create_alias.collection_name)
                changed[one.create_alias.alias_name] = one.create_alias.collection_name
        self._aliases = changed
        return True

    # Points

    def upsert(
        self, name: str, points: Sequence[models.PointStruct], update_filter: models.Filter | None = None
    ) -> None:
        made = [edge.Point(one.id, cast("Any", one.vector), one.payload) for one in points]
        self._update(name, edge.UpdateOperation.upsert_points(made, condition(update_filter)))

    def batch_update_points(self, name: str, operations: Sequence[Any]) -> None:
        for one in operations:
            if isinstance(one, models.UpsertOperation):
                self.upsert(name, one.upsert.points, one.upsert.update_filter)  # type: ignore[union-attr]
            elif isinstance(one, models.SetPayloadOperation):
                wanted = one.set_payload
                change = edge.UpdateOperation.set_payload_by_filter(condition(wanted.filter), wanted.payload)
                self._update(name, change)
            else:
                raise ValueError(f"{type(one).__name__} is not translated")

    def delete(self, name: str, points_selector: Any) -> None:
        if isinstance(points_selector, list):
            self._update(name, edge.UpdateOperation.delete_points(points_selector))
        else:
            self._update(name, edge.UpdateOperation.delete_points_by_filter(condition(points_selector.filter)))

    def retrieve(self, name: str, ids: Sequence[Any], with_payload: Any = True, with_vectors: Any = False) -> Any:
        return [_record(one) for one in _told(lambda: self.shard(name).retrieve(list(ids), with_payload, with_vectors))]

    def count(self, name: str, count_filter: models.Filter | None = None) -> models.CountResult:
        asked = edge.CountRequest(exact=True, filter=condition(count_filter))
        return models.CountResult(count=_told(lambda: self.shard(name).count(asked)))

    def scroll(
        self,
        name: str,
        scroll_filter: models.Filter | None = None,
        limit: int = 10,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
    ) -> tuple[list[models.Record], Any]:
        asked = edge.ScrollRequest(offset, limit, condition(scroll_filter), with_payload, with_vectors)
        found, following = _told(lambda: self.shard(name).scroll(asked))
        return [_record(one) for one in found], str(following) if following is not None else None

    def query_points(
        self,
        name: str,
        query: list[float],
        using: str,
        limit: int = 10,
        query_filter: models.Filter | None = None,
        score_threshold: float | None = None,
        with_payload: Any = False,
        search_params: models.SearchParams | None = None,
        **_: Any,
    ) -> QueryResponse:
        params, again = search_params or models.SearchParams(), None
        if params.quantization:
            told = params.quantization
            again = edge.QuantizationSearchParams(bool(told.ignore), told.rescore, told.oversampling)
        asked = edge.QueryRequest(
            limit,
            query=edge.Query.Nearest(query, using=using),
            with_payload=with_payload,
            filter=condition(query_filter),
            score_threshold=score_threshold,
            params=edge.SearchParams(exact=bool(params.exact), quantization=again),
        )
        found = _told(lambda: self.shard(name).query(asked))
        return QueryResponse(points=[_scored(one) for one in found])

    def query_points_groups(
        self, name: str, group_by: str, limit: int = 10, group_size: int = 3, **asked: Any
    ) -> models.GroupsResult:
        groups: dict[str, list[models.ScoredPoint]] = {}
        for one in self.query_points(name, limit=MANY, **asked).points:
            groups.setdefault(str((one.payload or {})[group_by]), []).append(one)
        best = list(groups.items())[:limit]
        return models.GroupsResult(groups=[models.PointGroup(id=group, hits=hits[:group_size]) for group, hits in best])

    def _update(self, name: str, operation: Any) -> None:
        _told(lambda: self.shard(name).update(operation))

    def _place(self, name: str) -> str:
        return str(self._folder / name)


@contextmanager
def edge_client() -> Iterator[EdgeClient]:
    """One in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tundish-edge-") as folder:
        client = EdgeClient(Path(folder))
        try:
            yield client
        finally:
            client.close()


def _told(ask: Callable[[], Any]) -> Any:
    """The library raises plain exceptions where a server would answer 400."""
    try:
        return ask()
    except ValueError:
        raise
    except Exception as error:  # it has no class of its own
        raise ValueError(str(error)) from error


def _record(one: Any) -> models.Record:
    return models.Record(id=str(one.id), payload=one.payload, vector=one.vector)


def _scored(one: Any) -> models.ScoredPoint:
    return models.ScoredPoint(id=str(one.id), version=one.version, score=one.score, payload=one.payload)
