"""A batch without a look at its vectors, where the store's word is enough that they are what was committed.

The commit keeps the etag that the store gave to the object of the vectors when it was written. While a listing gives
the same one, and the size that so many vectors have, nobody has written anything else there. What a disk does to the
bytes, whoever reads them sees: they have a hash, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from runtime.context import Store
from runtime.errors import ObjectMissing
from runtime.index import layout
from runtime.index.batch_commit import decode
from runtime.index.batches import Batch, Listed
from runtime.index.docs import Vectors
from runtime.index.packed import Packed
from runtime.index.vector_file import NPY_BYTES

THREADS = 8


def glance(store: Store, index: str, batch_id: str, listed: Listed) -> Batch | None:
    """A batch with NaN for vectors, which take no memory; None where one has to look at them: the object is another
    one, or an earlier release wrote it. Raises ObjectMissing and CorruptBatch as `batches.read` does."""
    path = layout.batch(index, batch_id) + layout.ROWS
    stored = store.get(store.bucket, path)
    commit = decode(path, stored.data)
    if not commit.etag or commit.etag != listed.vectors or not isinstance(commit.contents, Packed):
        return None
    shape = commit.puts(), commit.dimensions
    if listed.size != NPY_BYTES + shape[0] * shape[1] * 4 or not all(shape):
        return None
    vectors: Vectors = np.broadcast_to(np.float32(np.nan), shape)
    return Batch(
        batch_id,
        stored.etag,
        commit.model,
        commit.contents,
        vectors,
        commit.made,
        commit.backends,
        commit.vectors,
    )


def asked(store: Store, index: str, ids: Sequence[str]) -> dict[str, Listed]:
    """What a listing would say of the vectors of these batches; those that are gone are left out."""

    def one(batch_id: str) -> Listed | None:
        try:
            found = store.head(store.bucket, layout.batch(index, batch_id) + layout.VECTORS)
        except ObjectMissing:
            return None
        return Listed(vectors=found.etag, size=found.size)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="batches") as pool:
        return {batch_id: found for batch_id, found in zip(ids, pool.map(one, ids), strict=True) if found}
