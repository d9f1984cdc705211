"""Why an object that a trigger found is not handed to its function: a filter, the trigger's beginning, a loop. Pure."""

from __future__ import annotations

from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch
from runtime.context import ObjectInfo
from runtime.store.stamped import BY, hops
from triggers.decide import HERE_BEFORE, Refusal


def refusal(watch: Watch, since: float, entry: Entry | None, info: ObjectInfo) -> Refusal | None:
    """`since` is when the trigger began, by the store's clock, in seconds since the epoch.

    What a person asks for again (`forced`) is handed out even at the end of a loop: it may have been mended.
    """
    trigger = watch.trigger
    if reason := watch.refuses(info):
        return Refusal("skipped", reason)
    if entry is None and trigger.start == "now" and info.modified < int(since):
        return Refusal("skipped", HERE_BEFORE)
    count = hops(info)
    if count >= trigger.guard.max_hops and not (entry and entry.forced):
        writer = info.metadata.get(BY, "a function")
        return Refusal(
            "dead",
            f"a loop: {writer} wrote it as the last of {count} functions in a row, each called by what the one before "
            f"wrote (guard.max_hops is {trigger.guard.max_hops}); let it write where no trigger listens",
        )
    return None
