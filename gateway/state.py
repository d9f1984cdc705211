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
import redis.asyncio
from starlette.requests import Request

from gateway.access.auth import Auth
from gateway.access.quota_notes import QuotaNotes
from gateway.calls.courier import Courier
from gateway.calls.replies import Replies
from gateway.objects.ledger_counts import LedgerCounts
from gateway.search.indexes import Indexes
from gateway.search.swap_spans import SwapSpans
from gateway.search.times import SearchTimes
from gateway.web.held import Held
from gateway.web.measured import Requests
from gateway.web.schemas import Schemas
from gateway.web.streams import Streams
from runtime.broker.connection import connect, connect_async
from runtime.broker.wire import Wire
from runtime.callers.ownership import Owners
from runtime.config.settings import Project, Settings
from runtime.deployment.deployment import Deployment
from runtime.embedding.client import EmbedderClient
from runtime.errors import StoreDown
from runtime.invocations.blobs import StoreBlobs
from runtime.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from runtime.store.port import MinioStore

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
        self.redis = connect_async(settings.broker_url, settings.project.broker)
        self.wire = Wire(self.redis)
        self.auth = Auth(settings, self.redis)
        self.replies = Replies(self.redis, self.listener(), self.id)
        self.courier = Courier(settings.home / "outbox", settings.broker_url, lambda: self.deployment)
        self.embedder = EmbedderClient(settings.embedder_socket)
        self.requests = Requests()
        self.tracing = Tracing(settings.tracing, "gateway")
        self.swaps = SwapSpans(self.tracing)
        self.owners = Owners(self.project)
        self.quota_notes = QuotaNotes()
        self.streams = Streams()
        self.held = Held()
        self._store: MinioStore | None = None
        self._sync_redis: redis.Redis | None = None
        self._threads = anyio.CapacityLimiter(STORE_THREADS)
        self.indexes = Indexes(self)
        self.search_times = SearchTimes()
        self.ledgers = LedgerCounts()
        self.openapi: tuple[Deployment, bytes] | None = None
        """The document of /openapi.json, and the deployment that it is of."""
        self.buckets: set[str] = set()
        """Buckets that were seen to exist."""

    @property
    def project(self) -> Project:
        return self.deployment.settings.project

    @property
    def store(self) -> MinioStore:
        """The store's client, made at its first use. Raises StoreDown where none is configured."""
        if self._store is None:
            from runtime.store.port import MinioStore

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
            self._sync_redis = connect(self.settings.broker_url, self.settings.project.broker)
        return self._sync_redis

    def listener(self) -> redis.asyncio.Redis:
        """A client for what only listens: however long it is quiet, that is no error."""
        return connect_async(self.settings.broker_url, self.settings.project.broker, timeout=None)

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking call (the store, FAISS) beside the event loop, a bounded number at a time."""
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)

    def adopt(self, deployment: Deployment) -> None:
        """Serve another deployment from the next request on; requests under way keep the one they began with.

        Connections stay as they are: another broker, store or port needs a restart.
        """
        self.schemas, self.deployment = Schemas(deployment), deployment
        self.owners = Owners(self.project)

    async def close(self) -> None:
        await self.courier.close()
        await self.embedder.close()
        await self.indexes.close()
        await self.replies.close()
        await self.wire.aclose()
        await self.redis.aclose()
        if self._sync_redis is not None:
            self._sync_redis.close()
        if self.tracing.on:
            await self.in_thread(self.tracing.flush)


def of(request: Request) -> Gateway:
    """The gateway that a request came to."""
    gateway: Gateway = request.app.state.gateway
    return gateway
