"""What a trigger has to do about one key: the ledger's entry against what the store says. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from runtime.buckets.entry import Entry, Event, State
from runtime.context import ObjectInfo

Flight = Literal["out", "retrying", "gone"]
"""Where a pending entry's invocation is: under way, waiting for its next attempt, or no longer known as out."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand this change to the function."""

    event: Event
    etag: str
    size: int
    changed: float = field(default=0.0, compare=False)
    """When the store says that it was written; 0: nobody knows."""


@dataclass(frozen=True, slots=True)
class Note:
    """Write this entry without calling anybody: the trigger does not ask for this kind of event, or refuses it."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Again:
    """Another change of a key that is under way: mark it, and look again when that invocation ends."""


HERE_BEFORE = "it was here before the trigger (start: now); `tundish replay` hands it out"
"""The reason of what is skipped because of `start: now`."""

Action = Submit | Note | Again | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object is not handed out: `skipped` by a filter, or `dead` because of a loop."""

    state: Literal["skipped", "dead"]
    reason: str


def decide(
    entry: Entry | None,
    found: ObjectInfo | None,
    flight: Flight,
    events: tuple[str, ...],
    now: float,
    refusal: Refusal | None = None,
) -> Action:
    """The next step for one key; `found` is None when the store has no such object.

    Order within a key: a newer change waits until the invocation that holds the older one has ended, so a key is
    never in two running invocations and the last change is the last to be handled, whatever the function does.
    A hundred overwrites become a few calls. It cannot starve: queued and running end by the function's timeout,
    retries by their number. An invocation said to be `retrying` is not waited for (its back-off may be minutes): the
    newer change goes at once, with the higher `seq`, which wins in an index.
    """
    if found is None and (entry is None or entry.state == "removed"):
        return _quiet(entry)
    if entry is not None and entry.state != "removed" and _same(entry, found):
        waits = entry.state == "pending" and flight == "gone"
        missed = entry.state == "dead" and entry.again  # something else was there in between
        # Its type was set right, which changes no etag; only a HEAD tells the type.
        mended = entry.state == "skipped" and entry.reason != HERE_BEFORE and found and found.content_type
        if not waits and not missed and not (mended and refusal is None):
            return _quiet(entry)  # done, skipped, dead or cleared until its etag changes, or under way
    elif entry is not None and entry.state == "pending" and flight == "out":
        return None if entry.again else Again()
    if found is not None and refusal is not None:
        return _refuse(entry, found, events, now, refusal)
    event: Event = "created" if found else "removed"
    etag, size = (found.etag, found.size) if found else (entry.etag if entry else "", 0)
    if event in events and not (entry is not None and entry.state == "skipped" and found is None):
        return Submit(event, etag, size, found.modified if found else 0.0)
    return Note(_noted(entry, "done" if found else "removed", event, etag, size, now))


def _refuse(entry: Entry | None, found: ObjectInfo, events: tuple[str, ...], now: float, refusal: Refusal) -> Action:
    """An object that is not handed out. What the function made of an older one is to be undone, where it is told."""
    seen = entry is not None and entry.event == "created" and entry.state in ("done", "dead", "cleared", "pending")
    if seen and entry is not None and refusal.state == "skipped" and "removed" in events:
        return Submit("removed", entry.etag, 0)
    noted = _noted(entry, refusal.state, "created", found.etag, found.size, now)
    return Note(replace(noted, reason=refusal.reason))


def _noted(
    entry: Entry | None,
    state: State,
    event: Event,
    etag: str,
    size: int,
    now: float,
) -> Entry:
    seq, heat = (entry.seq, entry.cooled(now)) if entry else (0, 0.0)
    return Entry(state, etag, seq, event, size, at=now, heat=heat)


def _quiet(entry: Entry | None) -> Action:
    """Nothing to do; a change that was marked, or a wish, that has come to nothing is no longer waited for."""
    if entry is None or not (entry.again or entry.forced) or entry.state == "pending":
        return None
    return Note(replace(entry, again=False, forced=False))


def _same(entry: Entry, found: ObjectInfo | None) -> bool:
    """Whether the entry is about exactly what the store has now."""
    if found is None:
        return entry.event == "removed"
    return entry.event == "created" and entry.etag == found.etag
