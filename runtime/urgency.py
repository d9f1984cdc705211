"""How near an index is to what one machine should hold, where this machine runs out, and what to do then."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from runtime.interfaces_index import IndexVersion

FULL_VECTORS = 500_000
FULL_BYTES = 2 * 2**30
REMOTE = "qdrant"
"""The kind of versions that are not on one machine."""

Advice = Literal["fine", "plan", "now"]

SLOW_SECONDS = 0.1
"""A search that takes longer is felt as waiting."""

MEMORY_SHARE = 0.7
"""Of a machine's memory for the index; the rest is for the model, the workers and the system."""

_LEVELS = (70, 90)

_MEASURED_FROM = 50_000
"""Below so many vectors the time of a search is what every search costs, and tells nothing of larger indexes."""

# Seconds of one core for each vector and dimension that a search looks at, measured with `make bench B=index`,
# 1,000,000 vectors of 384: an exact search took 88 ms (doubled here, for its slowest), the slowest hundredth of the
# compact ones 87 ms.
_EXACT, _COMPACT = 5e-10, 2.3e-10

_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many vectors like those of an index one machine can answer from.

    `vectors_in_memory`: as many fit into its memory; with more, every search reads from disk. `vectors_in_time`: as
    many are searched within 100 ms by 99 searches of 100. `search_p99_ms` is what this was measured by; None: nothing
    was, and it is what such searches take elsewhere. `next_step` is a sentence.
    """

    memory_bytes: int
    bytes_per_vector: int
    vectors_in_memory: int
    vectors_in_time: int
    search_p99_ms: float | None
    next_step: str


def urgency(vectors: int, size: int) -> float:
    """0–100 from the number of vectors and the bytes, whichever is nearer to its limit: a rule for any machine."""
    return max(min(100.0, vectors / FULL_VECTORS * 100), min(100.0, size / FULL_BYTES * 100))


def level_of(version: IndexVersion) -> float:
    """The same of a version; one that an engine on machines of its own holds is as urgent as nothing."""
    return 0.0 if version.kind == REMOTE else urgency(version.vectors, version.bytes)


def advice(level: float) -> Advice:
    """Move to a larger engine? "fine" below 70, "plan" up to 90, "now" above."""
    if level < _LEVELS[0]:
        return "fine"
    return "plan" if level <= _LEVELS[1] else "now"


def next_step(index: str, level: float) -> str:
    """The command that moves an index to an engine on machines of its own; empty while there is no need."""
    if advice(level) == "fine":
        return ""
    return (
        f"Move index {index} to Qdrant, while it goes on answering: write url into indexes: {{{index}: …}} of "
        f"functions.yaml, then run: tundish index migrate --engine qdrant --index {index}"
    )


def capacity(
    vectors: int,
    size: int,
    dimensions: int,
    kind: str,
    *,
    seconds: float | None = None,
    memory: int | None = None,
) -> Capacity | None:
    """What this machine can hold of such an index; None for one without vectors.

    `seconds`: the p99 of searches here; `memory`: of this machine where another one is meant.
    """
    if not vectors or not dimensions:
        return None
    memory = host_memory() if memory is None else memory
    each = size / vectors
    measured = seconds if seconds and vectors >= _MEASURED_FROM else None
    a_vector = measured / vectors if measured else dimensions * (_EXACT if kind == "flat" else _COMPACT)
    in_memory, in_time = int(memory * MEMORY_SHARE / each), int(SLOW_SECONDS / a_vector)
    return Capacity(
        memory_bytes=memory,
        bytes_per_vector=round(each),
        vectors_in_memory=_rounded(in_memory),
        vectors_in_time=_rounded(in_time),
        search_p99_ms=round(measured * 1000, 2) if measured else None,
        next_step=_next_step(vectors, in_memory, in_time, memory),
    )


def host_memory(limits: Sequence[Path] = _CGROUPS) -> int:
    """Bytes of memory that this process and its page cache may take: of the machine, or of its container."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in limits:
        with suppress(OSError, ValueError):  # "max": no limit
            found = min(found, int(path.read_text()))
    return found


def _next_step(vectors: int, in_memory: int, in_time: int, memory: int) -> str:
    full = min(in_memory, in_time)
    used = vectors / full * 100 if full else 100.0
    if advice(used) == "fine":
        return f"Nothing: this machine has room for {_rounded(full):,} such vectors."
    apart = "give some of the triggers an index of their own"
    if in_memory <= in_time:
        wanted = memory * 2 * vectors / max(in_memory, 1)
        return (
            f"Its memory is full at {_rounded(full):,} such vectors: run the gateway where there is more of it "
            f"({wanted / 2**30:.0f} GiB for twice as many as now), or {apart}."
        )
    return (
        f"Searches take longer than 100 ms from {_rounded(full):,} such vectors on: {apart} and search it on another "
        "host, or take an engine that is made for many machines."
    )


def _rounded(count: int) -> int:
    """Two digits: an estimate should not look like a count."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return count // unit * unit
