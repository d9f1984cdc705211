"""What must hold when the bucket storm is over. Pure: evidence in, every broken promise out, with the keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from runtime.index.search import Hit
from runtime.invocations.invocation import Invocation
from tests.chaos.buckets.evidence import Evidence
from tests.chaos.promises import Broken


def etag_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


EMPTY = etag_of(b"")
"""The etag of what cannot be indexed."""


def broken(found: Evidence) -> list[Broken]:
    checks = (_answered, _kept, _equal, _agreed, _noted, _quiet, _ended, _ordered, _recovered)
    return [each for check in checks for each in check(found)]


def unsettled(found: Evidence) -> list[Broken]:
    """What need not hold at once, but soon after the last change."""
    return [each for check in (_equal, _noted, _quiet) for each in check(found)]


def _answered(found: Evidence) -> Iterator[Broken]:
    for each in found.done:
        if each.refused:
            detail = f"deed {each.deed.number} at the {each.deed.way}: {each.tries} tries, last {each.refused}"
            yield Broken("every client is answered", each.deed.key, detail)


def _kept(found: Evidence) -> Iterator[Broken]:
    """The bucket holds what the clients were told: otherwise the store broke its word, and not we."""
    for key in found.told.keys() | found.bucket.keys():
        wanted = etag_of(found.told[key]) if key in found.told else "nothing"
        there = found.bucket.get(key, "nothing")
        if wanted != there:
            detail = f"{there} is there, not {wanted}; {_traces(found, key)}"
            yield Broken("the store keeps what it took", key, detail)


def _equal(found: Evidence) -> Iterator[Broken]:
    """Bucket and index agree: the same keys, the same etags, the whole text in chunks that follow each other."""
    for key in found.index.keys() | found.bucket.keys():
        if problem := _difference(found.bucket.get(key), found.index.get(key, []), found.told.get(key, b"")):
            yield Broken("bucket = index", key, f"{problem}; {_traces(found, key)}")
    if found.hidden:
        yield Broken("bucket = index", "", f"{found.hidden} chunks are counted and not found")


def _difference(etag: str | None, rows: Sequence[Hit], told: bytes) -> str:
    """How the chunks of a key differ from its object; empty when they do not."""
    if etag is None:
        return "in the index and not in the bucket" if rows else ""
    if etag == EMPTY:
        return "unreadable, but in the index" if rows else ""
    if not rows:
        return "not in the index"
    if {row.etag for row in rows} != {etag}:
        return "another content is in the index"
    # Where the store has something else than it was given, its text is unknown here.
    return _torn(rows, told.decode()) if etag_of(told) == etag else ""


def _torn(rows: Sequence[Hit], text: str) -> str:
    """Why these chunks, in the order of their beginnings, are not the whole text; empty when they are."""
    if [row.chunk for row in rows] != list(range(len(rows))):
        return f"chunks {[row.chunk for row in rows]}"
    end = 0
    for row in rows:
        if row.text != text[row.start : row.end]:
            return f"chunk {row.chunk} is not what the object holds there"
        if text[end : row.start].strip():
            return f"the text between {end} and {row.start} is in no chunk"
        end = row.end
    return f"the text after {end} is in no chunk" if text[end:].strip() else ""


def _agreed(found: Evidence) -> Iterator[Broken]:
    """`tundish index verify` sees what is seen here: as many objects, and no difference."""
    code, said = found.verdict
    if code or said["objects"] != len(found.bucket) or said["documents"] != len(found.index):
        yield Broken("index verify finds them equal", "", f"exit code {code}: {said}")


def _noted(found: Evidence) -> Iterator[Broken]:
    """The ledger says of every key what is true."""
    for key in found.ledger.keys() | found.bucket.keys():
        state, etag = found.ledger.get(key, ("removed", ""))
        if key not in found.bucket:
            wanted = ("removed", etag)
        else:
            wanted = ("dead" if found.bucket[key] == EMPTY else "done", found.bucket[key])
        if (state, etag) != wanted:
            yield Broken("the ledger is true", key, f"{state} {etag}, not {' '.join(wanted)}")


def _quiet(found: Evidence) -> Iterator[Broken]:
    for name, count in {**found.left, "batches of the trigger": found.out, "a held loss": found.held}.items():
        if count:
            yield Broken("nothing is left waiting", name, f"{count} are left")


def _ended(found: Evidence) -> Iterator[Broken]:
    """Every invocation has ended, and none of ours by giving up."""
    for record in found.records.values():
        if record.state != "succeeded":
            summary = (record.error or {}).get("summary", "")
            yield Broken("accepted = succeeded", record.id, f"{record.function} {record.state} {summary}")


def _ordered(found: Evidence) -> Iterator[Broken]:
    """A key is in one invocation at a time: the next one begins when that before has ended, or waits for a retry."""
    batches = [record for record in found.records.values() if record.trigger == "bucket"]
    before: dict[str, Invocation] = {}
    for record in sorted(batches, key=lambda record: record.created):
        for key in [each["key"] for each in record.arguments["objects"]]:
            older = before.get(key)
            if older and older.attempts <= 1 and (older.ended is None or older.ended > record.created):
                detail = f"{older.id} ended at {older.ended}, {record.id} was created at {record.created}"
                yield Broken("one key, one invocation at a time", key, detail)
            before[key] = record


def _recovered(found: Evidence) -> Iterator[Broken]:
    for kill in found.kills:
        if kill.recovery is None:
            detail = f"killed at {kill.at:.1f}, and nothing became searchable after it"
            yield Broken("the system recovers", f"{kill.kind} {kill.pid}", detail)


def _traces(found: Evidence, key: str) -> str:
    """What is known of a key, for whoever looks for the cause."""
    deeds = [
        f"{each.deed.number} {'removed' if each.deed.content is None else 'written'} at the {each.deed.way} from "
        f"{each.began:.3f} to {each.at:.3f} in {each.tries}"
        for each in found.done
        if each.deed.key == key
    ]
    rows = sorted({row.etag for row in found.index.get(key, [])})
    return f"bucket {found.bucket.get(key)}, index {rows}, ledger {found.ledger.get(key)}, deeds {deeds[-4:]}"
