"""The models that the embedder has at hand: loaded one after the other beside the requests, the newest few kept."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Protocol

from runtime.context import Models
from runtime.embedding.batcher import Batcher
from runtime.errors import BadInput, ModelWarming

KEPT = 2
"""Models that are asked at once; the library keeps as many in memory."""

log = logging.getLogger("tundish.embedder")


class LoadableModels(Models, Protocol):
    def get(self, name: str) -> LoadableModels: ...

    def load(self) -> None: ...


class Shelf:
    """Batchers by the name of a model (empty: the default one), all over the one thread of `executor`.

    `renew` reads functions.yaml again: a model may be named there by now. `run` is to be a task of the event loop.
    """

    def __init__(self, models: LoadableModels, executor: Executor, renew: Callable[[], object] = lambda: None) -> None:
        self._models, self._executor, self._renew = models, executor, renew
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._ready: OrderedDict[str, Batcher] = OrderedDict()
        self._identities: dict[str, str] = {}  # of the names that were asked for
        self._loading: dict[str, asyncio.Task[Batcher]] = {}

    def ready(self, name: str) -> Batcher:
        """The model's batcher. Raises ModelWarming, and has it loaded, where it is not; BadInput for an unknown one."""
        if found := self._found(name):
            return found
        loading = self._start(name)
        if loading.done():
            del self._loading[name]
            return loading.result()
        raise ModelWarming

    async def load(self, name: str) -> Batcher:
        """The model's batcher, as soon as it answers. Raises what loading raises."""
        if found := self._found(name):
            return found
        loading = self._start(name)
        try:
            return await asyncio.shield(loading)
        finally:
            if loading.done():
                self._loading.pop(name, None)

    def close(self) -> None:
        for task in self._loading.values():
            task.cancel()
        for batcher in self._ready.values():
            batcher.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _found(self, name: str) -> Batcher | None:
        identity = self._identities.get(name, name)
        if identity not in self._ready:
            return None
        self._ready.move_to_end(identity)
        return self._ready[identity]

    def _start(self, name: str) -> asyncio.Task[Batcher]:
        if name not in self._loading:
            self._loading[name] = asyncio.create_task(self._load(name))
        return self._loading[name]

    async def _load(self, name: str) -> Batcher:
        models = await asyncio.get_running_loop().run_in_executor(self._loader, self._loaded, name)
        self._identities[name] = models.name
        if found := self._found(name):  # under another name
            return found
        batcher = Batcher(models, self._executor)
        batcher.start()
        await batcher.embed(["The first pass is slow."])
        self._ready[models.name] = batcher
        while len(self._ready) > KEPT:
            _, old = self._ready.popitem(last=False)
            old.close()
        log.info("ready: %s", models.name)
        return batcher

    def _loaded(self, name: str) -> LoadableModels:
        models = self._named(name) if name else self._models
        models.load()
        return models

    def _named(self, name: str) -> LoadableModels:
        try:
            return self._models.get(name)
        except BadInput:
            self._renew()
            return self._models.get(name)
