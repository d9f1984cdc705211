"""A full listing against the ledger, with memory that does not grow with the objects' names.

What the listing saw is kept as eight bytes a key in this process, not as an epoch in every entry: that would
rewrite (and log to disk) the whole ledger for each listing, and a set in Redis would hold the bucket's names twice.
A million keys are 8 MB here. A crash forgets them, and the next listing begins anew, which is what it must do anyway.
"""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from runtime.buckets.watch import Watch
from runtime.context import ObjectInfo, Store
from triggers.ledger import Change, Ledger

PAGE = 1000

LOSS_SHARE = 0.5
LOSS_KEYS = 10

REMOVED_KEPT_SECONDS = 86400.0
"""How long the ledger can still tell that an object was removed."""


class Seen:
    """The keys that one listing saw, as 64-bit hashes: among a million, a missing key is overlooked once in 10^13."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._sorted = True

    def add(self, key: str) -> None:
        self._hashes.append(_hash(key))
        self._sorted = False

    def __contains__(self, key: str) -> bool:
        if not self._sorted:
            self._hashes, self._sorted = array("Q", sorted(self._hashes)), True
        wanted = _hash(key)
        place = bisect.bisect_left(self._hashes, wanted)
        return place < len(self._hashes) and self._hashes[place] == wanted

    def __len__(self) -> int:
        return len(self._hashes)


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")


def pages(store: Store, watch: Watch) -> Iterator[list[ObjectInfo]]:
    """What the trigger watches in its bucket, page by page in the server's order."""
    objects = store.list(watch.trigger.bucket, watch.trigger.prefix)
    while page := list(itertools.islice(objects, PAGE)):
        yield [info for info in page if watch.wants(info.key)]


@dataclass(frozen=True, slots=True)
class Review:
    """One page of the ledger after a complete listing.

    `believed` entries say that their object exists; the listing did not see `missing` of them. One that came
    after its page was listed is among these: only a HEAD that finds nothing says that an object is gone.
    `stale` are entries of objects removed long ago.
    """

    believed: int
    missing: list[str]
    stale: list[Change]


def review(ledger: Ledger, seen: Seen, now: float) -> Iterator[Review]:
    """The ledger against what a complete listing saw, page by page."""
    for page in ledger.pages(PAGE):
        entries = [(key, known, known.entry) for key, known in page if known.entry is not None]
        believed = [key for key, _, entry in entries if entry.event == "created" and entry.state != "removed"]
        stale = [
            Change(key, known, None)
            for key, known, entry in entries
            if entry.state == "removed" and now - entry.at > REMOVED_KEPT_SECONDS
        ]
        yield Review(len(believed), [key for key in believed if key not in seen], stale)


def sudden(lost: int, known: int) -> bool:
    """Whether so much is gone at once that a person should say whether it is meant."""
    return lost >= LOSS_KEYS and lost > known * LOSS_SHARE
