"""`tundish index verify`: index and bucket agree, or every key about which they differ is named."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from runtime.buckets.entry import Entry, read
from runtime.config.settings import StoreSettings
from runtime.context import Row
from runtime.index import settling
from runtime.index.report import Finding, Report
from runtime.store.port import MinioStore
from tests.engines import a_qdrant
from tests.indexing import vector
from tests.verifying import World


@pytest.fixture(params=["faiss", "qdrant"])
def world(
    request: pytest.FixtureRequest,
    store_settings: StoreSettings,
    broker_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """Every engine of an index agrees, or differs, in the same words."""
    monkeypatch.setattr(settling, "PATIENCE_SECONDS", 0.3)  # what is pending here stays so, however long one waits
    made = World(store_settings, broker_url, redis_client, tmp_path)
    with a_qdrant(request.param) as served:
        if request.param != "faiss":
            made.take_engine(served if isinstance(served, str) else served.url)
        yield made


def test_what_agrees_is_well(world: World) -> None:
    world.settled("a", "b")
    world.put("docs/picture.png")  # no trigger takes these two
    world.put("other/a.txt")
    code, output = world.verify()
    assert code == 0
    assert f"2 objects in {world.bucket} and 2 documents with 6 chunks in generation 1 agree" in output
    code, output = world.verify("--json", "--index", "default")
    told = json.loads(output)
    assert code == 0 and told["ok"]
    (report,) = told["indexes"]
    assert (report["objects"], report["documents"], report["chunks"], report["generation"]) == (2, 2, 6, 1)
    assert report["findings"] == [] and set(report["counts"].values()) == {0}


def test_nothing_at_all_agrees(world: World) -> None:
    assert world.verify()[0] == 0
    assert "0 objects" in world.verify()[1]


def test_objects_of_an_index_that_was_never_built_are_missing(world: World) -> None:
    world.put("docs/a.txt")
    assert world.found() == {"a": "missing"}


def test_texts_of_calls_belong_to_no_bucket(world: World) -> None:
    world.settled("a")
    world.index.write_batch("default", "t" * 64, [Row("", "id", "e", 9, text="x")], vector("x")[None], "model")
    world.index.build("default")
    assert world.found() == {}


def test_after_every_kind_of_change_it_agrees_again(world: World) -> None:
    world.settled("a", "b", "c", "d")
    for number in range(12):  # several segments, tombstones, a merge
        world.store.delete(world.bucket, "docs/b.txt")
        world.embed(a=world.put("docs/a.txt", f"{number}"), b="", c=world.put("docs/c.txt", f"c{number}"))
        world.index.build("default")
        assert world.found() == {}
    world.settled("b")
    assert world.found() == {}


def test_a_missing_document(world: World) -> None:
    world.settled("a")
    etag = world.put("docs/new.txt")
    code, output = world.verify()
    assert code == 1
    assert f"missing  {world.bucket}/docs/new.txt: the bucket has it with etag {etag}, the index does not" in output
    assert "no ledger knows it" in output
    assert "1 missing: in the bucket, not in the index" in output
    assert "DIFFER" in output
    world.ledger("docs/new.txt", Entry("done", etag, 7))
    assert "its ledger says done" in world.verify()[1]


def test_an_extra_document(world: World) -> None:
    world.settled("a", "b")
    world.store.delete(world.bucket, "docs/b.txt")
    code, output = world.verify()
    assert code == 1
    assert f"extra  {world.bucket}/docs/b.txt: the index has it with etag" in output
    assert world.found() == {"b": "extra"}


def test_a_bucket_that_is_gone(world: World) -> None:
    world.settled("a")
    world.store.delete(world.bucket, "docs/a.txt")
    world.store._client.remove_bucket(world.bucket)
    code, output = world.verify()
    assert code == 1
    assert f"There is no bucket {world.bucket}." in output
    assert "1 extra" in output


def test_a_stale_etag(world: World) -> None:
    world.settled("a", "b")
    etag = world.put("docs/a.txt", "other bytes")
    code, output = world.verify()
    assert code == 1
    assert "1 changed: the index holds another version than the bucket" in output
    assert f"the bucket {etag}" in output
    assert world.found() == {"a": "changed"}


def test_documents_that_no_trigger_asked_for_are_compared_too(world: World) -> None:
    """A call may index any object of any bucket."""
    place = f"side-{uuid.uuid4().hex[:12]}"
    world.store.ensure_bucket(place)
    rows = [Row(place, key, world.store.put(place, key, b"x"), 1, text=key) for key in ("kept", "old", "gone")]
    vectors = np.array([vector(row.text) for row in rows])
    world.index.write_batch("default", "s" * 64, rows, vectors, "model")
    world.index.build("default")
    world.store.put(place, "nobody asked", b"x")
    assert world.found() == {}
    world.store.put(place, "old", b"y")
    world.store.delete(place, "gone")
    assert world.found() == {"old": "changed", "gone": "extra"}


@pytest.mark.parametrize("event", ["created", "removed"])
def test_a_pending_object(world: World, event: Any) -> None:
    world.settled("a", "b")
    if event == "created":
        etag = world.put("docs/b.txt", "other bytes")
    else:
        etag = world.store.head(world.bucket, "docs/b.txt").etag
        world.store.delete(world.bucket, "docs/b.txt")
    world.ledger("docs/b.txt", Entry("pending", etag, 9, event, invocation="call-1"))
    code, output = world.verify()
    assert code == 1
    assert f"pending  {world.bucket}/docs/b.txt: call call-1 has it" in output
    assert world.found() == {"b": "pending"}


def test_a_batch_that_waits_for_its_build(world: World) -> None:
    world.settled("a", "b")
    world.store.delete(world.bucket, "docs/b.txt")
    world.embed(new=world.put("docs/new.txt"), b="", a=world.put("docs/a.txt", "other bytes"))
    assert world.found() == {"a": "pending", "b": "pending", "new": "pending"}
    assert "it is embedded; build_index has not published it yet" in world.verify()[1]
    world.put("docs/a.txt", "and others again")  # what waits is not what is there
    assert world.found() == {"a": "changed", "b": "pending", "new": "pending"}
    world.settled("a")
    assert world.found() == {}


def test_of_several_batches_that_wait_the_newest_change_counts(world: World) -> None:
    world.settled("a")
    for number in range(6):  # their names, by which they are listed, say nothing of their order
        world.embed(new=world.put("docs/new.txt", f"{number}"))
    assert world.found() == {"new": "pending"}


@pytest.mark.parametrize("overwritten", [False, True])
def test_what_is_embedded_while_the_bucket_is_listed_is_pending(
    world: World, monkeypatch: pytest.MonkeyPatch, overwritten: bool
) -> None:
    """The batches that wait were listed before; the ledger is read after."""
    world.settled("a")
    etag, whole, done = world.put("docs/b.txt"), world.store.list, list[str]()

    def late(store: MinioStore, bucket: str, *words: Any, **more: Any) -> Iterator[Any]:
        yield from whole(bucket, *words, **more)
        if bucket == world.bucket and not done:
            done.append(world.embed(b=world.put("docs/b.txt", "other bytes") if overwritten else etag))
            known = read(world.client.hget(world.watch.ledger, "docs/b.txt"))
            assert known is not None
            world.ledger("docs/b.txt", replace(known, at=time.time()))

    monkeypatch.setattr(MinioStore, "list", late)
    assert world.found() == {"b": "pending"}


def test_a_rollback_that_holds_the_index_is_named(world: World) -> None:
    world.settled("a")
    world.publish(held=True)
    world.embed(new=world.put("docs/new.txt"))
    assert "A rollback holds the index at generation 2" in world.verify()[1]
    assert world.found() == {"new": "pending"}


def test_an_unreadable_object(world: World) -> None:
    world.settled("a")
    etag = world.put("docs/bad.txt")
    world.ledger("docs/bad.txt", Entry("dead", etag, 5, reason="it is encrypted", invocation="call-1"))
    code, output = world.verify()
    assert code == 1
    assert f"unreadable  {world.bucket}/docs/bad.txt: it is encrypted" in output
    assert world.found() == {"bad": "unreadable"}
    world.put("docs/bad.txt", "mended, and nobody has seen it")
    assert world.found() == {"bad": "missing"}


def test_files_that_cannot_be_read_may_be_left_out_of_account(world: World) -> None:
    world.settled("a")
    world.ledger("docs/bad.txt", Entry("dead", world.put("docs/bad.txt"), 5, reason="it is encrypted"))
    code, output = world.verify("--allow-unreadable")
    assert code == 0 and "agree" in output and "1 unreadable" in output and "it is encrypted" in output
    code, output = world.verify("--allow-unreadable", "--json")
    told = json.loads(output)
    assert code == 0 and told["ok"] and told["indexes"][0]["ok"]
    assert (told["indexes"][0]["counts"]["unreadable"], told["indexes"][0]["allowed"]) == (1, ["unreadable"])
    assert world.verify()[0] == 1
    world.put("docs/new.txt")
    assert world.verify("--allow-unreadable")[0] == 1


def test_what_a_filter_refused_is_not_missed(world: World) -> None:
    world.settled("a")
    etag = world.put("docs/large.txt")
    world.ledger("docs/large.txt", Entry("skipped", etag, reason="it has 9 GiB, more than max_size 1GiB"))
    assert world.found() == {}
    world.put("docs/large.txt", "smaller now")
    assert world.found() == {"large": "missing"}


def test_what_is_to_be_handed_out_again_is_pending(world: World) -> None:
    world.settled("a")
    etag = world.put("docs/b.txt")
    world.ledger("docs/b.txt", Entry("done", etag, 5, forced=True))
    assert world.found() == {"b": "pending"}


def test_a_version_that_is_published_meanwhile_is_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.settled("a")
    whole = world.store.list

    def late(store: MinioStore, bucket: str, *words: Any, **more: Any) -> Iterator[Any]:
        if bucket == world.bucket and world.newest().generation == 1:
            world.settled("b")  # comes after the version was read, and before the bucket is listed
        return whole(bucket, *words, **more)

    monkeypatch.setattr(MinioStore, "list", late)
    assert world.found() == {}


def test_what_a_listing_leaves_out_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.settled("a", "b")
    whole = world.store.list

    def short(store: MinioStore, bucket: str, *words: Any, **more: Any) -> Iterator[Any]:
        return (info for info in whole(bucket, *words, **more) if info.key != "docs/b.txt")

    monkeypatch.setattr(MinioStore, "list", short)
    assert world.found() == {}
    world.put("docs/b.txt", "other bytes")
    assert world.found() == {"b": "changed"}


def test_more_than_can_be_named_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.index.report.SHOWN", 3)
    for number in range(5):
        world.put(f"docs/{number}.txt")
    code, output = world.verify()
    assert code == 1
    assert output.count("missing  ") == 3 and "and 2 more" in output and "5 missing:" in output


def test_every_index_is_compared_unless_one_is_named(world: World) -> None:
    world.settled("a")
    world.index.write_batch("papers", "p" * 64, [Row(world.bucket, "x", "e", 1, text="x")], vector("x")[None], "model")
    world.index.build("papers")
    code, output = world.verify()
    assert code == 1
    assert "index default:" in output and "index papers:" in output
    assert world.verify("--index", "default")[0] == 0
    assert world.verify("--index", "papers")[0] == 1


@pytest.mark.parametrize("what", ["CELERY_BROKER_URL", "MINIO_ENDPOINT"])
def test_without_store_or_broker_nothing_is_said_of_the_index(world: World, what: str) -> None:
    world.put("docs/a.txt")
    world.environ[what] = "redis://127.0.0.1:9/0" if what == "CELERY_BROKER_URL" else "127.0.0.1:9"
    code, output = world.verify()
    assert code == 3
    assert "tundish: " in output and "DIFFER" not in output
    world.environ[what] = ""
    assert world.verify()[0] == 3


def test_an_index_that_nobody_knows_is_not_well(world: World) -> None:
    world.settled("a")
    code, output = world.verify("--index", "defualt")
    assert code == 2 and "There is no index defualt" in output and "did you mean default" in output


def test_nothing_is_left_behind(world: World, tmp_path: Path) -> None:
    world.settled("a")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    stored = sorted(info.key for info in world.store.list(world.store.bucket))
    assert world.verify()[0] == 0
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert sorted(info.key for info in world.store.list(world.store.bucket)) == stored


def test_without_a_state_folder_it_works_elsewhere(world: World, tmp_path: Path) -> None:
    world.settled("a")
    world.environ["TUNDISH_HOME"] = str(tmp_path / "nowhere")
    assert world.verify()[0] == 0
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("world", ["faiss"], indirect=True)  # of Qdrant all is looked at again
def test_what_arrives_while_it_is_looked_at_is_no_difference(world: World, tmp_path: Path) -> None:
    """A file that is put during a comparison is on its way for it, and searchable a moment later."""
    world.settled("a")
    world.embed(c=world.put("docs/c.txt", "new"))
    report = Report("default")
    waits, stays = (
        Finding("pending", world.bucket, "docs/c.txt", ""),
        Finding("pending", world.bucket, "docs/d.txt", ""),
    )
    for finding in (waits, stays):
        report.add(finding)
    world.put("docs/d.txt", "never embedded")
    settling.settle(world.store, "default", tmp_path / "cache", report)
    assert report.counts["pending"] == 2
    world.index.build("default")
    settling.settle(world.store, "default", tmp_path / "cache", report)
    assert report.findings == [stays]
    assert report.counts["pending"] == 1
