"""The index versions that this process answers from, kept up to date beside the requests.

An announcement on the swap channel only wakes the look at the store, which is also made every few seconds:
pub/sub may drop, the manifests in the store are the truth.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import redis

from runtime import keys
from runtime.broker import connect_async
from runtime.errors import TundishError

if TYPE_CHECKING:
    from gateway.state import Gateway
    from runtime.context import IndexVersion, Vectors
    from runtime.index.reader import IndexReader, SearchResult

DEFAULT = "default"
POLL_SECONDS = 5.0
BEHIND_SECONDS = 0.5
"""Between two looks while a version that was announced is not loaded yet."""

RECONNECT_SECONDS = 0.5
log = logging.getLogger("tundish.gateway")


class Indexes:
    """One reader for all indexes. `refresh` and `listen` run for as long as the gateway does."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._wake = asyncio.Event()
        self._announced: dict[str, int] = {}
        self._asked: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._reader: IndexReader | None = None

    @property
    def names(self) -> list[str]:
        """Every index that the deployment names, and those that somebody searched."""
        project = self._gateway.project
        named = [trigger.index for _, trigger in project.bucket_triggers() if trigger.index]
        return list(dict.fromkeys([DEFAULT, *project.indexes, *named, *sorted(self._asked)]))

    def versions(self) -> dict[str, IndexVersion]:
        """The version that each index answers from, where there is one."""
        reader = self._reader
        found = {name: reader.version(name) for name in self.names} if reader else {}
        return {name: version for name, version in found.items() if version}

    def trouble(self, index: str) -> str | None:
        """Why the newest version could not be loaded, if so; the one before it still answers."""
        return self._troubles.get(index)

    async def reader(self) -> IndexReader:
        """The reader. FAISS is imported here, in a thread, not when the gateway starts."""
        if self._reader is None:
            self._reader = await self._gateway.in_thread(self._open)
        return self._reader

    async def search(self, index: str, vector: Vectors, count: int) -> SearchResult:
        reader = await self.reader()
        return await self._gateway.in_thread(reader.search, index, vector, count)

    async def find(self, index: str) -> bool:
        """Whether there is such an index; one that no trigger names is looked for in the store."""
        if index in self.names:
            return True
        reader = await self.reader()
        await self._gateway.in_thread(reader.refresh, index)
        if reader.version(index) is None:
            return False
        self._asked.add(index)
        return True

    async def refresh(self) -> None:
        """Load what is new, for ever."""
        while True:
            self._wake.clear()
            behind = False
            for index in self.names:
                behind = await self._look(index) or behind
            try:
                async with asyncio.timeout(BEHIND_SECONDS if behind else POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def listen(self) -> None:
        """Hear of new versions, over a connection that is opened again whenever it breaks."""
        client = connect_async(self._gateway.settings.broker_url, timeout=None)
        try:
            while True:
                try:
                    async with client.pubsub() as subscription:
                        await subscription.subscribe(keys.SWAP_CHANNEL)
                        async for message in subscription.listen():
                            if message["type"] == "message":
                                self._hear(message["data"])
                except (redis.RedisError, OSError) as error:
                    log.debug("the swap listener lost the broker (%s)", type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)
        finally:
            await client.aclose()

    async def _look(self, index: str) -> bool:
        """Load the newest version of one index; whether an announced one is still missing."""
        try:
            reader = await self.reader()
            if await self._gateway.in_thread(reader.refresh, index):
                version = reader.version(index)
                log.info("index %s: now answering from %s", index, version.version if version else "nothing")
            self._troubles.pop(index, None)
            version = reader.version(index)
            return (version.generation if version else 0) < self._announced.get(index, 0)
        except (TundishError, OSError, ValueError) as error:
            if self._troubles.get(index) != str(error):  # once, not every five seconds
                log.error(
                    "index %s: the newest version cannot be loaded, the one before still answers: %s", index, error
                )
            self._troubles[index] = str(error)
            return False

    def _hear(self, data: bytes) -> None:
        try:
            told: dict[str, Any] = json.loads(data)
            index, generation = str(told["index"]), int(told["generation"])
        except (ValueError, KeyError, TypeError):
            return
        if generation > self._announced.get(index, 0):  # a repetition is for those who missed the first
            self._announced[index] = generation
            self._wake.set()

    def _open(self) -> IndexReader:
        from runtime.index.reader import IndexReader

        return IndexReader(self._gateway.store, self._gateway.settings.home / "index-cache")
