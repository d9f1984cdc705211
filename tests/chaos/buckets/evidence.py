"""What is there when the bucket storm is over: the bucket, the index, the ledger, the records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.broker.connection import connect
from runtime.buckets.watch import watches
from runtime.config.load import load_settings
from runtime.index.reader import IndexReader
from runtime.index.search import MAX_K, Hit
from runtime.invocations.invocation import Invocation
from runtime.store.port import MinioStore
from tests.chaos import evidence
from tests.chaos.buckets import clients
from tests.chaos.buckets.clients import BUCKET, Done
from tests.chaos.buckets.store import Store
from tests.chaos.killer import Kill
from tests.system import System
from triggers.ledger import Ledger


@dataclass(slots=True)
class Evidence:
    """`told`: what the bucket must hold by what the clients were told; `bucket`: key → etag by another S3 client;
    `index`: key → its chunks in the newest version, `hidden`: chunks that are counted but not found; `ledger`: key →
    (state, etag); `out`: batches under way; `verdict`: exit code and word of `tundish index verify`; `settled`: how
    many seconds after the last change all was equal and quiet."""

    done: list[Done] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    told: dict[str, bytes] = field(default_factory=dict)
    bucket: dict[str, str] = field(default_factory=dict)
    index: dict[str, list[Hit]] = field(default_factory=dict)
    hidden: int = 0
    ledger: dict[str, tuple[str, str]] = field(default_factory=dict)
    out: int = 0
    held: bool = False
    records: dict[str, Invocation] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    post: Counter[str] = field(default_factory=Counter)
    verdict: tuple[int, dict[str, Any]] = (0, {})
    seconds: float = 0.0
    settled: float = 0.0


class Witness:
    """Looks at a system without asking it: at the store with an S3 client of others, at the broker, at the index."""

    def __init__(self, system: System, store: Store, cache: Path) -> None:
        self._system = system
        self._client = connect(system.connections["CELERY_BROKER_URL"])
        project = load_settings({}, file=system.folder / "functions.yaml").project
        (self._watch,) = watches(project)
        self._ledger = Ledger(self._client, self._watch)
        self._s3 = clients.connect(store.settings)
        self._reader = IndexReader(MinioStore(store.settings), cache)

    def look(self, done: Sequence[Done], dropped: dict[str, bytes]) -> Evidence:
        """The state at this moment."""
        found = Evidence(list(done), told=told(done) | dropped)
        found.bucket = {
            str(item.object_name): str(item.etag).strip('"') for item in self._s3.list_objects(BUCKET, recursive=True)
        }
        found.index, found.hidden = self._rows()
        for page in self._ledger.pages():
            found.ledger |= {key: (known.entry.state, known.entry.etag) for key, known in page if known.entry}
        found.out, found.held = len(self._ledger.out()), self._ledger.hold() is not None
        found.left = evidence.waiting(self._client)
        return found

    def listed(self) -> float:
        """When the newest complete listing of the triggers ended, in seconds since the epoch."""
        return float(self._ledger.last_listing()["ended"])

    def listed_after(self, moment: float) -> bool:
        return self.listed() > moment

    def records(self) -> dict[str, Invocation]:
        return evidence.records(self._client)

    def verdict(self) -> tuple[int, dict[str, Any]]:
        """The exit code of `tundish index verify`, and what it says of the index."""
        done = self._system.tundish("index", "verify", "--json")
        said = json.loads(done.stdout)["indexes"] if done.stdout else []
        return done.returncode, said[0] if said else {"counts": {}, "findings": [], "error": done.stderr}

    def _rows(self) -> tuple[dict[str, list[Hit]], int]:
        """Every chunk by key, and how many the version counts but a search for all of them does not find."""
        self._reader.refresh("default")
        version = self._reader.version("default")
        if version is None:
            return {}, 0
        if version.vectors > MAX_K:
            raise AssertionError(f"a search finds at most {MAX_K} of {version.vectors} chunks: make the storm smaller")
        anything = np.ones(version.dimensions, np.float32)
        hits = self._reader.search("default", anything, MAX_K).hits
        rows: dict[str, list[Hit]] = {}
        for hit in sorted(hits, key=lambda hit: hit.start):
            rows.setdefault(hit.key, []).append(hit)
        return rows, version.vectors - len(hits)


def told(done: Sequence[Done]) -> dict[str, bytes]:
    """What is left in the bucket after these deeds, which are in order for each key."""
    left = {each.deed.key: each.deed.content for each in done}
    return {key: content for key, content in left.items() if content is not None}
