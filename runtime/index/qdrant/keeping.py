"""What an index in Qdrant holds of documents that are about to be embedded: their newest versions, with the vectors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from runtime.context import Kept, Store
from runtime.errors import CorruptBatch, EngineDown, IndexUnavailable, ObjectMissing
from runtime.index import batches
from runtime.index.docs import identity
from runtime.index.kept import of_batch
from runtime.index.manifest import Manifest
from runtime.index.qdrant import points
from runtime.index.qdrant.collection import Collection
from runtime.index.qdrant.connection import Connection

log = logging.getLogger("tundish.index")


def kept(
    store: Store, connection: Connection, version: Manifest, documents: Sequence[tuple[str, str, str]], model: str
) -> Iterator[Kept]:
    """As `Offers.of`, but for other documents with the same etag: Qdrant is asked by name alone.

    It is an offer: where Qdrant is away there is none, and everything is embedded. Raises StoreDown.
    """
    if version.remote is None or version.model != model:
        return
    names = {points.document_id(version.index, bucket, key): (bucket, key) for bucket, key, _ in documents}
    try:
        heads = Collection(connection, version.remote.collection).payloads(list(names))
    except (EngineDown, IndexUnavailable, ObjectMissing) as error:
        log.info("index %s: nothing of it is used again: %s", version.index, error)
        return
    wanted: dict[str, set[tuple[int, int, int]]] = {}
    for name, head in heads.items():
        wanted.setdefault(str(head["batch"]), set()).add((*identity(*names[name]), int(head["seq"])))
    for batch, versions in wanted.items():
        try:
            found = batches.read(store, version.space, batch)
        except (CorruptBatch, ObjectMissing) as error:
            log.info("index %s: a batch is not used again: %s", version.index, error)
            continue
        offer = of_batch(found, versions) if found.model == version.model else None
        if offer:
            yield offer
