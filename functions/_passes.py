"""Texts in, vectors out, by a thread of its own: while the model computes, the next texts are read and cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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


class Passes:
    """Vectors come in the order of their texts; `check` may end it between two turns of the model.

    A turn has at most `turn[0]` texts, of whatever documents, and about `turn[1]` characters. One turn is under way at
    most, and one is being filled, so that memory stays what it is. What fits into a single turn is embedded by the
    caller's own thread.
    """

    def __init__(self, models: Models, check: Callable[[], None], turn: tuple[int, int] = LARGE) -> None:
        self._models, self._check = models, check
        self._most, self._size = turn
        self._waiting: list[str] = []
        self._characters = 0
        self._parts: list[Vectors] = []
        self._given = 0  # texts of the turn that is under way
        self._turn: Future[Vectors] | None = None
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
        return sum(map(len, self._parts)) + self._given + len(self._waiting)

    def add(self, texts: Sequence[str]) -> None:
        """Raises what `check` raises; what came before these texts is embedded by then, or waits."""
        self._waiting += texts
        self._characters += sum(map(len, texts))
        while end := self._full():
            if self._turn is not None:
                self._end()
                self._check()
            self._start(end)

    def keep(self, count: int) -> None:
        """Forget all but the first `count` texts."""
        self._end()
        self._left(self._waiting[: max(0, count - (len(self) - len(self._waiting)))])
        self._parts = [self._joined()[:count]]

    def vectors(self) -> Vectors:
        """Of all texts so far. Raises what the model raises."""
        self._end()
        if self._waiting:
            self._parts.append(self._models.embed(self._waiting))
            self._left([])
        return self._joined()

    def _full(self) -> int:
        """How many of the texts that wait are enough for a turn; 0 where they are too few."""
        if len(self._waiting) < self._most and self._characters < self._size:
            return 0
        size = 0
        for number, text in enumerate(self._waiting, 1):
            size += len(text)
            if number == self._most or size >= self._size:
                return number
        return 0

    def _left(self, waiting: list[str]) -> None:
        self._waiting, self._characters = waiting, sum(map(len, waiting))

    def _start(self, end: int) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._turn, self._given = self._thread.submit(self._models.embed, self._waiting[:end]), end
        self._left(self._waiting[end:])

    def _end(self) -> None:
        if self._turn is not None:
            self._parts.append(self._turn.result())
            self._turn, self._given = None, 0

    def _joined(self) -> Vectors:
        import numpy as np

        return np.concatenate([np.zeros((0, self._models.dimensions), np.float32), *self._parts])
