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
        self._lost = self._there = False

    @property
    def lost(self) -> bool:
        """Whether the ledger is gone, and not made anew yet."""
        return self._lost

    def begins(self) -> None:
        """A listing begins."""
        if self._lost:
            return
        self._there = self._ledger.was_listed()
        if not self._there:
            self._marker.read()  # another process may have made the first complete listing
            if self._marker.listed:
                self._note()

    def lasted(self) -> bool:
        """Whether the ledger that a listing has compared with was there to its end; if not, it does not count."""
        if self._there and not self._lost and not self._ledger.was_listed():
            self._note()
            return False
        return True

    def listed(self, objects: int) -> None:
        """A listing of so many objects was complete: after a loss each was handed out again, by whichever process."""
        self._marker.note_listed()
        if self._lost:
            self._ledger.note_lost(objects)
            log.error("%s: the lost ledger was made anew, %d objects are handed out again", self._name, objects)
        self._lost = False

    def _note(self) -> None:
        self._lost = True
        log.error("%s: its ledger is gone from the broker; every object is handed out again", self._name)
