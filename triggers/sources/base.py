"""What every source of bucket notifications has in common: a body goes in, hints come out.

A hint only says "look there". It is never believed: the store decides what happened. So a source may deliver
too much, too late, twice or out of order; what it fails to deliver is found by the listing.

Some sources post their notifications to the gateway; others have to be asked, and do so in a thread of their own.
Both leave them raw in one stream, so that only the parsers understand them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Hint:
    """Something happened to `key` in `bucket`.

    `folder` stands for anything below `key` (a folder was removed or renamed as a whole): only a listing can tell.
    """

    bucket: str
    key: str
    kind: Literal["object", "folder"] = "object"


Parser = Callable[[bytes], list[Hint]]
"""One source's reader. Raises ValueError on what it cannot use: for people, what was expected and what is there."""


class Broken(Exception):
    """A source does not wake, and why: a sentence. `lasting`: this server cannot do it at all."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Desk(Protocol):
    """What a source that asks gets to work with."""

    def over(self) -> bool:
        """Whether it is to return now; asked at least every few seconds."""
        ...

    def begun(self) -> None:
        """From now on it wakes; whatever came before may have been missed, so the bucket is listed."""
        ...

    def put(self, bodies: Sequence[bytes]) -> None:
        """Leave raw notifications for the parsers. Raises redis errors; then they count as not delivered."""
        ...

    def ask(self) -> None:
        """Notifications were lost: list what they were about."""
        ...

    def wait(self, seconds: float) -> None:
        """Sleep, but not past the end."""
        ...


class Source(Protocol):
    """A source that asks: runs until it is over. Raises Broken, redis errors, StoreDown, StoreDenied."""

    def run(self, desk: Desk) -> None: ...
