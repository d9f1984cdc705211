"""What is told of a document of which a part was left out, and of one that failed some time ago."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from functions.cleanup import cleanup
from functions.embed_batch import embed_batch
from runtime.buckets.document_list import Wanted, page
from runtime.buckets.documents import CLEARED, document_status
from runtime.buckets.entry import Entry, read
from runtime.buckets.failed_documents import FailedDocuments
from runtime.buckets.watch import Watch, watches
from runtime.config.load import load
from runtime.config.settings import BucketTrigger, Function, Project, Queue, StoreSettings
from runtime.context import Extraction, ObjectEvent
from runtime.errors import BadInput, ObjectMissing, PreconditionFailed
from runtime.store.port import MinioStore
from runtime.testing import FakePorts, MemoryIndex, MemoryStore, fake_context
from tests import documents, office
from tests.test_ledger import record as recorded
from triggers.decide import Submit, decide
from triggers.ledger import Known
from triggers.settle import NOTES_LIMIT, settle

HOUR = 3600.0


def test_rows_tell_the_language_the_page_and_what_was_left_out() -> None:
    store, index = MemoryStore(), MemoryIndex()
    index.reading = Extraction(pages=3)
    store.put("docs", "a.pdf", documents.pdf(*(f"The mountains of page {n} are high and steep." for n in range(1, 6))))
    store.put("docs", "b.eml", office.mail("Hello", "The prices are low today.", more=b"x"))
    store.put("docs", "c.txt", "Die Berge sind hoch und steil, und das Wetter ist schön.".encode("cp1252"))
    events = [ObjectEvent("docs", key) for key in ("a.pdf", "b.eml", "c.txt")]
    result = embed_batch(objects=events, context=fake_context("embed_batch", store=store, index=index))
    assert (result.documents, result.failed) == (3, [])
    assert [(one.key, one.notes) for one in result.noted] == [
        ("a.pdf", ["only the first 3 of 5 pages were read: that is the limit"]),
        ("b.eml", ["attachments are named and not read: more.zip (application/zip, 1 B)"]),
    ]
    found = {key: rows for (_, key), rows in index.winners("default").items()}
    assert {row.meta["language"] for row in found["a.pdf"]} == {"en"}
    assert found["a.pdf"][0].meta["notes"] == result.noted[0].notes
    assert found["a.pdf"][0].meta["page"] == 1
    assert "page 4" not in found["a.pdf"][-1].text
    assert found["c.txt"][0].meta["language"] == "de" and "notes" not in found["c.txt"][0].meta
    again = embed_batch(objects=events, context=fake_context("embed_batch", store=store, index=index))
    assert again.reused and again.noted == result.noted


def test_an_object_too_large_to_be_read_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions._members.OBJECT_LIMIT", 1000)
    store = MemoryStore()
    store.put("docs", "large.txt", b"x" * 1001)
    store.put("docs", "small.txt", b"The mountains are high and steep.")
    events = [ObjectEvent("docs", key) for key in ("large.txt", "small.txt")]
    result = embed_batch(objects=events, context=fake_context("embed_batch", store=store))
    assert [one.key for one in result.failed] == ["large.txt"] and result.documents == 1


def test_notes_become_part_of_the_ledger() -> None:
    entry = Entry("pending", "e1", 3, invocation="t1")
    told = {"noted": [{"bucket": "b", "key": "k", "etag": "e1", "notes": ["the first\nnote", "", "x" * 1000]}]}
    record = recorded("succeeded", told)
    (change,) = settle("b", "t1", record, ["k"], [Known(entry.encode(), entry)], 9.0).changes
    assert change.after and change.after.state == "done"
    assert change.after.notes == ["the first note", "x" * (NOTES_LIMIT - 15)]
    for odd in (3, "all", [{"key": "k", "notes": 7}], [{"key": "k"}]):
        record = recorded("succeeded", {"noted": odd})
        (change,) = settle("b", "t1", record, ["k"], [Known(entry.encode(), entry)], 9.0).changes
        assert change.after and (change.after.state, change.after.notes) == ("done", [])


@pytest.fixture
def store(store_settings: StoreSettings) -> MinioStore:
    return MinioStore(store_settings)


@pytest.fixture
def watch(store: MinioStore) -> Watch:
    bucket = f"docs-{uuid.uuid4().hex[:12]}"
    store.ensure_bucket(bucket)
    embed = Function(name="embed", handler="f.py:embed", buckets=(BucketTrigger(bucket=bucket, index="default"),))
    (found,) = watches(Project(queues={"default": Queue()}, functions={"embed": embed}))
    return found


def project_of(watch: Watch) -> Project:
    return Project(queues={"default": Queue()}, functions={"embed": watch.function})


def test_notes_are_in_the_status_and_in_the_list(redis_client: redis.Redis, watch: Watch) -> None:
    entry = Entry("done", "e1", 3, reason="a note\nand another", at=5.0)
    redis_client.hset(watch.ledger, "k", entry.encode())
    told = document_status(redis_client, project_of(watch), watch.trigger.bucket, "k") or {}
    (listed,) = page(redis_client, project_of(watch), Wanted(watch.trigger.bucket)).documents
    for one in (told, listed):
        assert (one["status"], one["reason"], one["notes"]) == ("completed", None, ["a note", "and another"])


def test_records_of_failures_leave(redis_client: redis.Redis, watch: Watch, store: MinioStore) -> None:
    now, bucket = float(int(time.time())), watch.trigger.bucket  # kept in milliseconds
    etags = {key: store.put(bucket, key, key.encode()) for key in ("old", "young", "changed", "done")}
    entries = {
        "old": Entry("dead", etags["old"], 1, reason="it is empty", invocation="t1", at=now - 25 * HOUR),
        "young": Entry("dead", etags["young"], 2, reason="it is empty", at=now - 23 * HOUR),
        "changed": Entry("dead", "other", 3, reason="it is empty", at=now - 25 * HOUR),
        "done": Entry("done", etags["done"], 4, at=now - 25 * HOUR),
        "wished": Entry("dead", "e5", 5, at=now - 25 * HOUR, forced=True),
    }
    redis_client.hset(watch.ledger, mapping={key: entry.encode() for key, entry in entries.items()})
    failed = FailedDocuments(redis_client, project_of(watch), store)
    assert failed.clear_failed(now - 24 * HOUR, False) == {"failed_documents": 2, "failed_objects": 0}
    stored: Any = redis_client.hgetall(watch.ledger)
    left = {key.decode(): read(raw) for key, raw in stored.items()}
    assert {key for key, entry in left.items() if entry == entries[key]} == {"young", "done", "wished"}
    old = left["old"]
    assert old and (old.state, old.reason, old.invocation) == ("cleared", "", "")
    told = document_status(redis_client, project_of(watch), bucket, "old") or {}
    assert (told["status"], told["reason"]) == ("unwatched", CLEARED)
    assert [
        one["key"]
        for one in page(redis_client, project_of(watch), Wanted(status="failed")).documents
        if one["bucket"] == bucket and one["key"] != "wished"
    ] == ["young"]
    # It stays, and is not tried again before it changes; when it goes, the function is told.
    both = ("created", "removed")
    assert decide(old, store.head(bucket, "old"), "gone", both, now) is None
    store.put(bucket, "old", b"mended")
    assert isinstance(decide(old, store.head(bucket, "old"), "gone", both, now), Submit)
    assert decide(old, None, "gone", both, now) == Submit("removed", etags["old"], 0)
    assert failed.clear_failed(now - 24 * HOUR, True) == {"failed_documents": 0, "failed_objects": 0}


def test_objects_that_failed_leave_where_that_is_wanted(
    redis_client: redis.Redis, watch: Watch, store: MinioStore
) -> None:
    bucket = watch.trigger.bucket
    etag = store.put(bucket, "broken", b"broken")
    store.put(bucket, "mended", b"mended")
    for key, known in (("broken", etag), ("mended", "other"), ("gone", "e")):
        redis_client.hset(watch.ledger, key, Entry("dead", known, 1, at=5.0).encode())
    failed = FailedDocuments(redis_client, project_of(watch), store)
    assert failed.clear_failed(6.0, True) == {"failed_documents": 3, "failed_objects": 1}
    assert [item.key for item in store.list(bucket)] == ["mended"]


def test_what_is_wanted_again_meanwhile_is_not_deleted(
    redis_client: redis.Redis, watch: Watch, store: MinioStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = watch.trigger.bucket
    entry = Entry("dead", store.put(bucket, "asked", b"broken"), 1, at=5.0)
    redis_client.hset(watch.ledger, "asked", entry.encode())
    plain = redis_client.hscan

    def hscan(*arguments: Any, **options: Any) -> Any:
        page = plain(*arguments, **options)
        redis_client.hset(watch.ledger, "asked", replace(entry, forced=True).encode())
        return page

    monkeypatch.setattr(redis_client, "hscan", hscan)
    failed = FailedDocuments(redis_client, project_of(watch), store)
    assert failed.clear_failed(6.0, True) == {"failed_documents": 0, "failed_objects": 0}
    assert [item.key for item in store.list(bucket)] == ["asked"]


def test_an_object_is_deleted_only_as_it_is(watch: Watch, store: MinioStore, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, sent = watch.trigger.bucket, list[Any]()
    etag = store.put(bucket, "a", b"one")
    with pytest.raises(PreconditionFailed):
        store.delete(bucket, "a", if_match="other")
    with pytest.raises(ObjectMissing):
        store.delete(bucket, "b", if_match=etag)
    # Overwritten between the look and the deletion: the server itself refuses.
    there = store.head(bucket, "a")
    newer = store.put(bucket, "a", b"two")
    with monkeypatch.context() as patched:
        patched.setattr(store, "head", lambda *_: there)
        with pytest.raises(PreconditionFailed):
            store.delete(bucket, "a", if_match=etag)
    assert store.head(bucket, "a").etag == newer
    etag, plain = newer, store._execute

    def execute(*arguments: Any, **options: Any) -> Any:
        sent.append((arguments[0], dict(options.get("headers") or {})))  # others are added to these
        return plain(*arguments, **options)

    monkeypatch.setattr(store, "_execute", execute)
    store.delete(bucket, "a", if_match=etag)
    assert sent == [("HEAD", {}), ("DELETE", {"If-Match": f'"{etag}"'})], "where the server knows it, it decides"
    assert not list(store.list(bucket))


def test_cleanup_clears_failures() -> None:
    context = fake_context()
    ports = context.ports
    assert isinstance(ports, FakePorts)
    ports.documents.counts = {"failed_documents": 2, "failed_objects": 1}
    before = time.time()
    removed = cleanup(context=context).removed
    assert (removed["failed_documents"], removed["failed_objects"]) == (2, 1)
    cleanup(failed_hours=1, delete_failed=True, context=context)
    (first, kept), (second, deleted) = ports.documents.cleared
    assert (kept, deleted) == (False, True)
    assert 0 <= first - (before - 24 * HOUR) < 60 and 0 <= second - (before - HOUR) < 60
    cleanup(index="default", context=context)
    assert len(ports.documents.cleared) == 2
    with pytest.raises(BadInput, match="failed_hours must not be negative"):
        cleanup(failed_hours=-1, context=context)


def test_how_documents_are_read_is_said_in_functions_yaml(tmp_path: Path) -> None:
    (tmp_path / "functions.yaml").write_text(
        "version: 1\nqueues: {default: {}}\nfunctions: {}\nindexes:\n"
        "  scans: {extract: {ocr: [deu, eng], pages: 20, timeout: 1m, memory: 2GiB}}\n  plain: {extract: {ocr: []}}\n"
    )
    project = load({}, file=tmp_path / "functions.yaml", home=tmp_path).settings.project
    assert project.extraction_of("scans") == Extraction(("deu", "eng"), 20, 60.0, 2**31)
    assert project.extraction_of("plain").ocr == ()
    assert project.extraction_of("other") == Extraction()
