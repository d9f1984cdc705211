"""The evidence of the bucket storm as a table for people (Markdown)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from runtime.invocations.invocation import Invocation
from tests.chaos.buckets.evidence import Evidence
from tests.chaos.buckets.promises import EMPTY
from tests.chaos.buckets.target import KINDS
from tests.chaos.table import head, kills, row


def table(found: Evidence, broken: int) -> str:
    return "\n".join([*_deeds(found), "", *kills(found.kills, KINDS), "", *_whole(found, broken)])


def _deeds(found: Evidence) -> Iterator[str]:
    counts = Counter((_what(found, number), each.deed.way) for number, each in enumerate(found.done))
    yield from head("changes", "straight to the store", "through the gateway")
    for what in ("written", "written empty", "removed"):
        yield row(what, counts[what, "store"], counts[what, "gateway"])


def _what(found: Evidence, number: int) -> str:
    content = found.done[number].deed.content
    return "removed" if content is None else "written" if content else "written empty"


def _whole(found: Evidence, broken: int) -> Iterator[str]:
    post, batches = found.post, len(_batched(found))
    lost = sum(record.lost for record in found.records.values())
    yield from head("in all", "")
    yield row("notifications of the store", post["came"])
    yield row("lost · doubled · late", f"{post['lost']} · {post['doubled']} · {post['late']}")
    yield row("carried to a gateway that was dead", post["closed"])
    yield row("clients that had to ask again", sum(each.tries > 1 for each in found.done))
    yield row("objects in the bucket · in the index · unreadable", _objects(found))
    yield row("changes handed out", sum(len(each.arguments["objects"]) for each in _batched(found)))
    yield row("batches · other invocations · attempts lost", f"{batches} · {len(found.records) - batches} · {lost}")
    yield row("wall time, kills included", f"{found.seconds:.0f} s")
    yield row("from the last change to equal and quiet, two listings included", f"{found.settled:.0f} s")
    yield row("broken promises", broken)


def _objects(found: Evidence) -> str:
    unreadable = sum(etag == EMPTY for etag in found.bucket.values())
    return f"{len(found.bucket)} · {len(found.index)} · {unreadable}"


def _batched(found: Evidence) -> list[Invocation]:
    return [record for record in found.records.values() if record.trigger == "bucket"]
