"""Batches in, a published version out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from runtime.context import BuildReport, Context
from runtime.errors import FunctionNotFound

from ._indexes import batches_of_parents, of_parents

MIGRATE = "migrate_index"


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
    published. Where an index has become many small pieces, or much of it is dead, `compact_index` is called.
    """
    names = of_parents(context, index)
    reports = []
    for name in names:
        report = context.index.build(name, batches_of_parents(context, name))
        if not report.generation and not report.warnings:  # a name may be mistyped
            report = replace(report, warnings=(f"There is nothing to build: nothing was embedded for index {name}.",))
        for warning in report.warnings:
            context.log.warning("%s", warning)
        if report.late:
            _embed_again(report, context)
        context.log.info(
            "index %s: %s generation %d with %d vectors of %d documents",
            name,
            "published" if report.published else "nothing new since",
            report.generation,
            report.vectors,
            report.documents,
        )
        if report.crowded:
            _compact(name, context)
        reports.append(report)
    first, *others = reports
    return BuildResult(*_fields(first), also=[IndexBuild(*_fields(report)) for report in others])


def _compact(index: str, context: Context) -> None:
    try:
        context.submit("compact_index", index=index, options={"deadline": None})  # whatever this call's time is
    except FunctionNotFound:
        context.log.info("index %s could do with a compaction, but functions.yaml declares no compact_index", index)


def _embed_again(report: BuildReport, context: Context) -> None:
    """Bring what came in another model's vectors to the index's own."""
    context.log.info("index %s: %d batches are embedded again with its model", report.index, report.late)
    try:
        context.submit(MIGRATE, index=report.index)
    except FunctionNotFound as error:
        context.log.warning("index %s: that needs the function %s in functions.yaml: %s", report.index, MIGRATE, error)


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
