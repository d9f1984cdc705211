"""Building on the real store and broker: who wins, what is skipped, two builders at once."""

from __future__ import annotations

import dataclasses
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.context import Row
from runtime.errors import BadInput
from runtime.index import layout, listings, manifest, writer
from runtime.index.lease import BuildLease
from runtime.index.plan import MOST_SEGMENTS
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.testing import MemoryStore
from tests.indexing import Doc, House, fresh_store, gone, house, put, vector, write


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def built(home: House) -> dict[str, list[str]]:
    """Build, load and read everything."""
    report = home.index.build("default")
    home.reader.refresh("default")
    contents = home.contents()
    assert report.documents == len(contents)
    assert report.vectors == sum(len(chunks) for chunks in contents.values())
    return contents


def test_nothing_stored_is_nothing_published(home: House) -> None:
    report = home.index.build("default")
    assert (report.generation, report.version, report.published, report.vectors) == (0, "", False, 0)
    assert home.index.current("default") is None
    assert home.index.versions("default") == []
    assert home.index.names() == []


def test_batches_become_a_version(home: House) -> None:
    write(home.index, "b1", put("a", 1, "one", "two"), put("b", 2, "three"))
    write(home.index, "b2", put("c", 3, "four"))
    report = home.index.build("default")
    assert (report.generation, report.published, report.vectors, report.documents) == (1, True, 4, 3)
    assert (report.batches, report.warnings) == (2, ())
    assert built(home) == {"a": ["one", "two"], "b": ["three"], "c": ["four"]}
    current = home.index.current("default")
    assert current is not None
    assert (current.version, current.dimensions, current.model, current.kind) == (report.version, 16, "model", "flat")
    assert home.index.names() == ["default"]


def test_nothing_new_is_not_published(home: House) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default")
    write(home.index, "b1", put("a", 1))
    report = home.index.build("default")
    assert (report.generation, report.published, report.documents) == (1, False, 1)
    assert len(home.index.versions("default")) == 1


def test_overwritten_deleted_and_back_again(home: House) -> None:
    write(home.index, "b1", put("doc", 1, "A1", "A2", "A3"), put("other", 2, "stays"))
    assert built(home) == {"doc": ["A1", "A2", "A3"], "other": ["stays"]}
    write(home.index, "b2", put("doc", 3, "B"))
    assert built(home) == {"doc": ["B"], "other": ["stays"]}
    write(home.index, "b1", put("doc", 4, "A1", "A2", "A3"), put("other", 5, "stays"))
    assert built(home) == {"doc": ["A1", "A2", "A3"], "other": ["stays"]}
    write(home.index, "b3", gone("doc", 6))
    assert built(home) == {"other": ["stays"]}
    write(home.index, "b4", gone("other", 7))
    assert built(home) == {}
    write(home.index, "b5", put("doc", 8, "again"))
    assert built(home) == {"doc": ["again"]}


def test_a_late_batch_with_an_older_seq_never_wins(home: House) -> None:
    write(home.index, "new", put("a", 10, "new"), gone("b", 11))
    assert built(home) == {"a": ["new"]}
    write(home.index, "late", put("a", 4, "old"), put("b", 5, "dead"), put("c", 6, "c"))
    assert built(home) == {"a": ["new"], "c": ["c"]}
    write(home.index, "later", put("b", 3, "dead"))
    report = home.index.build("default")
    assert not report.published


def test_many_builds_that_nobody_compacts_are_merged_and_stay_right(home: House) -> None:
    expected = {}
    for number in range(MOST_SEGMENTS + 4):
        key = f"k{number % 7}"
        write(home.index, f"b{number}", put(key, number + 1, f"content {number}"), gone("k3", number + 100))
        expected[key] = [f"content {number}"]
        expected.pop("k3", None)
        home.index.build("default", [f"b{number}"])
    home.reader.refresh("default")
    assert home.contents() == expected
    newest = manifest.newest(home.store, "default")
    assert newest is not None
    assert len(newest.segments) <= MOST_SEGMENTS
    write(home.index, "late", put("k3", 99, "late"))
    assert built(home) == expected, "a delete is remembered through merges"


def test_a_publish_adds_one_segment_and_touches_no_other(home: House) -> None:
    write(home.index, "b1", *(put(f"k{number}", number) for number in range(200)))
    built(home)
    before = {item.key for item in home.store.list(home.store.bucket, layout.segments("default"))}
    first = manifest.newest(home.store, "default")
    write(home.index, "b2", put("k1", 300, "new"), gone("k2", 301))
    home.index.build("default", ["b2"])
    newest = manifest.newest(home.store, "default")
    assert first is not None and newest is not None
    old, new = newest.segments
    assert (old.segment, old.vectors, old.live, old.documents) == (first.segments[0].segment, 200, 198, 198)
    assert (new.vectors, new.live, new.documents) == (1, 1, 1)
    added = [item for item in home.store.list(home.store.bucket, layout.segments("default")) if item.key not in before]
    assert all(item.key == layout.beginning("default", new.segment) for item in added)
    assert sum(item.size for item in added) < 3000


def test_damaged_batches_are_named_and_the_rest_is_published(home: House) -> None:
    write(home.index, "good", put("a", 1, "fine"))
    for name, (part, damage) in {
        "bad-vectors": (layout.VECTORS, b"rubbish"),
        "bad-rows": (layout.ROWS, b"\xc1"),
    }.items():
        path = write(home.index, name, put(name, 2, name))
        home.store.put(home.store.bucket, path + part, damage)
    half = write(home.index, "no-vectors", put("c", 4))
    home.store.delete(home.store.bucket, half + layout.VECTORS)
    unborn = write(home.index, "no-rows", put("d", 5))
    home.store.delete(home.store.bucket, unborn + layout.ROWS)

    report = home.index.build("default")
    assert (report.published, report.documents) == (True, 1)
    text = "\n".join(report.warnings)
    for name in ("bad-vectors", "bad-rows", "no-vectors"):
        assert f"batches/{name}/" in text
    assert "no-rows" not in text
    assert len(report.warnings) == 3

    again = home.index.build("default")
    assert (again.published, sorted(again.warnings)) == (False, sorted(report.warnings))
    write(home.index, "bad-vectors", put("bad-vectors", 2, "bad-vectors"))
    write(home.index, "no-vectors", put("c", 4))
    assert sorted(built(home)) == ["a", "bad-vectors", "c"], "what was repaired is taken"


def test_a_damaged_batch_is_not_read_again_until_it_changes(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home.index, "bad", put("a", 1))
    home.store.put(home.store.bucket, path + layout.VECTORS, b"rubbish")
    write(home.index, "good", put("b", 2))
    home.index.build("default")
    read: list[str] = []
    original = home.store.get

    def get(bucket: str, key: str, **options: int | None) -> object:
        read.append(key)
        return original(bucket, key, **options)

    monkeypatch.setattr(home.store, "get", get)
    assert home.index.build("default").warnings
    assert not [key for key in read if "/batches/" in key]


def test_vectors_of_another_model_are_left_out(home: House) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default")
    write(home.index, "wide", put("b", 2), dimensions=24, model="other")
    write(home.index, "same size", put("c", 3), model="third")
    report = home.index.build("default")
    assert (report.published, report.documents) == (False, 1)
    text = "\n".join(report.warnings)
    assert "24 dimensions by other" in text
    assert "16 dimensions by third" in text
    write(home.index, "b2", gone("a", 9))
    assert home.index.build("default").published, "a batch that only deletes has no model"


def test_two_builders_at_once_lose_nothing(
    home: House, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ATTEMPTS", 50)

    class NoLease(BuildLease):
        def __enter__(self) -> Self:
            return self

    monkeypatch.setattr(writer, "BuildLease", NoLease)

    def work(number: int) -> None:
        index = FaissIndex(home.store, redis_client, tmp_path / f"builder{number}")
        for step in range(3):
            write(index, f"b{number}-{step}", put(f"k{number}-{step}", index.next_seq("default")))
            index.build("default")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    contents = built(home)
    assert sorted(contents) == [f"k{number}-{step}" for number in range(4) for step in range(3)]
    generations = [version.generation for version in home.index.versions("default")]
    assert generations == list(range(len(generations), 0, -1))


def test_a_lost_answer_to_the_commit_is_no_defeat(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("a", 1))
    original = home.store.put

    def put_twice(bucket: str, key: str, data: bytes, **options: Any) -> str:
        if "/manifests/" in key:
            original(bucket, key, data, **options)
        return original(bucket, key, data, **options)

    monkeypatch.setattr(home.store, "put", put_twice)
    report = home.index.build("default")
    assert (report.published, report.generation) == (True, 1)


def test_the_lease_lets_one_builder_in(redis_client: redis.Redis) -> None:
    with BuildLease(redis_client, "default") as first:
        with BuildLease(redis_client, "default", patience=0):
            first.renew()
        assert redis_client.exists(keys.index_build("default")), "who never had the lease does not give it back"
        ttl = redis_client.ttl(keys.index_build("default"))
        assert isinstance(ttl, int)
        assert 0 < ttl <= 60
    assert not redis_client.exists(keys.index_build("default"))


def test_a_held_index_is_not_built(home: House) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default")
    current = manifest.newest(home.store, "default")
    assert current is not None
    manifest.commit(home.store, manifest.successor(current, dataclasses.replace(current, held=True, digest="")))
    write(home.index, "b2", put("b", 2))
    report = home.index.build("default")
    assert (report.published, report.generation, report.documents) == (False, 2, 1)
    assert "held" in report.warnings[0]


def test_a_vanished_segment_is_built_anew_from_the_batches(
    home: House, redis_client: redis.Redis, tmp_path: Path
) -> None:
    write(home.index, "b1", put("a", 1, "x"), gone("b", 5))
    home.index.build("default")
    for item in list(home.store.list(home.store.bucket, layout.segments("default"))):
        home.store.delete(home.store.bucket, item.key)
    write(home.index, "b2", put("b", 4, "dead"))
    elsewhere = FaissIndex(home.store, redis_client, tmp_path / "other host")
    report = elsewhere.build("default")
    assert (report.published, report.generation) == (True, 2)
    assert "built anew" in report.warnings[0]
    home.reader.refresh("default")
    assert home.contents() == {"a": ["x"]}


def test_what_is_published_while_an_index_is_built_anew_is_not_lost(
    home: House, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default", ["b1"])
    original = manifest.commit
    raced: list[bool] = []

    def commit(store: Any, made: manifest.Manifest) -> manifest.Manifest:
        if not raced:
            raced.append(True)
            write(home.index, "b2", put("b", 2))
            redis_client.delete(keys.index_build("default"))  # the other one does not wait
            home.index.build("default", ["b2"])
        return original(store, made)

    monkeypatch.setattr(manifest, "commit", commit)
    (ref,) = manifest.newest(home.store, "default").segments  # type: ignore[union-attr]
    home.store.delete(home.store.bucket, layout.beginning("default", ref.segment))
    write(home.index, "b0", put("c", 3))
    report = FaissIndex(home.store, redis_client, tmp_path / "other host").build("default", ["b0"])
    assert (report.published, report.documents) == (True, 3)
    assert "built anew" in report.warnings[0]


def test_named_batches_are_published_without_a_listing(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default", ["b1"])  # the first one looks through all
    listed: list[str] = []
    original = home.store.list

    def listing(bucket: str, prefix: str = "", **options: Any) -> Any:
        listed.append(prefix)
        return original(bucket, prefix, **options)

    monkeypatch.setattr(home.store, "list", listing)
    write(home.index, "b2", put("b", 2), put("a", 3, "newer"))
    write(home.index, "unnamed", put("c", 4))
    report = home.index.build("default", ["b2", "b2", "b1"])
    assert (report.published, report.batches, report.documents) == (True, 1, 2)
    assert layout.batches("default") not in listed
    assert not home.index.build("default", ["b1", "b2"]).published
    assert built(home) == {"a": ["newer"], "b": ["b at 2"], "c": ["c at 4"]}


def test_a_builder_that_is_told_of_batches_still_looks_for_others(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default", ["b1"])
    write(home.index, "unnamed", put("b", 2))
    write(home.index, "b3", put("c", 3))
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 2 * listings.LISTING_SECONDS)
    report = home.index.build("default", ["b3"])
    assert (report.published, report.generation, report.documents) == (True, 3, 3), "first what is named, then the rest"
    home.reader.refresh("default")
    assert home.contents() == {"a": ["a at 1"], "b": ["b at 2"], "c": ["c at 3"]}


@pytest.mark.parametrize("part", [layout.ROWS, layout.VECTORS])
def test_a_named_batch_that_cannot_be_used_is_named_and_the_rest_published(home: House, part: str) -> None:
    write(home.index, "b1", put("a", 1))
    home.index.build("default", ["b1"])
    write(home.index, "good", put("b", 2))
    path = write(home.index, "bad", put("c", 3))
    home.store.put(home.store.bucket, path + part, b"rubbish")
    report = home.index.build("default", ["good", "bad", "nobody"])
    assert (report.published, report.documents) == (True, 2)
    assert [f"{path}{layout.ROWS}" in warning or path in warning for warning in report.warnings] == [True]
    write(home.index, "bad", put("c", 3))
    report = home.index.build("default", ["bad"])
    assert (report.published, report.documents, report.warnings) == (True, 3, ()), "what was repaired is taken"


def test_what_is_known_of_a_version_is_dropped_with_it(home: House) -> None:
    """Somebody empties the store under a running builder and reader: numbers that come again are other versions."""
    for number in range(3):
        write(home.index, f"b{number}", put("a", number + 1))
        assert built(home) == {"a": [f"a at {number + 1}"]}
    for item in list(home.store.list(home.store.bucket)):
        home.store.delete(home.store.bucket, item.key)
    elsewhere = house(home.store, home.index._client, home.cache.parent / "elsewhere")
    for number in range(3):
        write(elsewhere.index, f"n{number}", put(f"new{number}", number + 1))
        elsewhere.index.build("default")
    write(home.index, "mine", put("mine", 9))
    assert home.index.build("default").generation == 4
    assert sorted(built(home)) == ["mine", "new0", "new1", "new2"]


def test_readers_are_told(home: House, redis_client: redis.Redis) -> None:
    with redis_client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(keys.SWAP_CHANNEL)
        subscription.get_message(timeout=5)
        write(home.index, "b1", put("a", 1))
        report = home.index.build("default")
        message = subscription.get_message(ignore_subscribe_messages=True, timeout=5)
        assert message is not None
        assert f'"version": "{report.version}"' in message["data"].decode()
        version, listeners = home.index.announce("default")
        assert version is not None
        assert (version.generation, listeners) == (1, 1)
    assert home.index.announce("nobody") == (None, 0)
    with pytest.raises(BadInput, match=r"no generation 9.*newest is 1"):
        home.index.announce("default", 9)


def test_sequence_numbers_never_fall_behind_a_version(home: House, redis_client: redis.Redis, tmp_path: Path) -> None:
    assert [home.index.next_seq("default", 5), home.index.next_seq("default")] == [1, 6]
    write(home.index, "b1", put("a", 1000))
    home.index.build("default")
    assert home.index.next_seq("default") == 1001
    out = home.index.next_seq("default", 100)  # handed out, and not written when the broker is lost
    redis_client.flushall()
    assert home.index.next_seq("default", 3) > out + 100
    write(home.index, "b2", put("a", 2_000_000))  # no version holds it yet
    redis_client.flushall()
    assert home.index.next_seq("default") > 2_000_000
    redis_client.set(keys.index_seq("default"), 7)
    elsewhere = FaissIndex(home.store, redis_client, tmp_path / "other host")
    assert elsewhere.next_seq("default") == 1001
    assert elsewhere.next_seq("other") == 1


def test_names(home: House) -> None:
    for name in ("default", "default-2", "a.b", "Zeta"):
        write(home.index, "b1", put("a", 1), put("b", 2), name=name)
        write(home.index, "b2", put("c", 3), name=name)
    home.index.build("Zeta")
    assert home.index.names() == ["Zeta", "a.b", "default", "default-2"]


VERSIONS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", ""])), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(versions=VERSIONS, data=st.data())
def test_any_order_gives_the_same_winners(versions: list[tuple[str, str]], data: st.DataObject) -> None:
    docs = [Doc(key, seq, [f"{key} {content} {seq}"] if content else []) for seq, (key, content) in enumerate(versions)]
    expected = {doc.key: doc.contents for doc in docs}
    shuffled = data.draw(st.permutations(docs))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(docs)), max_size=3)) | {len(docs)})
    store = MemoryStore()
    index = FaissIndex(store, OnlyLease())  # type: ignore[arg-type]
    for start, end in itertools.pairwise([0, *cuts]):
        # Two versions of a document cannot be in one batch: take them one by one.
        for place, doc in enumerate(shuffled[start:end]):
            write(index, f"b{start + place}", doc)
        index.build("default")
    assert winners(index) == {key: contents for key, contents in expected.items() if contents}


class OnlyLease:
    """A broker for a single builder: everything succeeds."""

    def set(self, *_: object, **__: object) -> bool:
        return True

    def eval(self, *_: object) -> int:
        return 1

    def evalsha(self, *_: object) -> int:
        return 1

    def publish(self, *_: object) -> int:
        return 0


def winners(index: FaissIndex) -> dict[str, list[str]]:
    reader = IndexReader(index._store, Path(index._temporary.name) / "reader")
    reader.refresh("default")
    return House(index._store, index, reader, Path()).contents()


def test_equal_numbers_give_the_same_winner_in_any_order() -> None:
    found = []
    for order in ("xy", "yx"):
        index = FaissIndex(MemoryStore(), OnlyLease())  # type: ignore[arg-type]
        for content in order:
            write(index, content, put("k", 5, content))
            index.build("default")
        found.append(winners(index))
    assert found[0] == found[1]


def test_a_document_may_have_a_strange_name() -> None:
    index = FaissIndex(MemoryStore(), OnlyLease())  # type: ignore[arg-type]
    names = ["", "a\0b", "ä\n", "x" * 1024, "\U0001f600"]
    write(index, "b", *(put(name, number, f"text {number}") for number, name in enumerate(names)))
    index.build("default")
    assert sorted(winners(index)) == sorted(names)


def test_what_a_row_holds_comes_back() -> None:
    index = FaissIndex(MemoryStore(), OnlyLease())  # type: ignore[arg-type]
    row = Row("bucket", "key", "etag", 7, "put", "tenant", 3, 10, 20, "text", {"title": "T", "n": [1, {"x": None}]})
    index.write_batch("default", "b", [row], vector("text").reshape(1, -1), "m")
    stored = index.read_batch("default", "b")
    assert stored is not None
    assert stored[0] == [row]
    assert index.read_batch("default", "nobody") is None
    index.build("default")
    reader = IndexReader(index._store, Path(index._temporary.name) / "reader")
    reader.refresh("default")
    hit = reader.search("default", vector("text"), 1).hits[0]
    assert (hit.bucket, hit.key, hit.etag, hit.text, hit.chunk, hit.start, hit.end, hit.meta) == (
        "bucket",
        "key",
        "etag",
        "text",
        3,
        10,
        20,
        row.meta,
    )
