"""Whether the notifications of a bucket can be relied on: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass

ASKS = ("minio_listen", "minio_redis")
"""Sources that are asked. They wake as soon as they are connected; the others once they have woken somebody."""

QUIET_SECONDS = 60.0
LATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one bucket's source. Times are seconds since the epoch, 0: never.

    `since` is when it was connected, or picked; 0 while it is broken. `heard` is the newest notification that the
    store sent, `missed` a listing that found changes which nobody had announced.
    """

    kind: str
    since: float = 0.0
    heard: float = 0.0
    missed: float = 0.0

    @property
    def unannounced(self) -> bool:
        """Whether there was a miss that nothing explains: the source works, and not only since a moment ago, and no
        other notification came at about that time."""
        settled = 0 < self.since < self.missed - QUIET_SECONDS
        return settled and self.heard < self.missed - QUIET_SECONDS

    def blind(self, now: float) -> bool:
        """Whether changes go unannounced. Not at once: the notification about what was listed may just be late."""
        return self.unannounced and now >= self.missed + LATE_SECONDS

    def woken(self, now: float) -> bool:
        """Whether notifications arrive, so that listings may be rare."""
        proven = self.kind in ASKS or self.heard > 0
        return self.since > 0 and proven and not self.blind(now)
