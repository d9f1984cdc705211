"""When a trigger began, and that its ledger was once complete: an object in the store, which outlives the broker.

By it a ledger that was lost (another broker, an emptied one) is told from one that has not been there yet.
"""

from __future__ import annotations

import json
import time
from typing import Protocol

from runtime.buckets.watch import Watch
from runtime.context import StoredObject
from runtime.errors import ObjectMissing, PreconditionFailed


class MarkerStore(Protocol):
    """What a marker needs of the store."""

    bucket: str

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject: ...
    def put(self, bucket: str, key: str, data: bytes, *, content_type: str = "", create_only: bool = False) -> str: ...
    def server_time(self, bucket: str) -> float: ...


class Marker:
    """`triggers/{name}.json` in Tundish's own bucket. Raises StoreDown and StoreDenied."""

    def __init__(self, store: MarkerStore, watch: Watch) -> None:
        self._store, self._watch = store, watch
        self._key = f"triggers/{watch.name}.json"
        self.since = 0.0
        """When the trigger began, by the store's clock, in seconds since the epoch."""
        self.listed = False
        """Whether its ledger has once been compared with the whole bucket."""

    def read(self) -> None:
        """Find the marker; make it for a trigger that begins now."""
        try:
            self._load()
        except ObjectMissing:
            self.since = self._store.server_time(self._watch.trigger.bucket) or time.time()
            try:
                self._write(create_only=True)
            except PreconditionFailed:  # another process was faster
                self._load()

    def note_listed(self) -> None:
        """The first complete listing has ended."""
        if not self.listed:
            self.listed = True
            self._write()

    def _load(self) -> None:
        told = json.loads(self._store.get(self._store.bucket, self._key, limit=2**16).data)
        self.since, self.listed = float(told["since"]), bool(told["listed"])

    def _write(self, *, create_only: bool = False) -> None:
        told = {"function": self._watch.function.name, "bucket": self._watch.trigger.bucket}
        data = json.dumps({**told, "since": self.since, "listed": self.listed}).encode()
        self._store.put(self._store.bucket, self._key, data, content_type="application/json", create_only=create_only)
