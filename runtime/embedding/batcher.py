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
    """Runs `models` in the one thread of `executor`. `run` is to be a task of the event loop."""

    def __init__(self, models: Models, executor: Executor) -> None:
        self._models, self._executor = models, executor
        self._waiting: asyncio.Queue[tuple[Sequence[str], asyncio.Future[Vectors]]] = asyncio.Queue(maxsize=10_000)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`, shape (len(texts), dimensions)."""
        future: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        await self._waiting.put((texts, future))
        return await future

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            count = len(batch[0][0])
            while count < MAX_TEXTS and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
                count += len(batch[-1][0])
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
