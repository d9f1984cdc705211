"""Searches that come while others run go together; what is wrong with one is nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from gateway.search.collector import MOST, Answers, Collector
from runtime.errors import BadInput, CorruptSegment
from runtime.index.filters import Filters
from runtime.index.search import Search, SearchResult


class Hand:
    """Stands for the reader: every call waits until it is let go on, then answers with the numbers it was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.running = 0
        self._go_on = asyncio.Event()

    def let_go(self) -> None:
        self._go_on.set()

    async def __call__(self, searches: Sequence[Search]) -> Answers:
        self.calls.append([search.k for search in searches])
        self.running += 1
        await self._go_on.wait()
        self.running -= 1
        if any(search.k == 666 for search in searches):
            raise CorruptSegment("a row cannot be read")
        return [BadInput("no") if search.k == 400 else SearchResult(str(search.k)) for search in searches]


def search(number: int, filters: Filters | None = None, *, group: bool = False) -> Search:
    return Search(np.ones(4, np.float32), number, filters, group=group)


async def asked(collector: Collector, *searches: Search) -> list[asyncio.Task[SearchResult]]:
    tasks = [asyncio.create_task(collector.ask(one)) for one in searches]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_what_comes_while_one_runs_goes_together() -> None:
    async def run() -> None:
        hand = Hand()
        collector = Collector(hand, slots=1)
        tasks = await asked(collector, search(1))
        assert hand.calls == [[1]], "the first one does not wait"
        for number in range(2, 6):
            tasks += await asked(collector, search(number))
        hand.let_go()
        assert [(await task).version for task in tasks] == ["1", "2", "3", "4", "5"]
        assert hand.calls == [[1], [2, 3, 4, 5]]
        await collector.ask(search(6))
        assert hand.calls[2:] == [[6]]

    asyncio.run(run())


def test_as_many_calls_at_once_as_there_are_slots() -> None:
    async def run() -> None:
        hand = Hand()
        collector = Collector(hand, slots=2)
        tasks = [task for number in (1, 2) for task in await asked(collector, search(number))]
        tasks += await asked(collector, *map(search, range(3, 69)))
        assert hand.running == 2
        hand.let_go()
        await asyncio.gather(*tasks)
        assert [len(call) for call in hand.calls] == [1, 1, 33, 17, 8, 8], "what waits is divided between the slots"

    asyncio.run(run())


def test_no_call_is_for_too_many() -> None:
    async def run() -> None:
        hand = Hand()
        collector = Collector(hand, slots=1)
        tasks = await asked(collector, search(1))
        tasks += await asked(collector, *map(search, range(2, MOST + 5)))
        hand.let_go()
        await asyncio.gather(*tasks)
        assert [len(call) for call in hand.calls] == [1, MOST, 3]

    asyncio.run(run())


def test_only_what_is_alike_goes_together() -> None:
    one, other = Filters(prefixes=("a/",)), Filters(prefixes=("b/",))

    async def run() -> None:
        hand = Hand()
        collector = Collector(hand, slots=1)
        waiting = [search(2, one), search(3), search(4, one), search(5, group=True), search(6, other), search(7)]
        tasks = await asked(collector, search(1))
        tasks += await asked(collector, *waiting)
        hand.let_go()
        assert [(await task).version for task in tasks] == ["1", "2", "3", "4", "5", "6", "7"]
        assert hand.calls == [[1], [2, 4], [3, 7], [5], [6]]

    asyncio.run(run())


def test_what_is_wrong_with_one_is_not_told_the_others() -> None:
    async def run() -> None:
        hand = Hand()
        hand.let_go()
        tasks = await asked(Collector(hand, slots=1), *map(search, (1, 400, 666, 4)))
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [SearchResult, BadInput, CorruptSegment, SearchResult]

    asyncio.run(run())


def test_nobody_searches_for_who_has_gone() -> None:
    async def run() -> None:
        hand = Hand()
        collector = Collector(hand, slots=1)
        (first,) = await asked(collector, search(1))
        second, third = await asked(collector, search(2), search(3))
        second.cancel()
        first.cancel()
        await asyncio.sleep(0)
        hand.let_go()
        assert (await third).version == "3"
        assert hand.calls == [[1], [3]]
        with pytest.raises(asyncio.CancelledError):
            await second

    asyncio.run(run())
