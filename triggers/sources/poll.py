"""The source that every store has: listing it from time to time. Here is when."""

from __future__ import annotations

from collections.abc import Callable, Mapping

BUSY_SHARE = 0.05
"""The largest part of the time that goes into listings."""


class Poll:
    """When one trigger lists its bucket: at start and when asked, then at least every `rescan` seconds.

    A listing that took t seconds is followed by none for 19 t seconds, so that listings never take more than
    5 % of the time; a bucket too large for `rescan` is listed as often as that allows. Times are epoch seconds.
    """

    def __init__(self, rescan: Callable[[], float]) -> None:
        self._rescan = rescan
        self._asked: float | None = 0.0  # nothing was ever listed by this process

    @property
    def asked(self) -> bool:
        """Whether the next listing is due because something may have been missed."""
        return self._asked is not None

    def ask(self, now: float) -> None:
        """Events may have been missed (a reconnect, a removed folder): list as soon as allowed."""
        if self._asked != 0.0:
            self._asked = now

    def due(self, last: Mapping[str, float]) -> float:
        """When the next listing may begin, `last` being the newest complete one of any process.

        The first one of a process begins at once: what it replaces may have died in the middle of anything.
        """
        if self._asked == 0.0:
            return 0.0
        pause = last["took"] * (1 - BUSY_SHARE) / BUSY_SHARE
        return last["ended"] + (max(self._rescan(), pause) if self._asked is None else pause)

    def listed(self, began: float) -> None:
        """A complete listing that began at `began` has answered everything that was asked before it."""
        if self._asked is not None and self._asked <= began:
            self._asked = None
