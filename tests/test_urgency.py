"""Where a machine runs out of an index: by memory, by time, by what was measured; and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.search.times import ENOUGH, KEPT, SearchTimes
from runtime.index.manifest import Manifest, SegmentRef
from runtime.urgency import MEMORY_SHARE, Capacity, capacity, host_memory

GIB = 2**30


def of(vectors: int, *, kind: str = "compact", memory: int = 64 * GIB, seconds: float | None = None) -> Capacity:
    """An index of 384 dimensions and 2,000 bytes a vector."""
    found = capacity(vectors, vectors * 2000, 384, kind, seconds=seconds, memory=memory)
    assert found
    return found


def test_nothing_is_said_of_an_empty_index() -> None:
    assert capacity(0, 0, 384, "flat") is None
    assert capacity(0, 100, 0, "flat") is None


def test_memory_runs_out_first() -> None:
    found = of(400_000, memory=1 * GIB)
    assert found.bytes_per_vector == 2000
    assert found.vectors_in_memory == pytest.approx(GIB * MEMORY_SHARE / 2000, rel=0.1)
    assert found.vectors_in_memory < found.vectors_in_time
    assert f"{found.vectors_in_memory:,}" in found.next_step
    assert "memory" in found.next_step and "index of their own" in found.next_step


def test_time_runs_out_first() -> None:
    few, many = of(100_000), of(30_000_000)
    assert few.vectors_in_time == many.vectors_in_time < many.vectors_in_memory
    assert few.next_step.startswith("Nothing")
    assert "100 ms" in many.next_step and "another host" in many.next_step
    assert of(100_000, kind="flat").vectors_in_time < few.vectors_in_time


def test_an_index_is_compact_where_a_part_of_it_is() -> None:
    refs = [SegmentRef("s" * 64, None, 9, 9, 9, 100, kind) for kind in ("flat", "compact")]

    def kind(*segments: SegmentRef) -> str:
        return Manifest("default", 1, 0.0, "", 384, "model", "1.15", 9, segments).described().kind

    assert [kind(), kind(refs[0]), kind(*refs)] == ["flat", "flat", "compact"]


def test_what_is_measured_counts_more() -> None:
    slow, quick = of(100_000, seconds=0.05), of(100_000, seconds=0.001)
    assert (slow.vectors_in_time, quick.vectors_in_time) == (200_000, 10_000_000)
    assert (slow.search_p99_ms, quick.search_p99_ms) == (50, 1)
    # A small index tells nothing of a large one: any search has its share that does not grow.
    small = of(1000, seconds=0.001)
    assert small.search_p99_ms is None
    assert small.vectors_in_time == of(1000).vectors_in_time


def test_a_step_is_due_from_seventy_percent_on() -> None:
    limit = of(100_000, seconds=0.01).vectors_in_time
    assert of(int(limit * 0.69), seconds=0.069).next_step.startswith("Nothing")
    assert "100 ms" in of(int(limit * 0.71), seconds=0.071).next_step


def test_the_memory_of_a_container_counts(tmp_path: Path) -> None:
    whole = host_memory(())
    limit, none = tmp_path / "limit", tmp_path / "none"
    limit.write_text(f"{GIB}\n")
    none.write_text("max\n")
    assert host_memory((tmp_path / "missing", none)) == whole > 0
    assert host_memory((none, limit)) == min(whole, GIB)


def test_the_latest_searches_of_each_index() -> None:
    times = SearchTimes()
    for number in range(ENOUGH - 1):
        times.add("a", number / 1000)
    assert times.p99("a") is None and times.p99("b") is None
    times.add("a", 0.099)
    assert times.p99("a") == 0.099
    for _ in range(KEPT):
        times.add("a", 0.001)
    assert times.p99("a") == 0.001, "old ones are forgotten"
