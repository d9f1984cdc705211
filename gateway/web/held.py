"""The bytes of all request bodies that have to be whole and are not yet."""

from __future__ import annotations

from gateway.web.problems import RETRY_SECONDS, refuse
from runtime.values.units import format_size

MOST_BYTES = 256 * 2**20
"""Or twice `limits.body`, where that is more."""

SMALL_BYTES = 64 * 2**10
"""The beginning of each body is not counted: it is as much as the server holds of a connection anyway."""


class Held:
    """What one gateway holds."""

    def __init__(self) -> None:
        self.total = 0

    def take(self, size: int, limit: int) -> None:
        """Count what has come of a body that may have `limit` bytes. 503 where all together are too many."""
        most = max(MOST_BYTES, 2 * limit)
        if self.total + size > most:
            refuse(
                503,
                f"The gateway holds {format_size(self.total)} of bodies that are still coming, and {format_size(most)} "
                "is the most. Try again in a moment.",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self.total += size

    def give_back(self, size: int) -> None:
        self.total -= size
