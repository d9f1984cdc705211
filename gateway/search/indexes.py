"""The index versions that this process answers from, kept up to date beside the requests.

An announcement on the swap channel only wakes the look at the store, which is also made every few seconds:
pub/sub may drop, the manifests in the store are the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
import redis

from gateway.search.collector import Answers, Collector
from gateway.search.follower import Follower
from runtime import keys
from runtime.errors import IndexUnavailable, ObjectMissing, TundishError
from runtime.index.announcement import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.state import Gateway
    from runtime.config.engine import EngineSpec
    from runtime.context import IndexVersion
    from runtime.index.held import Held
    from runtime.index.qdrant.searching import Searcher
    from runtime.index.reader import IndexReader
    from runtime.index.search import Search, SearchResult

DEFAULT = "default"
FIRST_SECONDS = 3.0
"""How long a search waits for the first version, right after the start."""

LOADING = "is being loaded"
"""What is told of an index until the first look at it has ended."""

RENAMED_SECONDS = 5.0
RECONNECT_SECONDS = 0.5
log = logging.getLogger("tundish.gateway")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Indexes:
    """One reader for all indexes. `refresh` and `listen` run for as long as the gateway does."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._asked: set[str] = set()
        self._followers: dict[str, Follower] = {}
        self._collectors: dict[str, Collector] = {}
        self._changed = asyncio.Event()
        self._opening = asyncio.Lock()
        self._cores = cores()
        self._threads = anyio.CapacityLimiter(self._cores)  # apart from the store's: a search waits for no download
        self._reader: IndexReader | None = None
        self._searcher: Searcher | None = None

    @property
    def names(self) -> list[str]:
        """Every index that the deployment names, and those that somebody searched."""
        return list(dict.fromkeys([*self._deployed(), *sorted(self._asked)]))

    def _deployed(self) -> list[str]:
        project = self._gateway.project
        named = [trigger.index for _, trigger in project.bucket_triggers() if trigger.index]
        return list(dict.fromkeys([DEFAULT, *project.indexes, *named]))

    def versions(self) -> dict[str, IndexVersion]:
        """The version that each index answers from, where there is one."""
        reader = self._reader
        found = {name: reader.version(name) for name in self.names} if reader else {}
        return {name: version for name, version in found.items() if version}

    def trouble(self, index: str) -> str | None:
        """Why the newest version could not be loaded, if so; the one before it still answers."""
        follower = self._followers.get(index)
        return follower.trouble if follower else None

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """For /readyz: the indexes of which there is something to say."""
        told = {}
        for name in self.names:
            follower = self._followers.get(name)
            answers = self._reader is not None and self._reader.version(name) is not None
            if follower is None or not follower.looked:
                told[name] = {"ready": answers, "detail": LOADING}
            elif follower.trouble:
                told[name] = {"ready": answers, "detail": follower.trouble}
        return told

    def loading(self) -> list[str]:
        """The deployment's indexes whose first look has not ended, however it may end."""
        found = ((name, self._followers.get(name)) for name in self._deployed())
        return [name for name, follower in found if follower is None or not follower.looked]

    async def reader(self) -> IndexReader:
        """The reader. FAISS is imported here, in a thread, not when the gateway starts."""
        async with self._opening:
            if self._reader is None:
                self._reader = await self._gateway.in_thread(self._open)
            return self._reader

    async def search(self, index: str, search: Search) -> SearchResult:
        """The answer to one search. Raises BadInput, and IndexUnavailable where no version could be loaded."""
        reader = await self._first_version(index)
        if reader.remote(index):
            return await self._elsewhere(reader, index, search)
        collector = self._collectors.get(index)
        if collector is None:
            run = partial(self._search_many, reader, index)
            collector = self._collectors[index] = Collector(run, self._cores)
        return await collector.ask(search)

    async def document(self, index: str, bucket: str, key: str) -> Held | None:
        """A document as the version in use holds it; None where it has no rows there. Raises EngineDown."""
        reader = await self.reader()
        if version := reader.remote(index):
            return await (await self._remote(index)).document(version, bucket, key)
        return await self._gateway.in_thread(reader.document, index, bucket, key)

    async def close(self) -> None:
        if self._searcher is not None:
            await self._searcher.close()

    async def first_look(self, seconds: float) -> None:
        """Wait until every index was looked for once, however that ended, but no longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for name in self.names:
                    await self._follower(name).first_look(seconds)

    async def version(self, index: str) -> IndexVersion | None:
        """The version that a search is answered from now, or None. Raises IndexUnavailable."""
        return (await self._first_version(index)).version(index)

    async def find(self, index: str) -> bool:
        """Whether there is such an index; one that no trigger names is looked for in the store."""
        if index in self.names:
            return True
        reader = await self.reader()
        await self._gateway.in_thread(reader.refresh, index)
        if reader.version(index) is None:
            return False
        self._asked.add(index)
        self._changed.set()
        return True

    async def refresh(self) -> None:
        """Load what is new, for ever; one index does not wait for another."""
        running: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for name in self.names:
                    if name not in running or running[name].done():
                        running[name] = group.create_task(self._follow(name))
                with contextlib.suppress(TimeoutError):  # a reload may name others
                    async with asyncio.timeout(RENAMED_SECONDS):
                        await self._changed.wait()

    async def listen(self) -> None:
        """Hear of new versions, over a connection that is opened again whenever it breaks."""
        client = self._gateway.listener()
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

    def _follower(self, index: str) -> Follower:
        return self._followers.setdefault(index, Follower(self._gateway, index))

    async def _follow(self, index: str) -> None:
        try:
            await self._follower(index).run(lambda: index in self.names)
        finally:
            self._followers.pop(index, None)

    async def _first_version(self, index: str) -> IndexReader:
        """Right after the start: wait for a version a moment, then say why there is none."""
        reader = await self.reader()
        if reader.version(index) is not None:
            return reader
        follower = self._follower(index)
        self._changed.set()
        await follower.first_look(FIRST_SECONDS)
        if reader.version(index) is None and (follower.trouble or not follower.looked):
            raise IndexUnavailable(
                f"Index {index} cannot be searched. {follower.trouble}" if follower.trouble else None
            )
        return reader

    async def _search_many(self, reader: IndexReader, index: str, searches: Sequence[Search]) -> Answers:
        return await anyio.to_thread.run_sync(reader.search_many, index, searches, limiter=self._threads)

    async def _elsewhere(self, reader: IndexReader, index: str, search: Search) -> SearchResult:
        """Asked of the engine that holds the version in use; of the newest one, where cleanup has taken that."""
        searcher = await self._remote(index)
        for last in (False, True):
            version = reader.remote(index)
            if version is None:  # it is held in files again
                return await self.search(index, search)
            try:
                return await searcher.search(version, search)
            except ObjectMissing as error:
                if last:
                    raise IndexUnavailable(f"Index {index} cannot be searched. {error}") from error
                await self._gateway.in_thread(reader.refresh, index)
        raise AssertionError("unreachable")

    async def _remote(self, index: str) -> Searcher:
        """Who asks other engines. Their library is imported here, in a thread, when the first index needs it."""
        async with self._opening:
            if self._searcher is None:
                self._searcher = await self._gateway.in_thread(self._open_remote)
            if not self._searcher.opened(index):
                await self._gateway.in_thread(self._searcher.open, index)
            return self._searcher

    def _open_remote(self) -> Searcher:
        from runtime.index.qdrant.engine import Connections
        from runtime.index.qdrant.searching import Searcher

        return Searcher(Connections(self._engine))

    def _engine(self, index: str) -> EngineSpec:
        return self._gateway.project.engine_of(index)

    def _hear(self, data: bytes) -> None:
        if (word := decode(data)) is None:
            return
        self._gateway.swaps.heard(word.index, word.generation, word.trace)
        if follower := self._followers.get(word.index):
            follower.hear(word)

    def _open(self) -> IndexReader:
        from runtime.index.reader import IndexReader

        return IndexReader(self._gateway.store, self._gateway.settings.home / "index-cache", prepare=self._prepare)

    def _prepare(self, index: str, model: str) -> None:
        """Have the embedder load another model before its first version answers; a thread of `in_thread` waits."""
        try:
            anyio.from_thread.run(self._gateway.embedder.load, model)
        except TundishError as error:  # vectors can be searched for all the same
            log.warning("index %s: its new model %s is not loaded: %s", index, model, error)
