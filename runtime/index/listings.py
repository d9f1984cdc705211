"""When a builder that is told of new batches looks through all of them: from time to time, and after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable

from runtime.context import BuildReport
from runtime.index.manifest import Manifest

LISTING_SECONDS = 60.0
LISTING_SHARE = 0.05
"""At most this often, and for this part of the time."""

Result = tuple[BuildReport, Manifest | None]


class Listings:
    """Of one builder. `due`: when each index is listed next (`time.monotonic`); at once where it has no entry."""

    def __init__(self) -> None:
        self.due: dict[str, float] = {}

    def build(self, index: str, named: Callable[[], Result] | None, everything: Callable[[], Result]) -> Result:
        """Publish what is `named`, if anything is, and `everything` if it is time; the report that tells more.

        A build that fails may have been the last attempt of its call, and nobody names the same again: the next one
        looks for it.
        """
        try:
            return self._build(index, named, everything)
        except Exception:
            self.soon(index)
            raise

    def soon(self, index: str) -> None:
        """The next build looks through all."""
        self.due.pop(index, None)

    def _build(self, index: str, named: Callable[[], Result] | None, everything: Callable[[], Result]) -> Result:
        result = named() if named else None
        began = time.monotonic()
        if result is not None and began < self.due.get(index, 0.0):
            return result
        found = everything()
        if not (found[1] and found[1].held):
            self.due[index] = time.monotonic() + max(LISTING_SECONDS, (time.monotonic() - began) / LISTING_SHARE)
        return found if result is None or found[0].published else result
