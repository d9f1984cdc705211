"""What wakes the watcher of one bucket: hinted keys, ended invocations, a wish for a listing. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Receipt:
    """One notification that is acknowledged when every trigger it concerns has settled every key of it."""

    def __init__(self, count: int, done: Callable[[], None]) -> None:
        self._left, self._done, self._lock = count, done, threading.Lock()

    def settle(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done()


class Inbox:
    """Hinted keys, each once however often it is hinted, in the order of their first hint."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._keys: dict[str, list[Receipt]] = {}
        self._ended, self._listing, self._awake = False, False, False

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, key: str, receipts: list[Receipt]) -> None:
        with self._changed:
            self._keys.setdefault(key, []).extend(receipts)
            self._wake()

    def take(self, most: int) -> dict[str, list[Receipt]]:
        """The oldest hints, at most `most` of them."""
        with self._changed:
            taken = list(self._keys)[:most] if len(self._keys) > most else list(self._keys)
            return {key: self._keys.pop(key) for key in taken}

    def thin(self, most: int) -> list[Receipt]:
        """Keep the newest `most` hints and one receipt of each; the receipts of the rest, to be settled."""
        with self._changed:
            surplus = list(self._keys)[: max(0, len(self._keys) - most)]
            spare = [receipt for key in surplus for receipt in self._keys.pop(key)]
            for receipts in self._keys.values():
                spare += receipts[:-1]
                del receipts[:-1]
            return spare

    def ended(self) -> None:
        """An invocation of this trigger has ended."""
        with self._changed:
            self._ended = True
            self._wake()

    def take_ended(self) -> bool:
        with self._changed:
            ended, self._ended = self._ended, False
            return ended

    def ask_listing(self) -> None:
        """Something may have been missed."""
        with self._changed:
            self._listing = True
            self._wake()

    def take_listing(self) -> bool:
        with self._changed:
            asked, self._listing = self._listing, False
            return asked

    def wake(self) -> None:
        with self._changed:
            self._wake()

    def wait(self, seconds: float) -> None:
        """Until something new has come since the last wait, or so many seconds."""
        with self._changed:
            if not self._awake:
                self._changed.wait(seconds)
            self._awake = False

    def _wake(self) -> None:
        self._awake = True
        self._changed.notify()
