"""What `tundish buckets` puts out for people: rows of its tables, and what somebody should look at."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from runtime.cli.output import snippet
from runtime.values.units import format_size

TRIGGERS = ("trigger", "bucket", "source", "done", "pending", "dead", "skipped", "out", "last listing")
FAILED = ("bucket", "key", "etag", "function", "failed", "reason")
LETTERS = ("at", "source", "reason", "body")


def trigger(one: Mapping[str, Any]) -> tuple[str, ...]:
    states, listing = one["states"], one["listing"]
    return (
        one["name"],
        one["bucket"] + (f"/{one['prefix']}" if one["prefix"] else ""),
        _source(one),
        *(str(states.get(state, 0)) for state in ("done", "pending", "dead", "skipped")),
        f"{one['in_flight']}/{one['most_in_flight']}",
        f"{_ago(listing['ended'])}, {listing['objects']} objects in {listing['took']:.1f} s" if listing else "none yet",
    )


def _source(one: Mapping[str, Any]) -> str:
    source = one["source"]
    if source is None:
        return "nobody watches"
    kind, standing = source["kind"], source["standing"]
    return f"{kind}, {standing}" if standing in ("waiting", "silent") else str(kind)


def notes(one: Mapping[str, Any]) -> Iterator[str]:
    """What a person should do something about."""
    source, held, paused = one["source"], one["held"], one["paused"]
    if source is None:
        yield f"{one['name']}: no `triggers` process watches {one['bucket']}; start `tundish up` or `tundish triggers`."
    elif source["detail"]:
        yield f"{one['name']}: {source['detail']}"
    if held and not held["confirmed"]:
        yield (
            f"{one['name']}: HELD since {when(held['at'])}: {held['count']} of {held['known']} objects are suddenly "
            f"gone. If that is meant: tundish buckets confirm {one['bucket']}"
        )
    if (budget := one["budget"]) and budget["spent"]:
        yield (
            f"{one['name']}: the budget of this minute is spent ({_spent(budget)}); what waits goes on in "
            f"{budget['seconds']} s"
        )
    if lost := one["lost"]:
        yield (
            f"{one['name']}: the ledger was lost, and made anew until {when(lost['at'])}: {lost['objects']} objects "
            "were handed out again. The broker should keep its data: an append-only file, and no eviction."
        )
    if paused:
        reason = f": {paused['reason']}" if paused["reason"] else ""
        yield f"{one['name']}: paused since {when(paused['since'])}{reason}"
    if one["states"].get("dead"):
        yield f"{one['name']}: objects have failed; see: tundish buckets failed {one['bucket']}"


def _spent(budget: Mapping[str, Any]) -> str:
    parts = []
    if most := budget["objects_per_minute"]:
        parts.append(f"{budget['objects']} of {most} objects, guard.objects_per_minute")
    if most := budget["bytes_per_minute"]:
        parts.append(f"{format_size(budget['bytes'])} of {format_size(most)}, guard.bytes_per_minute")
    return "; ".join(parts)


def letter(one: Mapping[str, Any]) -> tuple[str, ...]:
    body = one["body"] if "body" in one else f"base64: {one['body_base64']}"
    return when(one["at"]), one["source"], one["reason"], snippet(body)


def failure(one: Mapping[str, Any]) -> tuple[str, ...]:
    reason = snippet(one["reason"] or "")
    return one["bucket"], one["key"], one["etag"] or "", one["function"], when(one["processed_at"]), reason


def when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
