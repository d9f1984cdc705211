"""Texts in, vectors out, by a thread of its own: while the model computes, the next texts are read and cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from types import TracebackType
from typing import TYPE_CHECKING

from runtime.context import Models

if TYPE_CHECKING:
    from runtime.context import Vectors

LARGE = (2048, 2**18)
"""Texts of a turn, and their characters: some 64,000 tokens, which take a slow core half a minute. The model sorts the
texts of a turn by length and pads them: in turns a quarter as long it takes 4 to 8 % more time."""

SMALL = (512, 2**16)
"""Where there is less time than AMPLE_SECONDS: between two turns the time limit is looked at."""

AMPLE_SECONDS = 120.0


EARLY = 2**13
"""Characters that must wait, some 2,000 tokens, for the model to take a third of them while a batch is still being read
and it has nothing else to do: texts of about the same length, so that little is padded."""


class Passes:
    """Vectors come in the order of their texts; `check` may end it between two turns of the model.

    A turn has at most `turn[0]` texts, of whatever documents, and about `turn[1]` characters; it is smaller where the
    model would wait for more. One turn is under way at most, and one is being filled, so that memory stays what it is.
    What is less than a first turn is embedded by the caller's own thread.
    """

    def __init__(self, models: Models, check: Callable[[], None], turn: tuple[int, int] = LARGE) -> None:
        self._models, self._check = models, check
        self._most, self._size = turn
        self._waiting: list[tuple[int, str]] = []  # with their places among all texts
        self._characters = self._count = 0
        self._parts: list[tuple[list[int], Vectors]] = []
        self._turn: tuple[list[int], Future[Vectors]] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def __enter__(self) -> Passes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            # After an error nobody waits for the rest of a turn: a time limit may be the reason.
            self._thread.shutdown(wait=error is None, cancel_futures=True)

    def __len__(self) -> int:
        return self._count

    def add(self, texts: Sequence[str]) -> None:
        """Raises what `check` raises; what came before these texts is embedded by then, or waits."""
        self._waiting += enumerate(texts, self._count)
        self._count += len(texts)
        self._characters += sum(map(len, texts))
        while end := self._full():
            if self._turn is not None:
                self._end()
                self._check()
            self._start(self._waiting[:end], self._waiting[end:])
        if self._characters >= EARLY and (self._turn is None or self._turn[1].done()):
            self._end()
            self._start(*alike(self._waiting, len(self._waiting) // 3))

    def keep(self, count: int) -> None:
        """Forget all but the first `count` texts."""
        self._end()
        self._count = min(count, self._count)
        self._left([one for one in self._waiting if one[0] < count])
        for number, (places, vectors) in enumerate(self._parts):
            kept = [row for row, place in enumerate(places) if place < count]
            self._parts[number] = [places[row] for row in kept], vectors[kept]

    def vectors(self) -> Vectors:
        """Of all texts so far. Raises what the model raises."""
        self._end()
        if self._waiting and self._thread is not None:  # whose memory the model has used before
            self._start(self._waiting, [])
            self._end()
        elif self._waiting:
            self._parts.append(([place for place, _ in self._waiting], self._embedded(self._waiting)))
            self._left([])
        return self._joined()

    def _full(self) -> int:
        """How many of the texts that wait are enough for a turn; 0 where they are too few."""
        if len(self._waiting) < self._most and self._characters < self._size:
            return 0
        size = 0
        for number, (_, text) in enumerate(self._waiting, 1):
            size += len(text)
            if number == self._most or size >= self._size:
                return number
        return 0

    def _left(self, waiting: list[tuple[int, str]]) -> None:
        self._waiting, self._characters = waiting, sum(len(text) for _, text in waiting)

    def _start(self, turn: list[tuple[int, str]], left: list[tuple[int, str]]) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._turn = [place for place, _ in turn], self._thread.submit(self._embedded, turn)
        self._left(left)

    def _embedded(self, turn: Sequence[tuple[int, str]]) -> Vectors:
        return self._models.embed([text for _, text in turn])

    def _end(self) -> None:
        if self._turn is not None:
            places, future = self._turn
            self._parts.append((places, future.result()))
            self._turn = None

    def _joined(self) -> Vectors:
        import numpy as np

        found = np.empty((self._count, self._models.dimensions), np.float32)
        for places, vectors in self._parts:
            found[places] = vectors
        return found


def alike(texts: Sequence[tuple[int, str]], count: int) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """`count` of the texts (one at least), whose lengths differ least from each other, and the others, both in order:
    the model pads what it computes together to the length of the longest."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number][1]))
    lengths = [len(texts[number][1]) for number in order]
    count = min(max(1, count), len(order))
    sums = [0, *accumulate(lengths)]
    first = min(
        range(len(order) - count + 1),
        key=lambda at: lengths[at + count - 1] * count - (sums[at + count] - sums[at]),
    )
    chosen = set(order[first : first + count])
    return (
        [one for number, one in enumerate(texts) if number in chosen],
        [one for number, one in enumerate(texts) if number not in chosen],
    )
