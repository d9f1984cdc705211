"""Which objects a trigger takes: by key, size and type, and from when on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from minio.commonconfig import CopySource

from runtime import keys
from runtime.buckets import documents
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch
from runtime.config.settings import BucketTrigger, Function, StoreSettings
from runtime.context import ObjectInfo
from tests.triggering import House, until
from triggers.decide import HERE_BEFORE, Again, Note, Refusal, Submit, decide
from triggers.refusal import refusal


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Any:
    return lambda **options: House.build(redis_client, broker_url, store_settings, tmp_path, **options)


def status(house: House, key: str) -> dict[str, Any]:
    found = documents.document_status(house.client, house.project, house.bucket, key)
    assert found
    return found


def quiet(house: House) -> bool:
    return not house.client.xlen(keys.EVENTS)


@pytest.mark.parametrize(
    ("options", "taken", "left"),
    [
        ({"glob": ("**/*.{txt,md}",)}, ["a.txt", "x/y/.b.md", "x/a\nb.txt"], ["a.png", "x/"]),
        ({"glob": ("raw/[0-9]*/x?.csv", "*.log")}, ["raw/12/x1.csv", "a.log"], ["raw/12/3/x1.csv", "x/a.log"]),
        ({"prefix": "in/", "suffix": (".TXT",), "glob": ("in/*",)}, ["in/a.txt"], ["in/b/a.txt", "a.txt", "in/a.md"]),
    ],
)
def test_keys(options: Any, taken: list[str], left: list[str]) -> None:
    watch = Watch("w", Function(handler="a:b"), BucketTrigger(bucket="abc", **options))
    assert [key for key in taken + left if watch.wants(key)] == taken


def test_a_filter_that_changes_is_another_trigger_and_no_filter_is_the_same() -> None:
    def name(**options: Any) -> str:
        function = Function(name="f", handler="a:b", buckets=(BucketTrigger(bucket="abc", **options),))
        return House.project_of(function).name

    assert len({name(), name(glob=("*",)), name(min_size=1), name(max_size=9), name(content_type=("a/b",))}) == 5


@pytest.mark.parametrize(
    ("entry", "flight", "events", "expected"),
    [
        (None, "gone", ("created", "removed"), "note"),
        (Entry("removed", "e1", 4, "removed"), "gone", ("created", "removed"), "note"),
        (Entry("skipped", "e1", 4), "gone", ("created", "removed"), "note"),
        (Entry("skipped", "e2", 4), "gone", ("created", "removed"), None),
        (Entry("done", "e1", 4), "gone", ("created", "removed"), Submit("removed", "e1", 0)),
        (Entry("done", "e1", 4), "gone", ("created",), "note"),
        (Entry("dead", "e1", 4), "gone", ("created", "removed"), Submit("removed", "e1", 0)),
        (Entry("pending", "e1", 4, invocation="i"), "out", ("created", "removed"), Again()),
    ],
)
def test_what_a_refused_object_asks_for(entry: Entry | None, flight: Any, events: Any, expected: Any) -> None:
    found = ObjectInfo("b", "k", "e2", 3, 0.0)
    action = decide(entry, found, flight, events, 9.0, Refusal("skipped", "too large"))
    if expected == "note":
        seq = entry.seq if entry else 0
        assert action == Note(Entry("skipped", "e2", seq, "created", 3, reason="too large", at=9.0))
    else:
        assert action == expected


def test_a_skipped_object_that_goes_is_no_removal_for_the_function() -> None:
    action = decide(Entry("skipped", "e1", 4), None, "gone", ("created", "removed"), 9.0)
    assert action == Note(Entry("removed", "e1", 4, "removed", at=9.0))


def test_sizes_and_types(build: Any) -> None:
    house = build(min_size=2, max_size=4, content_type=("text/*", "application/pdf"))

    def put(key: str, data: bytes, kind: str) -> None:
        house.s3.put_object(house.bucket, key, io.BytesIO(data), len(data), content_type=kind)
        house.tell(key)

    with house.running():
        put("small", b"1", "text/plain")
        put("large", b"12345", "text/plain")
        put("picture", b"123", "image/png")
        put("right", b"123", "text/plain; charset=utf-8")
        house.finish("right")
        until(lambda: quiet(house))
        assert [key for _, key in house.changes()] == ["right"]
        assert {key: house.state(key) for key in ("small", "large", "picture")} == dict.fromkeys(
            ("small", "large", "picture"), "skipped"
        )
        told = status(house, "picture")
        assert told["status"] == "unwatched" and "image/png" in told["reason"]
        house.s3.copy_object(
            house.bucket,
            "picture",
            CopySource(house.bucket, "picture"),
            metadata={"Content-Type": "text/plain"},
            metadata_directive="REPLACE",
        )
        house.tell("picture")  # the same bytes, and their right type
        house.finish("picture")
        # What no longer fits leaves; what fits now comes.
        put("right", b"12345", "text/plain")
        put("picture", b"%PDF", "application/pdf")
        house.finish("picture")
        house.finish("right", state="removed")
        assert sorted(house.changes()[2:]) == [("created", "picture"), ("removed", "right")]
        house.tell("right")
        until(lambda: house.state("right") == "skipped")
        assert len(house.changes()) == 4


def test_what_a_listing_finds_is_filtered_by_its_type_too(build: Any) -> None:
    house = build(rescan=0.1, content_type=("text/plain",))
    for key, kind in (("a", "text/plain"), ("b", "image/png")):
        house.s3.put_object(house.bucket, key, io.BytesIO(b"data"), 4, content_type=kind)
    with house.running():
        house.finish("a")
        until(lambda: house.state("b") == "skipped")
        house.settle_listing()
    assert house.changes() == [("created", "a")]


def test_a_trigger_that_starts_now_leaves_what_is_there(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build(start="now", rescan=0.1)
    for number in range(5):
        house.put(f"old-{number}.txt")
    # LastModified has whole seconds: what came within the same one counts as new.
    wait = house.s3.stat_object(house.bucket, "old-4.txt").last_modified.timestamp() + 1
    until(lambda: house.clock() > wait)
    with house.running():
        house.put("new.txt")
        house.finish("new.txt")
        until(lambda: all(house.state(f"old-{number}.txt") == "skipped" for number in range(5)))
        assert status(house, "old-1.txt")["reason"] == HERE_BEFORE
        house.put("old-1.txt", b"changed")
        house.finish("old-1.txt")
    house.client.flushall()  # the ledger is lost: what was there before stays left, the rest goes again
    with house.running():
        house.finish("new.txt", "old-1.txt")
        until(lambda: house.state("old-2.txt") == "skipped")
        house.settle_listing()
    assert sorted(house.changes()) == [("created", "new.txt"), ("created", "old-1.txt")]


def test_a_ledger_that_was_lost_is_reported_and_a_new_one_is_not(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    house = build(rescan=0.1)
    for number in range(3):
        house.put(f"{number}.txt")
    lost = keys.lost(house.watch.name, house.bucket)
    with house.running():
        house.finish("0.txt", "1.txt", "2.txt")
    with house.running():
        house.settle_listing()
    assert not house.client.exists(lost) and "ledger is gone" not in caplog.text
    house.client.flushall()
    with house.running():
        house.finish("0.txt", "1.txt", "2.txt")
        assert b'"objects": 3' in until(lambda: house.client.get(lost))
    assert "ledger is gone" in caplog.text


def test_a_ledger_that_is_lost_while_the_triggers_run_is_reported_once(build: Any) -> None:
    house = build(rescan=0.1)
    for number in range(3):
        house.put(f"{number}.txt")
    lost = keys.lost(house.watch.name, house.bucket)
    with house.running(2):
        house.finish("0.txt", "1.txt", "2.txt")
        house.settle_listing()
        assert not house.client.exists(lost)
        house.client.flushall()
        until(lambda: house.client.get(lost))
        house.settle_listing()
        # The lock is gone, too: both processes may have listed at once.
        assert json.loads(house.client.get(lost))["objects"] == 3
        house.finish("0.txt", "1.txt", "2.txt")


def test_refusals_are_pure() -> None:
    def watch(**options: Any) -> Watch:
        return Watch("w", Function(handler="a:b"), BucketTrigger(bucket="abc", **options))

    def info(hops: str = "", modified: float = 100.0) -> ObjectInfo:
        return ObjectInfo("abc", "k", "e", 3, modified, "", {"tundish-hops": hops, "tundish-by": "f"} if hops else {})

    assert refusal(watch(), 50.0, None, info()) is None
    assert refusal(watch(), 50.0, None, info("7")) is None
    looped = refusal(watch(), 50.0, None, info("8"))
    assert looped and looped.state == "dead" and "f wrote it" in looped.reason
    assert refusal(watch(), 50.0, Entry("done", "", forced=True), info("8")) is None
    assert refusal(watch(), 50.0, None, info("²")) is None, "somebody else's metadata"
    before = refusal(watch(start="now"), 100.5, None, info(modified=99.0))
    assert before and before.reason == HERE_BEFORE
    assert refusal(watch(start="now"), 100.5, None, info(modified=100.0)) is None, "the same second"
    assert refusal(watch(start="now"), 100.5, Entry("done", "e"), info(modified=99.0)) is None
