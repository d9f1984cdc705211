"""Many segments become one, beside the builds that go on."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.context import Context


@dataclass(frozen=True, slots=True)
class CompactResult:
    """`merged` segments became one, and the version has `segments` now; `note` says why nothing was merged."""

    index: str
    generation: int
    version: str
    published: bool
    merged: int
    segments: int
    note: str


def compact_index(index: str = "default", *, context: Context) -> CompactResult:
    """Merge segments of an index, where there are many of them or a large part of them is replaced or removed.

    `build_index` asks for it; asking when there is nothing to do does nothing. Documents, versions to go back to and
    builds are not touched. It takes the processor only when nobody else wants it.
    """
    report = context.index.compact(index)
    if report.published:
        context.log.info(
            "index %s: merged %d segments, %d now; generation %d",
            index,
            report.merged,
            report.segments,
            report.generation,
        )
    return CompactResult(
        report.index,
        report.generation,
        report.version,
        report.published,
        report.merged,
        report.segments,
        report.note,
    )
