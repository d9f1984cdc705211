"""Searches that come while others run wait for them and then go together: FAISS does many at once in less time.

A search that comes while nothing runs starts at once; waiting costs at most as long as what runs takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from runtime.errors import BadInput
    from runtime.index.search import Search, SearchResult

MOST, LEAST = 64, 8
"""Searches that go together: more would make the first of them wait for longer than they gain. They are divided between
the slots, but not into pieces so small that nothing is gained.
"""

Answers: TypeAlias = "list[SearchResult | BadInput]"
Waiting: TypeAlias = "tuple[Search, asyncio.Future[SearchResult]]"
Run: TypeAlias = "Callable[[Sequence[Search]], Awaitable[Answers]]"


class Collector:
    """The searches of one index. `slots`: how many calls of `run` are under way at once."""

    def __init__(self, run: Run, slots: int) -> None:
        self._run, self._slots, self._free = run, slots, slots
        self._waiting: deque[Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, search: Search) -> SearchResult:
        """The answer to one search. Raises what it alone is to blame for: BadInput, or whatever `run` raises."""
        future: asyncio.Future[SearchResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((search, future))
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            self._free += 1

    def _take(self) -> list[Waiting]:
        """The first that waits, and those like it; nobody waits any more for what is left out of both lists."""
        most = min(MOST, max(LEAST, -(-len(self._waiting) // self._slots)))
        taken: list[Waiting] = []
        others: deque[Waiting] = deque()
        for search, future in self._waiting:
            if future.done():
                continue
            fits = not taken or (len(taken) < most and _alike(taken[0][0], search))
            (taken if fits else others).append((search, future))
        self._waiting = others
        return taken

    async def _answer(self, batch: Sequence[Waiting]) -> None:
        try:
            answers = await self._run([search for search, _ in batch])
        except Exception as error:  # noqa: BLE001 - it belongs to those who asked
            if len(batch) == 1:
                _settle(batch[0][1], error)
            else:  # one of them is to blame: the others have their answer
                for one in batch:
                    await self._answer([one])
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                _settle(future, answer)


def _settle(future: asyncio.Future[SearchResult], answer: SearchResult | Exception) -> None:
    if future.done():  # its request was given up meanwhile
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _alike(one: Search, other: Search) -> bool:
    """Whether FAISS can do both in one call: the same rows are looked at, and no group has to be completed."""
    return one.filters == other.filters and not (one.group or other.group)
