"""What the routes of one gateway share. It hangs on the application; there is one per application, none per module."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import redis
from starlette.requests import Request

from gateway.courier import Courier
from gateway.indexes import Indexes
from gateway.ledger_counts import LedgerCounts
from gateway.metrics import Requests
from gateway.replies import Replies
from gateway.schemas import Schemas
from gateway.streams import Streams
from runtime.blobs import StoreBlobs
from runtime.broker import connect, connect_async
from runtime.config import Project, Settings
from runtime.deployment import Deployment
from runtime.embedding.client import EmbedderClient
from runtime.errors import StoreDown

if TYPE_CHECKING:
    from runtime.store import MinioStore

T = TypeVar("T")
STORE_THREADS = 32
"""Calls of the store that may be under way at once; further ones wait."""

log = logging.getLogger("tundish.gateway")


class Gateway:
    """Connections, the deployment that is served, and the parts that work beside the requests."""

    def __init__(self, settings: Settings, deployment: Deployment) -> None:
        self.id = uuid.uuid4().hex
        self.name = f"{socket.gethostname()}-{self.id[:8]}"
        self.settings = settings
        self.deployment = deployment
        self.schemas = Schemas(deployment)
        self.redis = connect_async(settings.broker_url)
        self.replies = Replies(self.redis, connect_async(settings.broker_url, timeout=None), self.id)
        self.courier = Courier(settings.home / "outbox", settings.broker_url, lambda: self.deployment)
        self.embedder = EmbedderClient(settings.embedder_socket)
        self.requests = Requests()
        self.streams = Streams()
        self._store: MinioStore | None = None
        self._sync_redis: redis.Redis | None = None
        self._threads = anyio.CapacityLimiter(STORE_THREADS)
        self.indexes = Indexes(self)
        self.ledgers = LedgerCounts()
        self.buckets: set[str] = set()
        """Buckets that were seen to exist."""

    @property
    def project(self) -> Project:
        return self.deployment.settings.project

    @property
    def store(self) -> MinioStore:
        """The store's client, made at its first use. Raises StoreDown where none is configured."""
        if self._store is None:
            from runtime.store import MinioStore

            if not self.settings.store.endpoint:
                raise StoreDown("No store is configured. Set MINIO_ENDPOINT, or start everything with `tundish up`.")
            self._store = MinioStore(self.settings.store)
        return self._store

    @property
    def blobs(self) -> StoreBlobs:
        """Large arguments and results, in the store; for threads."""
        return StoreBlobs(lambda: self.store)

    @property
    def sync_redis(self) -> redis.Redis:
        """A blocking client, for what runs in threads."""
        if self._sync_redis is None:
            self._sync_redis = connect(self.settings.broker_url)
        return self._sync_redis

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking call (the store, FAISS) beside the event loop, a bounded number at a time."""
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)

    def adopt(self, deployment: Deployment) -> None:
        """Serve another deployment from the next request on; requests under way keep the one they began with.

        Connections stay as they are: another broker, store or port needs a restart.
        """
        self.schemas, self.deployment = Schemas(deployment), deployment

    async def close(self) -> None:
        await self.courier.close()
        await self.embedder.close()
        await self.replies.close()
        await self.redis.aclose()
        if self._sync_redis is not None:
            self._sync_redis.close()


def of(request: Request) -> Gateway:
    """The gateway that a request came to."""
    gateway: Gateway = request.app.state.gateway
    return gateway
