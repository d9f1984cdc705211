"""Batches in, a published version out."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.context import BuildReport, Context

from ._indexes import batches_of_parents, of_parents


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """A version of an index. `published`: this call made it; generation 0 means that there is none yet."""

    index: str
    generation: int
    version: str
    published: bool
    vectors: int
    documents: int
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class BuildResult(IndexBuild):
    """The build of one index; of further ones, where the calls before this one wrote to several, in `also`."""

    also: list[IndexBuild] = field(default_factory=list)


def build_index(index: str = "default", *, context: Context) -> BuildResult:
    """Publish every committed batch. After other functions: of the indexes that their results name.

    Batches that are missing or damaged are named in `warnings`; the others are published. Nothing new, nothing
    published.
    """
    names = of_parents(context, index)
    reports = []
    for name in names:
        report = context.index.build(name, batches_of_parents(context, name))
        for warning in report.warnings:
            context.log.warning("%s", warning)
        context.log.info(
            "index %s: %s generation %d with %d vectors of %d documents",
            name,
            "published" if report.published else "nothing new since",
            report.generation,
            report.vectors,
            report.documents,
        )
        reports.append(report)
    first, *others = reports
    return BuildResult(*_fields(first), also=[IndexBuild(*_fields(report)) for report in others])


def _fields(report: BuildReport) -> tuple[str, int, str, bool, int, int, list[str]]:
    return (
        report.index,
        report.generation,
        report.version,
        report.published,
        report.vectors,
        report.documents,
        list(report.warnings),
    )
