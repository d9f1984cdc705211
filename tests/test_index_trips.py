"""How many trips to the store a gateway makes, one after the other, until it answers from a version.

Behind a link of 80 ms each way every one of them is 160 ms that its searches are behind (docs/many-hosts.md).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.index import announcement, manifest
from runtime.index.announcement import Announcement, decode
from runtime.index.reader import IndexReader
from runtime.store.port import MinioStore
from tests.indexing import fresh_store, gone, house, put, write
from tests.trips import Trips


class Far:
    """An index, and a reader of it that is far from the store: it answers from the first of two versions."""

    def __init__(self, settings: StoreSettings, client: redis.Redis, folder: Path, trips: Trips) -> None:
        near = fresh_store(settings)
        self.home, self.trips, self._client = house(near, client, folder), trips, client
        self.store = MinioStore(settings.model_copy(update={"bucket": near.bucket, "endpoint": trips.endpoint}))
        self.home = dataclasses.replace(self.home, reader=IndexReader(self.store, folder / "far"))
        self.reader = self.home.reader
        write(self.home.index, "b1", put("a", 1, "one"), put("b", 2, "two"), put("c", 3, "three"))
        self.home.index.build("default", ["b1"])
        self.reader.refresh("default")

    def publish(self, number: int, *docs: Any, name: str = "default") -> bytes:
        """Publish a version; the word of it."""
        write(self.home.index, f"more {number}", *docs, name=name)
        return self.told(lambda: self.home.index.build(name, [f"more {number}"]))

    def told(self, publish: Callable[[], object]) -> bytes:
        """The word that comes of it; from now on trips are counted."""
        with self._client.pubsub() as heard:  # type: ignore[no-untyped-call]
            heard.subscribe(keys.SWAP_CHANNEL)
            heard.get_message(timeout=10)
            publish()
            message: dict[str, Any] = heard.get_message(timeout=10)
        self.trips.reset()
        return bytes(message["data"])


@pytest.fixture
def far(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> Iterator[Far]:
    with Trips(store_settings.endpoint) as trips:
        yield Far(store_settings, redis_client, tmp_path, trips)


def test_what_was_announced_is_one_trip_away(far: Far) -> None:
    """The manifest, a segment and the tombstones over an older one, over a connection that is open already."""
    word = decode(far.publish(1, put("a", 4, "one again"), put("d", 5, "four")))
    assert far.reader.refresh("default", word)
    assert (far.trips.made, far.trips.connections) == (1, 0)
    assert far.home.contents() == {"a": ["one again"], "b": ["two"], "c": ["three"], "d": ["four"]}


def test_versions_that_come_while_another_is_loaded_are_one_trip_away_together(far: Far) -> None:
    words = [decode(far.publish(number, put("a", 3 + number, f"at {number}"))) for number in (1, 2, 3)]
    first, second, third = words
    assert first and second and third
    assert far.reader.refresh("default", third.joined(second.joined(first)))
    assert (far.trips.made, far.trips.connections) == (1, 0)
    assert far.home.contents() == {"a": ["at 3"], "b": ["two"], "c": ["three"]}


def test_a_first_version_is_two_trips_away(far: Far) -> None:
    """Where nothing answers yet, a listing says whether it is the newest."""
    word = decode(far.publish(1, put("a", 1, "one"), name="other"))
    assert far.reader.refresh("other", word)
    assert (far.trips.made, far.trips.connections) == (2, 0)
    assert far.home.contents("other") == {"a": ["one"]}


def test_a_rollback_is_one_trip_away(far: Far) -> None:
    """Searches never had the version that it goes back to: it is another reader, which came later."""
    far.publish(1, put("a", 4, "one again"), gone("b", 5))
    later = IndexReader(far.store, far.home.cache.parent / "later")
    later.refresh("default")
    later._cache.trim("default", set(), -1.0)
    word = decode(far.told(lambda: far.home.index.rollback("default", 1)))
    assert later.refresh("default", word)
    assert (far.trips.made, far.trips.connections) == (1, 0)
    assert dataclasses.replace(far.home, reader=later).contents() == {"a": ["one"], "b": ["two"], "c": ["three"]}


def test_a_word_without_names_costs_one_trip_more(far: Far) -> None:
    """As earlier releases wrote it; too many are not named either."""
    word = decode(far.publish(1, put("a", 4, "one again"), put("d", 5, "four")))
    assert word
    assert far.reader.refresh("default", dataclasses.replace(word, segments=(), tombstones=()))
    assert (far.trips.made, far.trips.connections) == (2, 0)


def test_a_lost_word_does_not_matter(far: Far) -> None:
    """The next look finds the version: a listing, its manifest, its parts."""
    far.publish(1, gone("a", 4), put("d", 5, "four"))
    assert far.reader.refresh("default")
    assert (far.trips.made, far.trips.connections) == (3, 0)
    assert far.home.contents() == {"b": ["two"], "c": ["three"], "d": ["four"]}


def test_a_look_that_finds_nothing_keeps_the_connection(far: Far) -> None:
    far.trips.reset()
    for _ in range(3):
        assert not far.reader.refresh("default")
    assert (far.trips.made, far.trips.connections) == (3, 0)


def test_a_false_word_changes_nothing(far: Far) -> None:
    """What it names is fetched and not used: the manifest says what a version is, and each part has its hash."""
    told = json.loads(far.publish(1, put("d", 5, "four")))
    store, expected = far.home.store, {"a": ["one"], "b": ["two"], "c": ["three"], "d": ["four"]}
    newest = manifest.newest(store, "default")
    assert newest
    forged = f"{'0' * 64}.pack"
    store.put(store.bucket, f"indexes/default/segments/{forged}", b"\x04\0\0\0\0\0\0\0{}  and more")
    store.put(store.bucket, f"indexes/default/tombstones/{'1' * 64}", b"\xff")
    lie = {**told, "segments": [forged, newest.segments[0].segment], "tombstones": ["1" * 64, "2" * 64]}
    assert far.reader.refresh("default", decode(json.dumps(lie).encode()))
    assert far.home.contents() == expected
    assert not (far.home.cache / "default" / "segments" / forged).exists()
    assert not far.reader.refresh("default", Announcement("default", 99, "", (forged,)))
    assert far.home.contents() == expected


def test_what_is_in_the_way_of_one_part_is_in_the_way_of_no_other(far: Far) -> None:
    """A part that is not there ends the connection that everything was asked on: the others are asked once more."""
    word = decode(far.publish(1, put("d", 5, "four")))
    assert word
    assert far.reader.refresh("default", dataclasses.replace(word, segments=(f"{'3' * 64}.pack", *word.segments)))
    assert far.home.contents()["d"] == ["four"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'"x"',
        b"{}",
        b'{"index": "default"}',
        b'{"index": "default", "generation": "x"}',
        b'{"index": "default", "generation": Infinity}',
        b'{"index": "default", "generation": 0}',
        b'{"index": "default", "generation": 1e12}',
    ],
    ids=["nothing", "no text", "a list", "a string", "empty", "no number", "a word", "infinite", "zero", "too many"],
)
def test_what_is_no_word_is_passed_over(data: bytes) -> None:
    assert decode(data) is None


@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "A" * 64, "0" * 63, f"{'0' * 64}.pack/x", f"{'0' * 64}\n", 7, None, ["0" * 64]]
)
def test_names_that_are_not_ours_become_no_paths(name: object) -> None:
    told = {"index": "default", "generation": 3, "segments": [name, "0" * 64], "tombstones": [name]}
    assert decode(json.dumps(told).encode()) == Announcement("default", 3, segments=("0" * 64,))


def test_a_word_stays_short(home_manifest: manifest.Manifest) -> None:
    refs = [manifest.SegmentRef(f"{number:064x}", f"{number:064x}", 1, 1, 1, 1) for number in range(40)]
    before = dataclasses.replace(home_manifest, segments=tuple(refs[:30]))
    for new, named in ((5, 5), (10, 10)):
        made = dataclasses.replace(home_manifest, segments=tuple(refs[: 30 + new]))
        word = decode(announcement.encode(made, before, {}).encode())
        assert word and (len(word.segments), len(word.tombstones)) == (named, named)
    everything = decode(announcement.encode(made, dataclasses.replace(before, segments=()), {}).encode())
    assert everything and (everything.segments, everything.tombstones) == ((), ())
    assert decode(announcement.encode(made, None, {"traceparent": "00-x"}).encode()) == Announcement(
        "default", made.generation, made.version, trace="00-x"
    )


@pytest.fixture
def home_manifest() -> manifest.Manifest:
    return manifest.Manifest("default", 7, 0.0, "builder", 4, "model", "1.15", 9, ())


def words_of(*generations: int) -> list[Announcement]:
    return [Announcement("default", number, "", (f"{number:064x}.pack",)) for number in generations]


def test_joined_words_are_bounded() -> None:
    joined, *later = words_of(*range(1, 40))
    for word in later:
        joined = word.joined(joined)
    assert joined.generation == 39
    assert len(joined.segments) == announcement.MOST
    assert joined.segments[-1] == f"{39:064x}.pack"
