"""Compaction: what is merged, and that nothing is lost or comes back, whatever is published meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.errors import CorruptSegment
from runtime.index import layout, manifest, plan, segment_write
from runtime.index.compact import Compactor
from runtime.index.included import of_segment
from runtime.index.lease import CompactLease
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.quiet import NICENESS, quietly
from tests.indexing import House, fresh_store, gone, house, put, write


@pytest.fixture
def home(
    store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> House:
    monkeypatch.setattr(plan, "MANY_SEGMENTS", 4)
    return house(fresh_store(store_settings), redis_client, tmp_path)


def newest(home: House) -> Manifest:
    found = manifest.newest(home.store, "default")
    assert found is not None
    return found


def crowd(home: House, expected: dict[str, list[str]], start: int = 0, count: int = 0) -> None:
    """Builds of one small batch each, one more than there may be segments: documents are replaced, removed and stay."""
    for number in range(start, start + (count or plan.MANY_SEGMENTS + 1)):
        key = f"k{number % 5}"
        write(
            home.index,
            f"b{number}",
            put(key, 10 * number, f"content {number}"),
            gone(f"k{number % 3}", 10 * number + 1),
        )
        home.index.build("default", [f"b{number}"])
        expected[key] = [f"content {number}"]
        expected.pop(f"k{number % 3}", None)


def seen(home: House) -> dict[str, list[str]]:
    home.reader.refresh("default")
    return home.contents()


def test_segments_become_one_and_the_content_stays(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SMALL_BYTES", 1000)
    expected: dict[str, list[str]] = {}
    write(home.index, "large", *(put(f"large{number}", number) for number in range(300)))
    home.index.build("default", ["large"])
    expected |= {f"large{number}": [f"large{number} at {number}"] for number in range(300)}
    large = newest(home).segments[0].segment
    crowd(home, expected)
    report = home.index.compact("default")
    assert (report.published, report.generation, report.note) == (True, plan.MANY_SEGMENTS + 3, "")
    assert report.merged == plan.MANY_SEGMENTS + 1
    assert report.segments == 2 == len(newest(home).segments)
    assert large in [ref.segment for ref in newest(home).segments], "the large one is left alone"
    assert seen(home) == expected
    assert sum(ref.documents for ref in newest(home).segments) == len(expected)
    again = home.index.compact("default")
    assert (again.published, again.note) == (False, "There is nothing to merge.")
    write(home.index, "late", put("k0", 1, "late"), put("large1", 0, "late"))
    assert not home.index.build("default").published, "what was replaced or removed before still loses"
    assert not home.index.build("default", ["b1", "b2", "large"]).published, "the batches are remembered"


def test_dead_rows_are_left_behind(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "FEW_DEAD", 10)
    write(home.index, "b1", *(put(f"k{number}", number) for number in range(100)))
    home.index.build("default", ["b1"])
    write(home.index, "b2", *(gone(f"k{number}", 1000 + number) for number in range(30)))
    assert home.index.build("default", ["b2"]).crowded
    assert home.index.compact("default").published
    assert [(ref.vectors, ref.live) for ref in newest(home).segments] == [(0, 0), (70, 70)]
    assert sorted(seen(home)) == sorted(f"k{number}" for number in range(30, 100))
    write(home.index, "late", put("k1", 500, "late"))
    assert not home.index.build("default", ["late"]).published


def test_builds_say_once_that_a_compaction_is_needed(home: House, redis_client: redis.Redis) -> None:
    crowd(home, {}, count=plan.MANY_SEGMENTS)
    write(home.index, "one more", put("x", 1000))
    assert home.index.build("default", ["one more"]).crowded
    write(home.index, "another", put("y", 1001))
    assert not home.index.build("default", ["another"]).crowded, "it was asked for just now"
    redis_client.delete(keys.index_compact_asked("default"))
    with CompactLease(redis_client, "default") as lease:
        assert lease.held
        write(home.index, "third", put("z", 1002))
        assert not home.index.build("default", ["third"]).crowded, "somebody is at it"
        assert home.index.compact("default").note == "Another compaction of it is under way."
    assert home.index.compact("default").published
    crowd(home, {}, start=100, count=plan.MANY_SEGMENTS - 1)
    write(home.index, "full again", put("x", 2000))
    assert home.index.build("default", ["full again"]).crowded, "what was asked for is done; it may be asked again"


def during(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Something that happens once, when the merged segment has been written and is not in any version yet."""
    original = Compactor._merge

    def merge(self: Compactor, current: Manifest, folder: Path) -> object:
        merged = original(self, current, folder)
        monkeypatch.setattr(Compactor, "_merge", original)
        action()
        return merged

    monkeypatch.setattr(Compactor, "_merge", merge)


def test_what_is_published_meanwhile_is_honoured(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: dict[str, list[str]] = {}
    crowd(home, expected)

    def meanwhile() -> None:
        write(home.index, "m1", put("k4", 5000, "newer"), put("new", 5001, "new"), gone("k3", 5002))
        home.index.build("default", ["m1"])
        write(home.index, "m2", put("k4", 5003, "newest"))
        home.index.build("default", ["m2"])

    during(monkeypatch, meanwhile)
    assert home.index.compact("default").published
    expected |= {"k4": ["newest"], "new": ["new"]}
    expected.pop("k3", None)
    assert seen(home) == expected
    assert len(newest(home).segments) == 3
    assert newest(home).documents == len(expected)
    assert newest(home).vectors == len(expected)


def test_a_build_that_is_faster_to_commit_wins(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: dict[str, list[str]] = {}
    crowd(home, expected)
    original = manifest.commit
    raced: list[bool] = []

    def commit(store: object, made: Manifest) -> Manifest:
        if not raced:
            raced.append(True)
            redis_free = house(home.store, home.index._client, home.cache.parent / "other")
            home.index._client.delete(keys.index_build("default"))  # the other one does not wait
            write(redis_free.index, "race", put("k4", 9000, "raced"))
            redis_free.index.build("default", ["race"])
        return original(store, made)  # type: ignore[arg-type]

    monkeypatch.setattr(manifest, "commit", commit)
    assert home.index.compact("default").published
    assert seen(home) == expected | {"k4": ["raced"]}
    assert len(newest(home).segments) == 2


def test_a_rollback_meanwhile_wins(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: dict[str, list[str]] = {}
    crowd(home, expected)
    before = dict(expected)
    generation = newest(home).generation
    write(home.index, "gone again", put("k4", 7000, "gone again"), put("extra", 7001))
    home.index.build("default", ["gone again"])

    def back_and_on() -> None:
        """The version that was merged knew a newer word on `k4` than the one that is current then."""
        home.index.rollback("default", generation)
        home.index.release("default")

    during(monkeypatch, lambda: home.index.rollback("default", generation))
    report = home.index.compact("default")
    assert (report.published, "rolled back" in report.note) == (False, True)
    assert seen(home) == before
    assert home.index.compact("default").note == "A rollback holds it; release it first."
    home.index.release("default")
    home.index.build("default")
    during(monkeypatch, back_and_on)
    assert not home.index.compact("default").published
    assert seen(home) == before, "a merge that knew more than the version that is current now is dropped"


def test_batches_that_are_gone_are_forgotten(home: House) -> None:
    crowd(home, {})
    for number in range(2):
        home.store.delete(home.store.bucket, layout.batch("default", f"b{number}") + layout.ROWS)
    assert home.index.compact("default").published
    (ref,) = newest(home).segments
    known = {name for name, _ in of_segment(home.index._cache, "default", ref.segment)}
    assert known == {"b2", "b3", "b4"}, "those of documents, and those whose word is that something is gone"
    assert not home.index.build("default").published


def test_a_damaged_source_is_fetched_again_and_never_merged(home: House) -> None:
    expected: dict[str, list[str]] = {}
    crowd(home, expected)
    folder = home.index._cache.folder("default", newest(home).segments[2].segment)
    data = bytearray((folder / "index.faiss").read_bytes())
    data[-1] ^= 1
    (folder / "index.faiss").write_bytes(bytes(data))
    with pytest.raises(CorruptSegment, match=r"index\.faiss here does not match its hash"):
        home.index.compact("default")
    assert home.index.compact("default").published
    assert seen(home) == expected


def test_the_heavy_part_runs_at_a_low_priority(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd(home, {})
    priorities = []
    original = segment_write.write

    def write(*arguments: object, **options: object) -> object:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return original(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(segment_write, "write", write)
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    home.index.compact("default")
    assert priorities == [NICENESS]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
    with pytest.raises(ZeroDivisionError):
        quietly(lambda: 1 / 0)


def ref(size: int, live: float = 1.0) -> SegmentRef:
    return SegmentRef(f"s{size}", None, size, int(size * live), size, size * 2**20)


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ([1] * plan.MANY_SEGMENTS, []),
        ([1] * (plan.MANY_SEGMENTS + 1), [1] * 9),
        ([100_000, *[1] * plan.MANY_SEGMENTS], [1] * 8),
        ([4**power for power in range(9)], [1, 4]),
        ([2**power for power in range(9)], [2**power for power in range(9)]),
    ],
)
def test_what_is_merged(sizes: list[int], merged: list[int]) -> None:
    """The sizes of segments stay a geometric series: one small document does not rewrite the whole index."""
    assert [size for size, one in zip(sizes, plan.chosen([ref(size) for size in sizes]), strict=True) if one] == merged


def test_what_is_rewritten_for_its_dead_rows() -> None:
    assert plan.chosen([ref(10_000), ref(10_000, live=0.45)]) == [False, True]
    assert plan.chosen([ref(10_000), ref(10_000, live=0.55)]) == [False, False]
    assert plan.chosen([ref(100, live=0.0), ref(1000)]) == [False, False], "so few are nothing"
    assert plan.chosen([]) == []
