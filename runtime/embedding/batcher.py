"""Many requests, one forward pass: at once when idle, and what arrives meanwhile goes together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from runtime.context import Models

if TYPE_CHECKING:
    from runtime.context import Vectors

MAX_TEXTS = 256
"""Texts of one forward pass, so that a large request does not keep the small ones waiting long."""


class Batcher:
    """Runs `models` in the one thread of `executor`, between `start` and `close`."""

    def __init__(self, models: Models, executor: Executor) -> None:
        self._models, self._executor = models, executor
        self._waiting: asyncio.Queue[tuple[Sequence[str], asyncio.Future[Vectors]] | None] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self._models.name

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    def close(self) -> None:
        """Answer those who wait, then end."""
        self._waiting.put_nowait(None)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, shape (len(texts), dimensions)."""
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        await self._waiting.put((texts, future))
        return await future

    async def _run(self) -> None:
        loop, ended = asyncio.get_running_loop(), False
        while not ended:
            batch, found = [], await self._waiting.get()
            count = 0
            while found is not None:
                batch.append(found)
                count += len(found[0])
                if count >= MAX_TEXTS or self._waiting.empty():
                    break
                found = self._waiting.get_nowait()
            ended = found is None
            wanted = [(texts, future) for texts, future in batch if not future.done()]  # the others hung up
            flat = [text for texts, _ in wanted for text in texts]
            try:
                vectors = await loop.run_in_executor(self._executor, self._models.embed, flat)
            except Exception as error:  # noqa: BLE001 - it belongs to those who asked
                for _, future in wanted:
                    if not future.done():
                        future.set_exception(error)
                continue
            first = 0
            for texts, future in wanted:
                if not future.done():
                    future.set_result(vectors[first : first + len(texts)])
                first += len(texts)
