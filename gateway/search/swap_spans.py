"""The last steps of a trace that began with an upload: the version that came of it is opened here, and first searched.

A build announces its version together with its trace. The announcement and the version may come in either order, and
a search has a trace of its own: so its first answer from a new version is told in both, each linked to the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from runtime.telemetry import log_fields
from runtime.telemetry.tracing import Tracing, Value


class SwapSpans:
    """Of each index the newest version alone: what is older is nobody's news any more."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._heard: dict[str, tuple[int, str]] = {}
        self._opened: dict[str, tuple[int, int, int]] = {}
        self._first: dict[str, tuple[int, str]] = {}

    def heard(self, index: str, generation: int, traceparent: str) -> None:
        """A version was announced; who repeats it later is not the one who built it."""
        if self._tracing.on and traceparent and generation > self._heard.get(index, (0, ""))[0]:
            self._heard[index] = generation, traceparent
            self._tell(index)

    def opened(self, index: str, generation: int, began: int) -> None:
        """A version answers from now on; it has been opened since `began` (ns since the epoch)."""
        if self._tracing.on:
            self._opened[index] = generation, began, time.time_ns()
            self._tell(index)

    def searched(self, index: str, generation: int, began: int) -> None:
        """A search was answered by a version; it came at `began` (ns since the epoch)."""
        waiting, trace = self._first.get(index, (0, ""))
        if not trace or generation < waiting:
            return
        del self._first[index]
        own = log_fields.traceparent().values()
        told: Mapping[str, Value] = {"tundish.index": index, "tundish.generation": generation}
        self._tracing.past(
            f"first search {index}", began, time.time_ns(), parent=trace, links=list(own), attributes=told
        )
        self._tracing.link_current(trace)

    def _tell(self, index: str) -> None:
        generation, began, ended = self._opened.get(index, (0, 0, 0))
        announced, trace = self._heard.get(index, (0, ""))
        if generation and generation == announced:
            del self._opened[index]
            told: Mapping[str, Value] = {"tundish.index": index, "tundish.generation": generation}
            swap = self._tracing.past(f"swap {index}", began, ended, parent=trace, attributes=told)
            self._first[index] = generation, swap or ""
