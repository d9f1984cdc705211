"""A search of a version in Qdrant: one asynchronous call, and a second one where documents are asked for.

Nothing of an index is held here. A version is asked for by the name of its collection and its epoch, so what comes back
is that version's, whatever is published meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from runtime.errors import BadInput, EngineDown, NoWords, OtherModel
from runtime.index.docs import Vectors
from runtime.index.held import Held
from runtime.index.manifest import Manifest
from runtime.index.qdrant import points
from runtime.index.qdrant.conditions import both, equal, of, seen
from runtime.index.qdrant.connection import Connection
from runtime.index.qdrant.engine import Connections
from runtime.index.qdrant.points import VECTOR
from runtime.index.remote import Remote
from runtime.index.search import MAX_K, Hit, Search, SearchResult, query_of

OVERSAMPLING = 3.0
"""Of a quantized collection so many times as many are found first, then scored with the exact vectors."""

MOST_CHUNKS = 10_000
"""Of one document that are counted."""

FIELDS = ["bucket", "key", "document", "text", "chunk", "start", "end", "etag", "meta"]


class Searcher:
    """Searches the versions that Qdrant holds. `connect` gives the connection of an index."""

    def __init__(self, connect: Connections) -> None:
        self._connect = connect

    def opened(self, index: str) -> bool:
        """Whether there are connections to ask for this index."""
        return "asynchronous" in self._connect(index).__dict__

    def open(self, index: str) -> None:
        """Make them: reading certificates takes a moment, which is better spent in a thread. Raises EngineDown."""
        _ = self._connect(index).asynchronous

    async def search(self, version: Manifest, search: Search, *, exact: bool = False) -> SearchResult:
        """The answer to one search. `exact`: by looking at every vector.

        Raises BadInput (OtherModel, NoWords), EngineDown where Qdrant is away or too slow, and ObjectMissing where the
        collection is gone.
        """
        remote = version.remote
        if remote is None:
            raise TypeError(f"generation {version.generation} of index {version.index} is not Qdrant's")
        query = _checked(version, search)
        connection = self._connect(version.index)
        which = both(seen(remote), of(search.filters))
        asked = self._documents if search.group else self._chunks
        try:
            async with asyncio.timeout(connection.spec.timeout):
                hits = await asked(connection, remote, query, search, which, _parameters(connection, exact))
        except TimeoutError:
            raise EngineDown(
                f"Qdrant at {connection.place} (index {version.index}) did not answer within "
                f"{connection.spec.timeout:g} s. Try again in a few seconds."
            ) from None
        except connection.failures as error:
            raise connection.told(error)[0] from None
        return SearchResult(version.version, version.generation, hits)

    async def document(self, version: Manifest, bucket: str, key: str) -> Held | None:
        """A document as a version holds it, at most its first chunks; None where it has none there. Raises EngineDown
        and ObjectMissing."""
        if version.remote is None:
            return None
        connection = self._connect(version.index)
        name = points.document_id(version.index, bucket, key)
        which = both(seen(version.remote), models.Filter(must=[equal("document", name)]))
        try:
            async with asyncio.timeout(connection.spec.timeout):
                found, _ = await connection.asynchronous.scroll(
                    version.remote.collection, scroll_filter=which, limit=MOST_CHUNKS, with_payload=True
                )
        except connection.failures as error:
            raise connection.told(error)[0] from None
        chunks = sorted((one.payload or {} for one in found), key=lambda payload: int(payload["chunk"]))
        if not chunks:
            return None
        return Held(chunks[0]["seq"], chunks[0]["etag"], _Chunks(chunks), tuple(range(len(chunks))))

    async def close(self) -> None:
        await self._connect.aclose()

    async def _chunks(
        self, connection: Connection, remote: Remote, query: Vectors, search: Search, which: models.Filter, how: Any
    ) -> list[Hit]:
        found = await connection.asynchronous.query_points(
            remote.collection,
            query=query.tolist(),
            using=VECTOR,
            limit=search.k,
            query_filter=which,
            score_threshold=search.min_score,
            search_params=how,
            with_payload=FIELDS,
        )
        return [_hit(one.payload or {}, one.score) for one in found.points]

    async def _documents(
        self, connection: Connection, remote: Remote, query: Vectors, search: Search, which: models.Filter, how: Any
    ) -> list[Hit]:
        found = await connection.asynchronous.query_points_groups(
            remote.collection,
            group_by="document",
            query=query.tolist(),
            using=VECTOR,
            limit=search.k,
            group_size=1,
            query_filter=which,
            score_threshold=search.min_score,
            search_params=how,
            with_payload=FIELDS,
        )
        best = sorted((one for group in found.groups for one in group.hits), key=lambda one: -one.score)
        if not best:
            return []
        payloads = [one.payload or {} for one in best]
        others = await self._further(
            connection, remote, query, search, which, [str(one["document"]) for one in payloads]
        )
        return [_hit(payload, one.score, count) for payload, one, count in zip(payloads, best, others, strict=True)]

    async def _further(
        self,
        connection: Connection,
        remote: Remote,
        query: Vectors,
        search: Search,
        which: models.Filter,
        documents: Sequence[str],
    ) -> list[int]:
        """How many other chunks of each document pass, and have the least score."""
        requests = [
            models.QueryRequest(
                query=query.tolist(),
                using=VECTOR,
                filter=both(which, models.Filter(must=[equal("document", name)])),
                score_threshold=search.min_score,
                params=models.SearchParams(exact=True),
                limit=MOST_CHUNKS,
                with_payload=False,
            )
            for name in documents
        ]
        found = await connection.asynchronous.query_batch_points(remote.collection, requests=requests)
        return [max(0, len(one.points) - 1) for one in found]


def _checked(version: Manifest, search: Search) -> Vectors:
    if not 1 <= search.k <= MAX_K:
        raise BadInput(f"k must be between 1 and {MAX_K}, not {search.k}.")
    if search.model and search.model != version.model:
        raise OtherModel
    if search.mode != "vector":
        raise NoWords
    return query_of(search.vector, version)


def _parameters(connection: Connection, exact: bool) -> models.SearchParams | None:
    if exact:
        ignore = models.QuantizationSearchParams(ignore=True)
        return models.SearchParams(exact=True, quantization=ignore)
    if connection.spec.quantization == "none":
        return None
    again = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    return models.SearchParams(quantization=again)


def _hit(payload: dict[str, Any], score: float, further: int | None = None) -> Hit:
    return Hit(
        payload["bucket"],
        payload["key"],
        float(np.float32(score)),
        payload["text"],
        payload["chunk"],
        payload["start"],
        payload["end"],
        payload["etag"],
        payload.get("meta") or {},
        further,
    )


class _Chunks:
    """The rows of one document, by their place."""

    def __init__(self, payloads: Sequence[dict[str, Any]]) -> None:
        self._payloads = payloads

    def fields(self, row: int) -> dict[str, Any]:
        return self._payloads[row]
