"""What both ways between the engines share: whom they work for, and how what was built becomes the index's version."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import redis

from runtime.context import BuildReport, Store
from runtime.errors import PreconditionFailed, Retry
from runtime.index import manifest
from runtime.index.cache import SegmentCache
from runtime.index.manifest import Manifest
from runtime.index.qdrant.target import Target

ROUNDS = 10
"""Looks at what came meanwhile, before the rest is left to the next call."""

Build = Callable[[str], tuple[BuildReport, Manifest | None]]
Tell = Callable[[Manifest], object]


class Mover:
    """Moves the indexes of one store. `build` publishes what the engine that answers lacks, `tell` announces a
    version."""

    def __init__(self, store: Store, client: redis.Redis, cache: SegmentCache, build: Build, tell: Tell) -> None:
        self._store, self._client, self._cache = store, client, cache
        self._build, self._tell = build, tell

    def has(self, index: str, target: Target) -> bool:
        """Whether it is there already."""
        current = manifest.newest(self._store, index)
        return current is not None and current.engine == target.name

    def _publish(self, current: Manifest, made: Manifest) -> Manifest:
        """Let `made` be the version after `current`. Raises Retry where another one was published meanwhile."""
        made = replace(made, created=time.time(), builder=uuid.uuid4().hex, digest="", etag="")
        try:
            made = manifest.commit(self._store, manifest.successor(current, made))
        except PreconditionFailed as error:
            raise Retry(f"Index {current.index} was published while it was moved.", after=1.0) from error
        self._tell(made)
        manifest.write_hint(self._store, made)
        return made
