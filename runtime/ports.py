"""The real ports behind a context, each made when a function first asks for it, and kept for the process."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import redis

from runtime.blobs import Blobs, StoreBlobs
from runtime.calls import Origin, RedisCalls
from runtime.context import Calls, Index, Models, Ports, Store
from runtime.deployment import Deployment

if TYPE_CHECKING:
    from runtime.store import MinioStore


class _Shared:
    """What all attempts of a process share."""

    def __init__(self, client: redis.Redis, deployment: Deployment) -> None:
        self.client, self.deployment = client, deployment

    @cached_property
    def store(self) -> MinioStore:
        from runtime.store import MinioStore

        return MinioStore(self.deployment.settings.store)

    @cached_property
    def blobs(self) -> Blobs:
        return StoreBlobs(lambda: self.store)

    @cached_property
    def index(self) -> Index:
        from runtime.index.port import FaissIndex

        return FaissIndex(self.store, self.client, self.deployment.settings.home / "index-cache")

    @cached_property
    def models(self) -> Models:
        from runtime.embedding.backend import SentenceTransformerModels

        return SentenceTransformerModels()


class RealPorts:
    """The ports of one attempt."""

    def __init__(self, shared: _Shared, origin: Origin) -> None:
        self._shared, self._origin = shared, origin
        self.calls: Calls = RedisCalls(shared.client, shared.deployment, origin, shared.blobs)

    @cached_property
    def store(self) -> Store:
        from runtime.stamped_store import StampedStore

        return StampedStore(self._shared.store, self._origin.function, self._origin.hops + 1)

    @property
    def index(self) -> Index:
        return self._shared.index

    @property
    def models(self) -> Models:
        return self._shared.models


class PortsMaker:
    """Makes the ports of each attempt."""

    def __init__(self, client: redis.Redis, deployment: Deployment) -> None:
        self._shared = _Shared(client, deployment)

    @property
    def blobs(self) -> Blobs:
        return self._shared.blobs

    def __call__(self, origin: Origin) -> Ports:
        return RealPorts(self._shared, origin)
