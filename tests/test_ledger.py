"""The ledger on a real broker: one atomic step at a time, and what the end of an invocation means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.buckets import documents
from runtime.buckets.entry import Entry, state_of
from runtime.buckets.watch import watches
from runtime.config.settings import BucketTrigger, Function, Project, StoreSettings
from runtime.invocations import submit
from runtime.invocations.invocation import Invocation, read
from tests.triggering import House
from triggers import ledger
from triggers.decide import Note, Submit, decide
from triggers.ledger import Change, Known, Ledger
from triggers.scan import Seen, review, sudden
from triggers.settle import settle

ABSENT = Known(b"", None)


@pytest.fixture
def house(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> House:
    return House.build(redis_client, broker_url, store_settings, tmp_path)


@pytest.fixture
def book(house: House) -> Ledger:
    return Ledger(house.client, house.watch)


def claim(house: House, book: Ledger, task_id: str, *changes: Change, limit: int = 4) -> str | None:
    names, arguments = book.claim_arguments(task_id, limit, changes)
    call = submit.Call("note", {"objects": []}, trigger="bucket", id=task_id)
    return submit.submit_with(house.client, house.deployment, call, ledger.CLAIM, names, arguments)


def pending(task_id: str, etag: str = "e1") -> Entry:
    return Entry("pending", etag, 1, "created", 3, task_id, at=1.5)


def test_an_entry_survives_its_encoding() -> None:
    entry = Entry("dead", "é", 2**50, "removed", 5, "id", "no\nreason", 1795260370.25, True)
    assert Entry.decode(entry.encode()) == entry
    assert state_of(entry.encode()) == "dead" and state_of(b"") is None and state_of(b"\xc0\x07") is None


def test_claim_and_record_are_one_step(house: House, book: Ledger) -> None:
    assert claim(house, book, "t1", Change("a", ABSENT, pending("t1")), Change("ü", ABSENT, pending("t1"))) == "t1"
    assert [one.entry for one in book.read(["a", "ü", "b"])] == [pending("t1"), pending("t1"), None]
    assert book.flights() == {"t1": ["a", "ü"]}
    assert read(house.client, "t1") is not None


def test_a_claim_of_anything_that_moved_changes_nothing(house: House, book: Ledger) -> None:
    claim(house, book, "t1", Change("a", ABSENT, pending("t1")))
    before = house.client.hgetall(house.watch.ledger)
    assert claim(house, book, "t2", Change("b", ABSENT, pending("t2")), Change("a", ABSENT, pending("t2"))) is None
    assert house.client.hgetall(house.watch.ledger) == before
    assert read(house.client, "t2") is None and book.out() == {"t1"}


def test_a_claim_beyond_in_flight_changes_nothing(house: House, book: Ledger) -> None:
    claim(house, book, "t1", Change("a", ABSENT, pending("t1")), limit=1)
    assert claim(house, book, "t2", Change("b", ABSENT, pending("t2")), limit=1) is None
    assert book.read(["b"])[0].entry is None


def test_a_batch_lands_once(house: House, book: Ledger) -> None:
    claim(house, book, "t1", Change("a", ABSENT, pending("t1")))
    (known,) = book.read(["a"])
    done = Entry("done", "e1", 1)
    marked = replace(pending("t1"), again=True)
    assert book.apply([Change("a", known, marked)])
    assert not book.apply([Change("a", known, done)], landed="t1"), "it was marked in between"
    assert book.out() == {"t1"}
    (known,) = book.read(["a"])
    assert book.apply([Change("a", known, done)], landed="t1", hints=["a", "ü"])
    assert not book.out() and house.state("a") == "done"
    stream: Any = house.client.xrange(keys.EVENTS)
    bodies = [json.loads(fields[b"body"])["key"] for _, fields in stream]
    assert bodies == ["a", "ü"]
    assert book.apply([Change("a", known, pending("t9"))], landed="t1"), "somebody else has done it: no more to do"
    assert house.state("a") == "done"


def record(state: str, result: Any = None, error: dict[str, Any] | None = None) -> Invocation:
    return Invocation(
        id="t1",
        function="note",
        state=state,
        queue="default",
        priority=5,
        tenant="default",
        trigger="bucket",
        attempts=1,
        created=0.0,
        queued=0.0,
        started=None,
        ended=None,
        worker=None,
        root="t1",
        parent=None,
        arguments={},
        result_json=result if isinstance(result, bytes) else json.dumps(result).encode(),
        error=error,
    )


DELETE = replace(pending("t1"), event="removed")
MARKED = replace(pending("t1"), again=True)
DONE = replace(pending("t1"), state="done", at=9.0)


@pytest.mark.parametrize(
    ("entry", "ended", "expected", "again"),
    [
        (pending("t1"), record("succeeded"), DONE, False),
        (pending("t1"), record("succeeded", {"failed": []}), DONE, False),
        (pending("t1"), record("succeeded", b"no json"), DONE, False),
        (pending("t1"), record("succeeded", {"failed": [{"key": "other"}, 7, {"key": ["k"]}]}), DONE, False),
        (pending("t1"), record("succeeded", {"failed": [{"key": "k", "bucket": "elsewhere"}]}), DONE, False),
        (DELETE, record("succeeded"), replace(DELETE, state="removed", at=9.0), False),
        # Another change was seen meanwhile: whatever was read, it is looked at again.
        (MARKED, record("succeeded"), replace(MARKED, state="done", etag="", at=9.0), True),
        # The function says which object it could not use, and which version of it that was.
        (
            pending("t1"),
            record("succeeded", {"failed": [{"bucket": "b", "key": "k", "etag": "e7", "reason": "empty"}]}),
            replace(DONE, state="dead", etag="e7", reason="empty"),
            False,
        ),
        (
            pending("t1"),
            record("succeeded", {"failed": [{"key": "k", "reason": "empty"}]}),
            replace(DONE, state="dead", reason="empty"),
            False,
        ),
        # The invocation ended otherwise.
        (
            pending("t1"),
            record("dead", error={"type": "ValueError", "message": "no"}),
            replace(DONE, state="dead", reason="ValueError: no"),
            False,
        ),
        (
            pending("t1"),
            record("cancelled"),
            replace(DONE, state="dead", reason="the invocation t1 was cancelled"),
            False,
        ),
        # There was no time for it, or its record is gone: pending under nobody, and looked at again.
        (
            pending("t1"),
            record("succeeded", {"deferred": [{"bucket": "b", "key": "k"}]}),
            replace(DONE, state="pending", invocation=""),
            True,
        ),
        (pending("t1"), None, replace(DONE, state="pending", invocation=""), True),
        # It was another one, or gone, when it was read: that is what was handled, and it is looked at again.
        (
            pending("t1"),
            record("succeeded", {"read": [{"bucket": "b", "key": "k", "etag": "e7"}]}),
            replace(DONE, etag="e7"),
            True,
        ),
        (
            pending("t1"),
            record("succeeded", {"read": [{"bucket": "b", "key": "k", "etag": ""}]}),
            replace(DONE, etag=""),
            True,
        ),
        # What came of halving a batch that failed stays small: the guilty one may be among those put off.
        (
            replace(pending("t1"), share=2),
            record("succeeded", {"deferred": [{"bucket": "b", "key": "k"}]}),
            replace(DONE, state="pending", invocation="", share=2),
            True,
        ),
    ],
)
def test_the_end_of_an_invocation(entry: Entry, ended: Invocation | None, expected: Entry, again: bool) -> None:
    known = Known(entry.encode(), entry)
    settled = settle("b", "t1", ended, ["k"], [known], 9.0)
    assert [change.after for change in settled.changes] == [expected]
    assert settled.hints == (["k"] if again else [])


@pytest.mark.parametrize(
    ("failed", "dead", "odd"),
    [
        (["a+b ü"], True, 0),
        ([{"key": "a%2Bb+%C3%BC"}], True, 0),
        ([{"key": "a+b ü", "bucket": "elsewhere"}, 7, ["k"], None, {}], False, 5),
        ("all", False, 1),
        ({"a+b ü": "no"}, False, 1),
        (3, False, 0),
        (None, False, 0),
    ],
)
def test_what_a_result_reports_is_taken_as_it_is_meant_or_said(failed: Any, dead: bool, odd: int) -> None:
    entry = pending("t1")
    settled = settle("b", "t1", record("succeeded", {"failed": failed}), ["a+b ü"], [Known(b"x", entry)], 9.0)
    (after,) = [change.after for change in settled.changes]
    assert after and after.state == ("dead" if dead else "done") and len(settled.odd) == odd


@pytest.mark.parametrize("entry", [None, pending("t2"), DONE])
def test_an_entry_that_belongs_to_nobody_or_somebody_else_is_left_alone(entry: Entry | None) -> None:
    known = Known(entry.encode(), entry) if entry else ABSENT
    assert settle("b", "t1", record("succeeded"), ["k"], [known], 9.0).changes == []


def test_what_a_listing_did_not_see(house: House, book: Ledger) -> None:
    entries = {
        "there": Entry("done", "e"),
        "gone": Entry("done", "e"),
        "gone too": pending("t1"),
        "going": DELETE,
        "removed": Entry("removed", "e", event="removed", at=100_000.0),
        "removed long ago": Entry("removed", "e", event="removed", at=1.0),
    }
    book.apply([Change(key, ABSENT, entry) for key, entry in entries.items()])
    seen = Seen()
    for key in ("there", "new"):
        seen.add(key)
    (found,) = review(book, seen, now=100_001.0)
    assert sorted(found.missing) == ["gone", "gone too"] and found.believed == 3
    assert [change.key for change in found.stale] == ["removed long ago"]


@pytest.mark.parametrize(
    ("lost", "known", "expected"), [(9, 9, False), (10, 10, True), (10, 20, False), (11, 20, True)]
)
def test_a_sudden_loss(lost: int, known: int, expected: bool) -> None:
    assert sudden(lost, known) is expected


@pytest.mark.parametrize(
    ("entry", "running", "status", "reason"),
    [
        (pending("t1"), None, "pending", None),
        (pending("t1"), {"state": "queued"}, "pending", None),
        (pending("t1"), {"state": "running"}, "processing", None),
        (
            pending("t1"),
            {"state": "retrying", "attempts": 2, "error": '{"message": "no model"}'},
            "pending",
            "attempt 2 failed and is tried again: no model",
        ),
        (DONE, None, "completed", None),
        (replace(DONE, again=True), None, "pending", None),
        (replace(DONE, state="dead", reason="empty"), None, "failed", "empty"),
        (Entry("removed", "e1", 1, "removed"), None, "removed", None),
    ],
)
def test_the_status_of_a_document(
    house: House, entry: Entry, running: dict[Any, Any] | None, status: str, reason: str | None
) -> None:
    house.client.hset(house.watch.ledger, "k", entry.encode())
    if running:
        house.client.hset(keys.invocation("t1"), mapping=running)
    found = documents.document_status(house.client, house.project, house.bucket, "k")
    assert found is not None
    assert (found["status"], found["reason"]) == (status, reason)
    assert found["triggers"][0]["function"] == "note"


async def _status(url: str, house: House) -> dict[str, Any] | None:
    from runtime.broker.connection import connect_async

    async with connect_async(url) as client:
        return await documents.document_status_async(client, house.project, house.bucket, "k")


def test_the_status_for_asyncio(house: House, broker_url: str) -> None:
    import asyncio

    house.client.hset(house.watch.ledger, "k", DONE.encode())
    expected = documents.document_status(house.client, house.project, house.bucket, "k")
    assert asyncio.run(_status(broker_url, house)) == expected


def test_an_unwatched_object_says_who_watches_what(house: House) -> None:
    found = documents.document_status(house.client, house.project, "elsewhere", "k")
    assert found and found["status"] == "unwatched" and house.bucket in found["reason"]


GONE = Entry("removed", "e", 3, "removed", at=1.0, again=True)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        # Created again and removed again while the first removal was out: nothing is left to be done …
        (GONE, Note(replace(GONE, again=False))),
        (replace(GONE, again=False), None),
        # … unless that removal failed: the rows are still there.
        (replace(GONE, state="dead"), Submit("removed", "e", 0)),
        (replace(GONE, state="dead", again=False), None),
        (replace(GONE, state="pending"), None),
    ],
)
def test_a_change_that_came_to_nothing_is_not_waited_for(entry: Entry, expected: object) -> None:
    assert decide(entry, None, "out", ("created", "removed"), 5.0) == expected


@pytest.mark.parametrize(
    ("key", "taken"), [("a.txt", True), ("A.TXT", True), ("a.md", False), ("txt", False), ("folder.txt/", False)]
)
def test_suffixes_fit_in_any_case(key: str, taken: bool) -> None:
    trigger = BucketTrigger(bucket="documents", suffix=(".Txt",))
    project = Project(queues={}, functions={"f": Function(name="f", handler="a.py:f", buckets=(trigger,))})
    (watch,) = watches(project)
    assert watch.wants(key) is taken
