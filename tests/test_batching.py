"""When a batch goes, how large it is, and what is done about a key: tables."""

from __future__ import annotations

import pytest

from runtime.buckets.entry import Entry
from runtime.config.settings import Batch
from runtime.context import ObjectInfo
from triggers.batching import Cut, Waiting, cut
from triggers.decide import Again, Flight, Note, Submit, decide

LIMITS = Batch(max_items=4, max_bytes=100, window=0.1)


@pytest.mark.parametrize(
    ("sizes", "since", "out", "expected"),
    [
        # Idle: whatever there is goes at once, up to the limits.
        ([], 0.0, 0, Cut(0)),
        ([1], 10.0, 0, Cut(1)),
        ([1, 1, 1], 10.0, 0, Cut(3)),
        ([1] * 9, 10.0, 0, Cut(4)),
        # Something is out: gather until full or until the window has passed.
        ([1], 10.0, 1, Cut(0, 0.1)),
        ([1], 9.95, 1, Cut(0, 0.05)),
        ([1], 9.9, 1, Cut(1)),
        ([1, 1, 1, 1, 1], 10.0, 1, Cut(4)),
        # Bytes: never over the limit but for one object that is larger by itself.
        ([60, 50], 10.0, 1, Cut(1)),
        ([60, 40, 1], 10.0, 1, Cut(2)),
        ([500, 1], 10.0, 0, Cut(1)),
        ([1, 500], 10.0, 0, Cut(1)),
        # Full house.
        ([1] * 9, 0.0, 2, Cut(0)),
    ],
)
def test_cut(sizes: list[int], since: float, out: int, expected: Cut) -> None:
    found = cut([Waiting(size, since) for size in sizes], LIMITS, out=out, in_flight=2, now=10.0)
    assert found.count == expected.count
    assert found.wait == (None if expected.wait is None else pytest.approx(expected.wait))


def made(etag: str) -> ObjectInfo:
    return ObjectInfo("b", "k", etag, 3, 0.0)


NEW, GONE = Submit("created", "e2", 3), Submit("removed", "e1", 0)
PENDING, DONE, DEAD = (Entry(state, "e1", 1, invocation="i") for state in ("pending", "done", "dead"))
GOING, DEAD_GOING = (Entry(state, "e1", 1, "removed", invocation="i") for state in ("pending", "dead"))
REMOVED = Entry("removed", "e1", 1, "removed")


@pytest.mark.parametrize(
    ("entry", "etag", "flight", "expected"),
    [
        # Absent, or removed before: new.
        (None, "e2", "gone", NEW),
        (REMOVED, "e2", "gone", NEW),
        (REMOVED, "e1", "gone", Submit("created", "e1", 3)),
        (None, None, "gone", None),
        (REMOVED, None, "gone", None),
        # Done: again only when the etag differs.
        (DONE, "e1", "gone", None),
        (DONE, "e2", "gone", NEW),
        (DONE, None, "gone", GONE),
        # Dead: waits for a new etag.
        (DEAD, "e1", "gone", None),
        (DEAD, "e2", "gone", NEW),
        (DEAD, None, "gone", GONE),
        (DEAD_GOING, None, "gone", None),
        (DEAD_GOING, "e1", "gone", Submit("created", "e1", 3)),
        # Pending: left alone while its invocation is out, unless something newer is there.
        (PENDING, "e1", "out", None),
        (PENDING, "e1", "retrying", None),
        (PENDING, "e2", "out", Again()),
        (PENDING, None, "out", Again()),
        (PENDING, "e2", "retrying", NEW),
        (GOING, None, "out", None),
        (GOING, "e1", "out", Again()),
        # Pending under an invocation that is gone: handed out as it is now.
        (PENDING, "e1", "gone", Submit("created", "e1", 3)),
        (PENDING, "e2", "gone", NEW),
        (PENDING, None, "gone", GONE),
        (GOING, None, "gone", GONE),
    ],
)
def test_decide(entry: Entry | None, etag: str | None, flight: Flight, expected: object) -> None:
    assert decide(entry, made(etag) if etag else None, flight, ("created", "removed"), 5.0) == expected


def test_an_event_that_is_not_wanted_is_only_noted() -> None:
    assert decide(DONE, None, "gone", ("created",), 5.0) == Note(Entry("removed", "e1", 1, "removed", at=5.0))
    assert decide(None, made("e2"), "gone", ("removed",), 5.0) == Note(Entry("done", "e2", 0, size=3, at=5.0))


def test_a_change_is_marked_once() -> None:
    marked = Entry("pending", "e1", 1, invocation="i", again=True)
    assert decide(marked, made("e2"), "out", ("created",), 5.0) is None
