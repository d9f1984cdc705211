"""Every object of a bucket into the index: parallel batches, then one build."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from runtime.context import Context, ObjectInfo
from runtime.errors import BadInput, ObjectMissing

SUFFIXES = frozenset({".txt", ".md", ".html", ".pdf", ".docx"})
MAX_OBJECTS = 1000
MAX_BYTES = 32 * 2**20
IN_FLIGHT = 8
_QUIET = {"chain": False}  # one build at the end, not one a batch


@dataclass(frozen=True, slots=True)
class EmbedAllResult:
    """`total_docs` documents are in the index now, `failed` could not be read; `total_time` is in seconds.

    `skipped`: objects of a kind that is not read. `version`: the index's version after the build.
    """

    total_docs: int
    total_time: float
    docs_per_second: float
    failed: int
    skipped: int
    batches: int
    version: str


def embed_all(
    bucket: str = "documents", prefix: str = "", index: str = "default", *, context: Context
) -> EmbedAllResult:
    """Embed every object of `bucket` under `prefix` and build the index once.

    What was embedded before is found again by its content and costs a read. Raises BadInput for an unknown bucket.
    """
    listing = _Listing(bucket, prefix, context)
    done = failed = batches = 0
    asked = list(listing.batches(index))
    for first in context.map("embed_batch", asked, in_flight=IN_FLIGHT, options=_QUIET):
        result: dict[str, Any] | None = first
        batches += 1
        while result is not None:
            done += result["documents"]
            failed += len(result["failed"])
            result = _deferred(result, context)
        context.log.info("%s: %d documents embedded, %d failed", bucket, done, failed)
    built = context.call("build_index", index=index) if batches else None
    seconds = time.time() - context.accepted
    return EmbedAllResult(
        total_docs=done,
        total_time=round(seconds, 3),
        docs_per_second=round(done / seconds, 2) if seconds else 0.0,
        failed=failed,
        skipped=listing.skipped,
        batches=batches,
        version=_version(built, index, context),
    )


class _Listing:
    """The objects of a bucket as arguments of embed_batch, in bounded portions."""

    def __init__(self, bucket: str, prefix: str, context: Context) -> None:
        self._bucket, self._prefix, self._store = bucket, prefix, context.store
        self.skipped = 0

    def batches(self, index: str) -> Iterator[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        size = 0
        for item in self._objects():
            if batch and (len(batch) == MAX_OBJECTS or size + item.size > MAX_BYTES):
                yield {"objects": batch, "index": index}
                batch, size = [], 0
            batch.append({"bucket": item.bucket, "key": item.key, "etag": item.etag, "size": item.size})
            size += item.size
        if batch:
            yield {"objects": batch, "index": index}

    def _objects(self) -> Iterator[ObjectInfo]:
        try:
            for item in self._store.list(self._bucket, self._prefix):
                if PurePosixPath(item.key).suffix.lower() in SUFFIXES:
                    yield item
                elif not item.key.endswith("/"):  # the marker of a folder is no document
                    self.skipped += 1
        except ObjectMissing as error:
            raise BadInput(f"There is no bucket {self._bucket}. Create it, or name another one.") from error


def _deferred(result: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The result of the invocation that a batch handed the rest of its work to, if it did."""
    task = result.get("deferred_to")
    if task is None:
        return None
    rest: dict[str, Any] = next(context.wait(task))
    return rest


def _version(built: Any, index: str, context: Context) -> str:
    if isinstance(built, dict) and built.get("version"):
        return str(built["version"])
    current = context.index.current(index)
    return current.version if current else ""
