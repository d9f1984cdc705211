"""What a replay makes of one key, from the ledger's entry alone. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from runtime.buckets.entry import Entry

Standing = Literal["untouched", "under way", "settled", "failed"]

WISHED = "a replay hands it out"


def standing(entry: Entry | None, start: int, handed: str | None) -> Standing:
    """How a key stands with a replay that began when the number `start` was given out.

    What was handed out since then has a higher number, whoever did it: the object as it is has been, or is being,
    worked on. `handed` is what the replay has seen of the key before: None nothing, "" that it was wished for, else
    the etag that was handed out. When another etag has taken its place that is another story (and may go on for ever).
    """
    if entry is None:
        return "untouched"
    if entry.forced:
        return "under way"
    if entry.seq > start:
        if entry.state == "pending" or (entry.state == "dead" and entry.again):
            return "settled" if handed and entry.etag != handed else "under way"
        return "failed" if entry.state == "dead" else "settled"
    if handed is None:
        return "untouched"
    # Somebody has looked at it since: the object is gone, or it is refused.
    return "failed" if entry.state == "dead" else "settled"


def wished(entry: Entry | None, now: float) -> Entry:
    """The entry of a key that is to be handed out once more, whatever became of it.

    It differs from what the store has, so every later look hands it out: a process that dies loses no wish. What is
    under way goes on, and goes again when it has ended. What the trigger has never handed out (`start: now`, or a
    listing that has not come so far) gets an entry, which no beginning of the trigger refuses.
    """
    if entry is None:
        return Entry("skipped", at=now, reason=WISHED, forced=True)
    if entry.state == "pending":
        return replace(entry, again=True, forced=True)
    return replace(entry, etag="", event="created", again=False, forced=True)


def waits_for_its_end(entry: Entry) -> bool:
    """Whether there is no use in looking at it before its invocation ends (which leads to a look)."""
    return entry.state == "pending" and bool(entry.invocation)
