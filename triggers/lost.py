"""Noticing that a ledger which was once complete is gone from the broker, and saying what came of it."""

from __future__ import annotations

import logging

from triggers.ledger import Ledger
from triggers.marker import Marker

log = logging.getLogger("tundish.triggers")


class Losses:
    """Asked before each listing: a broker that is emptied while it runs breaks no connection. Raises redis errors,
    StoreDown and StoreDenied."""

    def __init__(self, ledger: Ledger, marker: Marker, name: str) -> None:
        self._ledger, self._marker, self._name = ledger, marker, name
        self._lost = False
        self.new = 0
        """Objects without an entry that the listings have found since the last complete one."""

    @property
    def lost(self) -> bool:
        """Whether the ledger is gone, and not made anew yet."""
        return self._lost

    def begins(self) -> None:
        """A listing begins. One that goes on after a loss, having broken off, counts on."""
        if self._lost:
            return
        self.new = 0
        if self._marker.listed and not self._ledger.was_listed():
            self._lost = True
            log.error("%s: its ledger is gone from the broker; every object is handed out again", self._name)

    def listed(self) -> None:
        """A listing was complete."""
        self._marker.note_listed()
        if self._lost:
            self._ledger.note_lost(self.new)
            log.error("%s: the lost ledger was made anew, %d objects are handed out again", self._name, self.new)
        self._lost = False
