"""Segments of whole batches, which are published before anybody has read a vector, with a real store."""

from __future__ import annotations

import gc
import io
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import faiss
import msgpack
import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.context import Store
from runtime.errors import BadInput, BrokerDown, CorruptSegment, PreconditionFailed, Retry, StoreDown
from runtime.index import (
    attributes,
    batches,
    integrity,
    kinds,
    layout,
    manifest,
    opening,
    pieces,
    plan,
    segment_write,
    whole,
    writer,
)
from runtime.index.attribute_terms import Collector
from runtime.index.attributes import ATTRIBUTES
from runtime.index.batch_commit import encode
from runtime.index.body import Stored
from runtime.index.cache import SegmentCache
from runtime.index.fetch import alone
from runtime.index.filters import Filters
from runtime.index.glance import asked, glance
from runtime.index.local import damaged
from runtime.index.manifest import Manifest
from runtime.index.packed import FIELDS
from runtime.index.pieces import PIECES
from runtime.index.port import FaissIndex
from runtime.index.reader import IndexReader
from runtime.index.scan_write import write_scan
from runtime.index.search import Search
from runtime.index.segment import INDEX, ROWS, SCAN, Meta
from tests.crashing import LATER
from tests.indexing import House, fresh_store, gone, house, put, rows_of, vector, write
from tests.migrating import pair
from tests.test_index_referring import elsewhere, newest
from tests.test_index_repair import flip, world
from tests.verifying import World

__all__ = ["world"]
LENT = {ROWS, ATTRIBUTES, INDEX, SCAN}


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few: with a compact form, and tables of attributes."""
    monkeypatch.setattr(pieces, "LEAST_BYTES", 1)
    monkeypatch.setattr(whole, "LEAST_BYTES", 1)
    monkeypatch.setattr(whole, "LEAST_BATCHES", 2)
    monkeypatch.setattr(kinds, "COMPACT_FROM", 4)
    monkeypatch.setattr(attributes, "SMALL", 1)
    monkeypatch.setattr(whole, "SMALL", 1)


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path, later=LATER)


def meta(home: House, place: int = -1) -> Meta:
    """What a segment of the newest version says of itself."""
    cache = SegmentCache(home.cache.parent / "look", home.store)
    return cache.meta("default", newest(home).segments[place].segment)


def files(home: House) -> set[str]:
    return {item.key.rpartition("/")[2] for item in home.store.list(home.store.bucket) if "/segments/" in item.key}


def here(home: House) -> dict[str, list[str]]:
    """What a gateway that starts now on the builder's host answers from."""
    cache = home.cache.parent / "builder"
    reader = IndexReader(home.store, cache)
    reader.refresh("default")
    return House(home.store, home.index, reader, cache).contents()


def two(home: House, number: int) -> str:
    """A batch of two documents, `a{number}` and `b{number}`."""
    return write(home.index, f"two{number}", put(f"a{number}", 2 * number), put(f"b{number}", 2 * number + 1))


def of(*numbers: int) -> dict[str, list[str]]:
    return {f"{name}{one}": [f"{name}{one} at {2 * one + seq}"] for one in numbers for seq, name in enumerate("ab")}


def spoil(home: House, key: str) -> None:
    """Change a byte as a failing disk does: nobody has written the object."""
    home.store.put(home.store.bucket, key, flipped(home.store.get(home.store.bucket, key).data))


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


class Reading:
    """A store that keeps count of what is read, and has the etags of before for what was spoilt."""

    def __init__(self, store: Store, etags: dict[str, str] | None = None) -> None:
        self._store, self._etags, self.read = store, etags or {}, list[str]()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def get(self, bucket: str, key: str, **options: int) -> object:
        self.read.append(key)
        return self._store.get(bucket, key, **options)


def test_nobody_reads_a_vector_before_it_is_published(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        two(home, number)
    reading, told = Reading(home.store), list[list[str]]()
    home.index._builder._store = home.index._builder._cache._store = reading  # type: ignore[assignment]
    tell = home.index._builder._tell

    heard = threading.Event()

    def telling(made: Manifest, before: Manifest | None) -> object:
        told.append(list(reading.read))
        heard.set()
        return tell(made, before)

    home.index._builder._tell = telling
    monkeypatch.setattr(opening, "_tried", held := Held(opening._tried))
    building = threading.Thread(target=home.index.build, args=("default",))
    building.start()
    assert held.begun.wait(30) and heard.wait(30)
    assert [key for key in told[0] if key.endswith(layout.VECTORS)] == [], "who hears of it hears it at once"
    assert newest(home).vectors == 6 and building.is_alive()
    held.go.set()
    building.join(30)
    assert sum(key.endswith(layout.VECTORS) for key in reading.read) == 3, "and then each of them once"
    assert here(home) == elsewhere(home) == of(1, 2, 3)
    assert not files(home) & LENT and {PIECES, "docs.npy", "offsets.npy"} <= files(home)
    assert list(damaged(home.cache.parent / "builder", "default")) == []


def test_a_gateway_of_the_same_host_reads_nothing_twice(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        two(home, number)
    reading, found = Reading(home.store), list[dict[str, list[str]]]()
    tell, gateways = home.index._builder._tell, list[threading.Thread]()
    cache, write, started = home.cache.parent / "builder", whole.write_attributes, threading.Event()

    def slow(folder: Path, told: Meta, known: Collector) -> None:
        started.wait(30)
        gateways[0].join(0.5)  # it has the time to do it all, if it does
        write(folder, told, known)

    def gateway() -> None:
        reader = IndexReader(reading, cache)  # type: ignore[arg-type]
        reader.refresh("default")
        found.append(House(home.store, home.index, reader, cache).contents())

    def telling(made: Manifest, before: Manifest | None) -> object:
        gateways[0].start()
        started.set()
        return tell(made, before)

    gateways.append(threading.Thread(target=gateway))
    monkeypatch.setattr(whole, "write_attributes", slow)
    home.index._builder._tell = telling
    home.index.build("default")
    gateways[0].join(30)
    assert found == [of(1, 2, 3)]
    assert [key for key in reading.read if "/batches/" in key] == []


class Held:
    """A step that waits to be let go."""

    def __init__(self, step: Callable[..., None]) -> None:
        self._step, self.begun, self.go = step, threading.Event(), threading.Event()

    def __call__(self, *arguments: object) -> None:
        self.begun.set()
        assert self.go.wait(30)
        self._step(*arguments)


def test_what_each_host_makes_is_what_a_build_writes(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files as a build that reads all vectors, but for the order of batches."""
    for number in (1, 2, 3):
        two(home, number)
    home.index.build("default")
    here = SegmentCache(home.cache.parent / "there", home.store)
    made = here.folder("default", newest(home).segments[0].segment)
    assert {path.name for path in made.iterdir()} >= LENT
    home.index.rebuild("default", "to compare")
    assert not meta(home).whole
    written = here.folder("default", newest(home).segments[0].segment)
    for name in LENT:
        assert (made / name).read_bytes() == (written / name).read_bytes(), name


def test_named_batches_too(home: House) -> None:
    """Where there are many: each is asked about, and nothing is listed."""
    two(home, 1)
    home.index.build("default")
    two(home, 2), two(home, 3), two(home, 4)
    home.index.build("default", ["two2", "two3"])
    assert meta(home).whole and meta(home).vectors == 4
    home.index.build("default", ["two4"])
    assert not meta(home).whole, "one is read as ever"
    assert elsewhere(home) == of(1, 2, 3, 4)


def test_filters_and_words_on_another_host(
    store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    store = fresh_store(store_settings)
    index = FaissIndex(store, redis_client, tmp_path / "builder", hybrid=lambda index: True)
    write(index, "b1", put("red/a", 1, "one two"), put("blue/b", 2, "three four"))
    write(index, "b2", put("red/c", 3, "five two"))
    index.build("default")
    reader = IndexReader(store, tmp_path / "reader")
    reader.refresh("default")
    wanted = Search(vector("any"), 10, filters=Filters(prefixes=("red/",)))
    words = Search(vector("any"), 10, text="two", mode="text")
    for search in (wanted, words):
        (found,) = reader.search_many("default", [search])
        assert not isinstance(found, BadInput) and {hit.key for hit in found.hits} == {"red/a", "red/c"}


def test_a_merge_and_a_rollback(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        two(home, number)
    first = home.index.build("default").generation
    for number in (3, 4):
        two(home, number)
    write(home.index, "newer", put("a1", 90, "a1 new"), gone("b2", 91))
    home.index.build("default")
    expected = of(1, 2, 3, 4) | {"a1": ["a1 new"]}
    del expected["b2"]
    assert elsewhere(home) == expected
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 1)
    assert home.index.compact("default").published
    assert not meta(home).whole and elsewhere(home) == expected
    home.index.rollback("default", first)
    assert elsewhere(home) == of(1, 2)
    home.index.release("default")
    home.index.build("default")
    home.index.compact("default")
    home.index.cleanup("default", 0.0)
    assert elsewhere(home) == expected
    assert list(integrity.survey(home.store, "default")) == []


def test_what_is_out_of_date_is_not_in_it(home: House) -> None:
    """Then a segment is of no whole batches: their vectors are read after all."""
    write(home.index, "b1", put("a", 1, "old"), put("b", 2))
    write(home.index, "b2", put("a", 3, "new"), put("c", 4))
    assert home.index.build("default").published
    assert not meta(home).whole and newest(home).vectors == 3
    assert elsewhere(home) == {"a": ["new"], "b": ["b at 2"], "c": ["c at 4"]}


@pytest.mark.parametrize("how", ["rewritten", "cut", "gone", "older release"])
def test_vectors_that_are_not_as_the_store_had_them_are_looked_at(home: House, how: str) -> None:
    """A batch that is damaged where the store can tell is left out before anything is published, and named."""
    for number in (1, 2, 3):
        two(home, number)
    path = layout.batch("default", "two2")
    key = path + layout.VECTORS
    data = home.store.get(home.store.bucket, key).data
    listed = batches.listing(home.store, "default")["two2"]
    assert glance(home.store, "default", "two2", listed) is not None
    if how == "gone":
        home.store.delete(home.store.bucket, key)
    elif how == "older release":
        commit = batches.read_commit(home.store, "default", "two2")
        packed, vectors = commit.packed(np.load(io.BytesIO(data)))
        old = encode(packed, commit.model, vectors.shape[1], commit.vectors)
        home.store.put(home.store.bucket, path + layout.ROWS, old)
    else:
        home.store.put(home.store.bucket, key, data[:-4] if how == "cut" else flipped(data))
    now = batches.listing(home.store, "default")["two2"]
    assert glance(home.store, "default", "two2", now) is None
    assert set(asked(home.store, "default", ["two1", "two2"])) == ({"two1"} if how == "gone" else {"two1", "two2"})
    report = home.index.build("default")
    if how == "older release":
        assert report.warnings == () and elsewhere(home) == of(1, 2, 3)
    else:
        assert "two2" in report.warnings[0] and elsewhere(home) == of(1, 3)
    assert meta(home).whole


def rotten(home: House, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """Damage to an object that the store itself does not see: its etag is the one of before."""
    key = layout.batch("default", name) + layout.VECTORS
    spoil(home, key)
    etag = home.store.head(home.store.bucket, key).etag
    commit = layout.batch("default", name) + layout.ROWS
    known = batches.read_commit(home.store, "default", name)
    assert not isinstance(known.contents, list)
    home.store.put(
        home.store.bucket, commit, encode(known.contents, known.model, known.dimensions, known.vectors, "", (), etag)
    )
    return key


def test_damage_that_the_store_does_not_see(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is published, and found by the look that follows: the index is built anew from what is whole."""
    for number in (1, 2, 3):
        two(home, number)
    rotten(home, monkeypatch, "two2")
    report = home.index.build("default")
    assert report.generation == 2 and report.published
    assert [text for text in report.warnings if "two2" in text and "built anew" in text], report.warnings
    assert [text for text in report.warnings if "skipped until it changes" in text]
    assert here(home) == elsewhere(home) == of(1, 3)
    assert not meta(home).whole


def test_a_store_that_goes_away_after_it_was_published(
    home: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        two(home, number)

    def down(*_: object) -> None:
        raise StoreDown("The store does not answer.")

    monkeypatch.setattr(whole, "make", down)
    assert home.index.build("default").published
    assert "could not be opened here yet: The store does not answer" in caplog.text
    monkeypatch.undo()
    assert here(home) == elsewhere(home) == of(1, 2)


@pytest.mark.parametrize("name", [*sorted(LENT), SCAN + pieces.MADE, ATTRIBUTES + pieces.MADE])
def test_local_damage_is_found_and_made_again(home: House, name: str) -> None:
    for number in (1, 2):
        two(home, number)
    home.index.build("default")
    (path,) = (home.cache.parent / "builder").rglob(name)
    data = path.read_bytes()
    path.write_bytes(flipped(data))
    bad = path.with_name(name.removesuffix(pieces.MADE))
    assert list(damaged(home.cache.parent / "builder", "default")) == [bad]
    cache = SegmentCache(home.cache.parent / "builder", home.store)
    (ref,) = newest(home).segments
    assert cache.check("default", ref.segment) == [bad.name]
    cache.open("default", ref.segment)
    assert path.read_bytes() == data
    path.unlink()
    cache.open("default", ref.segment)
    cache.check("default", ref.segment)
    cache.open("default", ref.segment)
    assert path.read_bytes() == data


@pytest.mark.parametrize("part", [layout.ROWS, layout.VECTORS])
@pytest.mark.parametrize("how", ["gone", "other"])
def test_a_batch_that_is_needed_is_named(home: House, part: str, how: str) -> None:
    for number in (1, 2):
        two(home, number)
    home.index.build("default")
    key = layout.batch("default", "two1") + part
    if how == "gone":
        home.store.delete(home.store.bucket, key)
    elif part == layout.VECTORS:
        spoil(home, key)
    else:
        docs = [put("a1", 2, "other"), put("b1", 3, "rows")]
        write(home.index, "other", *docs)
        other = home.store.get(home.store.bucket, layout.batch("default", "other") + part).data
        home.store.put(home.store.bucket, key, other)
    with pytest.raises(CorruptSegment, match="two1"):
        SegmentCache(home.cache.parent / "none", home.store).open("default", newest(home).segments[0].segment)
    (found,) = integrity.survey(home.store, "default")
    assert found.what == "segment" and key in found.detail
    assert here(home) == of(1, 2), "on this host everything is there"


def test_vectors_that_are_written_again_leave_the_rows(home: House) -> None:
    """Embedding a damaged batch again with newer numbers must not change rows that a segment refers to."""
    path = two(home, 1)
    two(home, 2)
    home.index.build("default")
    before = batches.read_commit(home.store, "default", "two1")
    home.store.put(home.store.bucket, path + layout.VECTORS, b"damage")
    docs = [put("a1", 50, "a1 at 2"), put("b1", 51, "b1 at 3")]
    vectors = np.array([vector(doc.contents[0]) for doc in docs], np.float32)
    assert home.index.write_batch("default", "two1", rows_of(docs), vectors, "model") == layout.batch(
        "default", "two1-51"
    )
    after = batches.read_commit(home.store, "default", "two1")
    assert after.rows() == before.rows() and home.index.read_batch("default", "two1") is not None
    home.index.build("default")
    assert elsewhere(home) == of(1, 2)


def test_a_damaged_commit_that_is_written_again_with_newer_numbers(home: House) -> None:
    """Its rows are others then, and no other host could make those of the segment: the index is built anew."""
    path = two(home, 1)
    two(home, 2)
    home.index.build("default")
    home.store.put(home.store.bucket, path + layout.ROWS, b"damage")
    docs = [put("a1", 50, "a1 at 2"), put("b1", 51, "b1 at 3")]
    vectors = np.array([vector(doc.contents[0]) for doc in docs], np.float32)
    assert home.index.write_batch("default", "two1", rows_of(docs), vectors, "model") == path
    report = home.index.build("default")
    assert "two1 was written again" in report.warnings[0] and not meta(home).whole
    assert here(home) == elsewhere(home) == of(1, 2)
    assert not home.index.build("default").published


@pytest.mark.parametrize("part", [layout.ROWS, layout.VECTORS])
def test_repair(world: World, tmp_path: Path, part: str) -> None:
    """Vectors are put back from the copy on this host; without the rows the index is built from what is whole."""
    name = world.settled("c", "d")
    world.settled("e")
    world.index.build("default")
    key = layout.batch("default", name) + part
    IndexReader(world.store, tmp_path / "index-cache").refresh("default")
    flip(world, key)
    assert key in world.verify()[1]
    code, output = world.verify("--repair")
    if part == layout.VECTORS:
        assert code == 0 and "put back from the copy on this host" in output
        assert world.found() == {}
    else:
        assert "built anew from the batches" in output and "handed out again" in output
        assert "skipped until it changes" in world.verify()[1], "the triggers that embed it again are not running"


def test_a_migration(home: House) -> None:
    for number in (1, 2):
        two(home, number)
    home.index.build("default")
    home.index.migrate("default", pair()[1], run="run", task="run", stop=lambda: False, report=lambda *_: None)
    current = newest(home)
    assert current.dimensions == 8 and "~" in current.space
    assert {ref.vectors for ref in current.segments} == {4}


def test_two_builders_at_once(home: House, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second builds on what the first has published; what it has glanced at stays good."""
    for number in (1, 2):
        two(home, number)
    other = FaissIndex(home.store, redis_client, home.cache.parent / "other")
    commit, first = manifest.commit, [True]

    def late(store: Store, made: Manifest) -> Manifest:
        if first.pop() if first else False:
            write(other, "between", put("z", 80, "z"))
            redis_client.flushall()
            other.build("default", ["between"])
        return commit(store, made)

    monkeypatch.setattr(manifest, "commit", late)
    home.index.build("default")
    assert elsewhere(home) == of(1, 2) | {"z": ["z"]}
    assert any(meta(home, place).whole for place in range(len(newest(home).segments)))


def test_a_commit_of_the_first_format(home: House) -> None:
    """Its rows are not stored as a segment has them: no host could make them of it."""
    two(home, 1), two(home, 2)
    key = layout.batch("default", "two2") + layout.ROWS
    head = msgpack.unpackb(home.store.get(home.store.bucket, key).data)
    found = home.index.read_batch("default", "two2")
    assert found is not None
    rows = [[getattr(row, name) for name in FIELDS] for row in found[0]]
    old = {"format": 1, "model": "model", "vectors": head["vectors"], "fields": list(FIELDS), "rows": rows}
    home.store.put(home.store.bucket, key, msgpack.packb(old))
    assert home.index.build("default").warnings == ()
    assert not meta(home).whole and elsewhere(home) == of(1, 2)


def test_nothing_but_deletes_can_be_used(home: House) -> None:
    two(home, 1)
    home.index.build("default")
    for number in range(8):
        write(home.index, f"foreign{number}", put(f"x{number}", 5), dimensions=8)
    write(home.index, "gone", gone("a1", 9))
    report = home.index.build("default")
    assert report.published and "cannot be compared" in report.warnings[0]
    assert elsewhere(home) == {"b1": ["b1 at 3"]}


def test_attempts_end_where_vectors_have_to_be_read(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home.index, "b1", put("a", 1, "old"))
    write(home.index, "b2", put("a", 3, "new"))
    tries = list[int]()

    def faster(store: Store, made: Manifest) -> Manifest:
        tries.append(1)
        assert len(tries) < 20, "it goes on for ever"
        raise PreconditionFailed("Somebody else was faster.")

    monkeypatch.setattr(writer, "ATTEMPTS", 3)
    monkeypatch.setattr(manifest, "commit", faster)
    with pytest.raises(Retry, match="faster 3 times"):
        home.index.build("default")
    assert len(tries) < 3, "the first attempt ended before it"


def test_a_full_disk(home: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """FAISS raises what nobody expects, or leaves out the end and says nothing. Neither is a failure of the build, nor
    is it kept: there is room again some day."""
    two(home, 1), two(home, 2)

    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("No space left on device")

    def cut(body: Stored, *, hashed: bool, path: Path) -> None:
        write_scan(body, hashed=hashed, path=path)
        os.truncate(path, path.stat().st_size - 1)

    monkeypatch.setattr(whole, "write_scan", refused)
    assert home.index.build("default").published
    assert "could not be opened here yet" in caplog.text
    cache, name = SegmentCache(home.cache.parent / "full", home.store), newest(home).segments[0].segment
    for how, told in ((refused, "No space left"), (cut, "cut short")):
        monkeypatch.setattr(whole, "write_scan", how)
        with pytest.raises(OSError, match=told):
            cache.open("default", name)
    monkeypatch.setattr(whole, "write_scan", write_scan)
    assert len(cache.open("default", name)) == 4
    assert here(home) == elsewhere(home) == of(1, 2)


def test_commits_are_read_once_where_there_are_no_attributes(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "SMALL", 100)
    monkeypatch.setattr(whole, "SMALL", 100)
    two(home, 1), two(home, 2)
    reading = Reading(home.store)
    home.index._builder._store = home.index._builder._cache._store = reading  # type: ignore[assignment]
    home.index.build("default")
    assert sum("/batches/" in key and key.endswith(layout.ROWS) for key in reading.read) == 2
    assert here(home) == elsewhere(home) == of(1, 2)


def test_the_opening_starts_no_pool_of_threads(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in a forked worker."""
    monkeypatch.setattr(kinds, "COMPACT_FROM", 100)
    two(home, 1), two(home, 2)
    verify, seen = segment_write.verify, list[int]()

    def looking(folder: Path, sha: str, told: Meta, rows: int) -> None:
        seen.append(faiss.omp_get_max_threads())
        verify(folder, sha, told, rows)

    monkeypatch.setattr(segment_write, "verify", looking)
    home.index.build("default")
    assert seen == [1, 1]


@pytest.mark.parametrize("how", ["killed", "nobody told", "away", "not built anew"])
def test_damage_is_found_by_the_next_build(home: House, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Nothing is new for it then, and nobody else looks."""
    for number in (1, 2, 3):
        two(home, number)
    rotten(home, monkeypatch, "two2")

    def down(*_: object) -> None:
        raise StoreDown("The store does not answer.")

    def untold(*_: object) -> None:
        raise BrokerDown("The broker does not answer.")

    with monkeypatch.context() as patched:
        if how == "killed":
            patched.setattr(opening, "_look", lambda *_: None)
        elif how == "nobody told":
            patched.setattr(home.index._builder, "_tell", untold)
        else:
            patched.setattr(*((whole, "make") if how == "away" else (batches, "read")), down)
        with suppress(StoreDown, BrokerDown):
            home.index.build("default")
    while any(thread.name.startswith("opening") for thread in threading.enumerate()):
        gc.collect()
    assert newest(home).generation == 1
    later = FaissIndex(home.store, home.index._client, home.cache.parent / "builder")
    assert "built anew" in later.build("default").warnings[0]
    assert here(home) == elsewhere(home) == of(1, 3)
    assert not later.build("default").published


def test_who_is_at_it_is_not_waited_for(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    two(home, 1), two(home, 2)
    monkeypatch.setattr(opening, "_tried", held := Held(opening._tried))
    building = threading.Thread(target=home.index.build, args=("default",))
    building.start()
    assert held.begun.wait(30)
    folder = SegmentCache(home.cache.parent / "builder", home.store).place("default", newest(home).segments[0].segment)
    other = FaissIndex(home.store, home.index._client, home.cache.parent / "builder")
    two(home, 3)
    with alone(folder, wait=False) as free:
        assert not free, "since it was told of"
    building_on = threading.Thread(target=other.build, args=("default", ["two3"]))
    building_on.start()
    building_on.join(30)
    assert not building_on.is_alive() and newest(home).vectors == 6
    held.go.set()
    building.join(30)
    assert elsewhere(home) == of(1, 2, 3)


def test_all_of_it_is_on_disk_where_it_is_to_be(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    two(home, 1), two(home, 2)
    home.index.build("default")
    fsync, synced = os.fsync, set[int]()

    def seen(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    cache = SegmentCache(home.cache.parent / "durable", home.store)
    folder = cache.folder("default", newest(home).segments[0].segment)
    assert [path.name for path in folder.iterdir() if path.stat().st_ino not in synced] == []


def test_a_damaged_list_of_pieces_on_this_host(home: House) -> None:
    two(home, 1), two(home, 2)
    home.index.build("default")
    cache, name = SegmentCache(home.cache.parent / "pieces", home.store), newest(home).segments[0].segment
    path = cache.folder("default", name) / PIECES
    told = msgpack.unpackb(data := path.read_bytes())
    told["pieces"][1][4] += 1
    path.write_bytes(changed := msgpack.packb(told))
    assert len(changed) == len(data)
    path.with_name(ROWS).unlink()
    assert len(cache.open("default", name)) == 4


def test_after_the_machine_was_started_again(home: House) -> None:
    """What was not forced to disk is looked at, with the hashes beside it."""
    two(home, 1), two(home, 2)
    home.index.build("default")
    (scan,) = (home.cache.parent / "builder").rglob(SCAN)
    scan.with_name(".not-on-disk").write_text("another start")
    pieces.made(scan).write_bytes(b"")
    pieces.made(scan.with_name(ATTRIBUTES)).unlink()
    rows = scan.with_name(ROWS)
    rows.write_bytes(bytes(rows.stat().st_size))
    assert here(home) == of(1, 2)
    assert list(damaged(home.cache.parent / "builder", "default")) == []


def test_what_is_worth_it() -> None:
    large, small = pieces.LEAST_BYTES, pieces.LEAST_BYTES - 1
    assert whole.worth([large] * 3) and not whole.worth([])
    assert not whole.worth([large] * 3 + [small]) and whole.worth([large] * 7 + [small])
