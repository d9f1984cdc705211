"""The real ports behind a context, each made when a function first asks for it, and kept for the process."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import redis

from runtime.callers.ownership import Owners
from runtime.context import Calls, Documents, Index, Models, Ports, Store
from runtime.deployment.deployment import Deployment
from runtime.invocations.blobs import Blobs, StoreBlobs
from runtime.invocations.calls import Origin, RedisCalls

if TYPE_CHECKING:
    from runtime.embedding.library import Library
    from runtime.store.port import MinioStore


class _Shared:
    """What all attempts of a process share."""

    def __init__(self, client: redis.Redis, deployment: Deployment, models: Library | None) -> None:
        self.client, self.deployment, self._models = client, deployment, models

    @cached_property
    def store(self) -> MinioStore:
        from runtime.store.port import MinioStore

        return MinioStore(self.deployment.settings.store)

    @cached_property
    def blobs(self) -> Blobs:
        return StoreBlobs(lambda: self.store)

    @cached_property
    def index(self) -> Index:
        from runtime.index.engines import open_index

        # A reload may change what is said of an index without a worker being started anew.
        return open_index(
            lambda: self.deployment.settings.project,
            self.store,
            self.client,
            self.deployment.settings.home / "index-cache",
        )

    @cached_property
    def models(self) -> Models:
        from runtime.embedding.library import library

        made = library(self.deployment.settings)
        if self._models is None:
            return made
        self._models.take_over(made)
        return self._models


class RealPorts:
    """The ports of one attempt."""

    def __init__(self, shared: _Shared, origin: Origin) -> None:
        self._shared, self._origin = shared, origin
        self.calls: Calls = RedisCalls(shared.client, shared.deployment, origin, shared.blobs)

    @cached_property
    def store(self) -> Store:
        from runtime.store.confined import ConfinedStore
        from runtime.store.stamped import StampedStore

        origin, project = self._origin, self._shared.deployment.settings.project
        store = StampedStore(self._shared.store, origin.function, origin.hops + 1, origin.trace)
        return ConfinedStore(store, origin.tenant, Owners(project)) if origin.confined else store

    @property
    def index(self) -> Index:
        return self._shared.index

    @cached_property
    def documents(self) -> Documents:
        from runtime.buckets.failed_documents import FailedDocuments

        return FailedDocuments(self._shared.client, self._shared.deployment.settings.project, self.store)

    @property
    def models(self) -> Models:
        return self._shared.models


class PortsMaker:
    """Makes the ports of each attempt. `models`: those that this process has loaded already."""

    def __init__(self, client: redis.Redis, deployment: Deployment, models: Library | None = None) -> None:
        self._shared = _Shared(client, deployment, models)

    @property
    def blobs(self) -> Blobs:
        return self._shared.blobs

    def __call__(self, origin: Origin) -> Ports:
        return RealPorts(self._shared, origin)
