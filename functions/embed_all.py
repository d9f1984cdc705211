"""Everything that a bucket prefix, a set of files or a table holds into the index: batches side by side, one build."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from runtime.context import Context
from runtime.errors import BadInput, CallFailed

from ._source import Source
from ._source_known import Known, Memory
from ._source_parts import Cutter, Parts, Plan, cutting
from ._source_plan import SUFFIXES, Rows, plan_objects

IN_FLIGHT, MOST_IN_FLIGHT = 8, 10_000
_Look = Callable[[Plan, Cutter, Context], None]
_QUIET = {"chain": False}  # one build at the end, not one a batch
_NAMED = 100


@dataclass(frozen=True, slots=True)
class EmbedAllResult:
    """`total_docs` documents are in the index now, `failed` could not be read; `total_time` is in seconds.

    `skipped`: objects of a kind that is not read. `version`: the index's version after the build. `unchanged`: of the
    total, rows that did not have to be read, as their source says that they are as they were; `docs_per_second` is of
    the others. `removed`: rows that have left the source and the index. `problems`: the first of what failed, in words.
    """

    total_docs: int
    total_time: float
    docs_per_second: float
    failed: int
    skipped: int
    batches: int
    version: str
    unchanged: int = 0
    removed: int = 0
    problems: list[str] = field(default_factory=list)


def embed_all(
    bucket: str = "documents",
    prefix: str = "",
    index: str = "default",
    source: Source | None = None,
    full: bool = False,
    suffix: list[str] | None = None,
    in_flight: int = IN_FLIGHT,
    *,
    context: Context,
) -> EmbedAllResult:
    """Embed every object of `bucket` under `prefix`, or every row of a `source`, and build the index once.

    What was embedded before is found again by its content and costs a read; files and tables that are as they were
    are not even read, unless `full` says so. Rows that left their source leave the index. `suffix`: of which objects,
    `[".py"]`; without it those of text, HTML, PDF, Office and e-mail. `in_flight`: batches that are out at a time; as
    many processes work for this run at most. Raises BadInput.
    """
    if not 1 <= in_flight <= MOST_IN_FLIGHT:
        raise BadInput(f"'in_flight' is how many batches are out at a time, 1 to {MOST_IN_FLIGHT}; found {in_flight}.")
    if source is not None:
        source.check()
        if prefix or suffix:
            raise BadInput("'prefix' and 'suffix' are of objects; which files a source has, its 'objects' say.")
    parts = Parts(context.store, index, context.id)
    plan = parts.plan()
    if plan is None:
        plan = Plan()
        listing = partial(plan_objects, bucket, prefix, suffix or SUFFIXES)
        _fill(plan, parts, listing if source is None else _rows(bucket, index, source, full, context), context)
    done = _Done(plan)
    context.progress(0, plan.documents, "documents")
    items = ({"part": parts.name(number), "index": index} for number in range(len(plan.batches)))
    answers = context.map(
        "embed_batch", items, in_flight=in_flight, failures=True, amounts=plan.batches, options=_QUIET
    )
    for answer, documents in zip(answers, plan.batches, strict=False):  # a run that died at its very end has no plan
        for result, count in _to_its_end(answer, documents, context):
            done.add(result, count)
    context.progress(plan.documents, plan.documents, "documents; the index is built")
    built = context.call("build_index", index=index) if plan.batches else None
    context.log.info("%d documents embedded, %d failed", done.documents, done.failed)
    if source is not None and plan.known is not None and plan.before is not None and not done.broken:
        Memory(context, index, source, bucket).save(Known.of(plan.known), Known.of(plan.before))
    version = _version(built, index, context)
    parts.remove(plan)
    seconds = time.time() - context.accepted
    return EmbedAllResult(
        total_docs=done.documents + plan.unchanged,
        total_time=round(seconds, 3),
        docs_per_second=round(done.documents / seconds, 2) if seconds else 0.0,
        failed=done.failed,
        skipped=plan.skipped,
        batches=len(plan.batches),
        version=version,
        unchanged=plan.unchanged,
        removed=plan.removed,
        problems=done.problems[:_NAMED],
    )


def _rows(bucket: str, index: str, source: Source, full: bool, context: Context) -> _Look:
    """How to look through the rows of a source."""
    memory = Memory(context, index, source, bucket)
    known = memory.load()
    if full or context.index.current(index) is None:  # of what nothing is there, nothing is known
        known.mapping = ""
    return lambda plan, cutter, context: Rows(source, bucket, memory, plan, context).plan(known, cutter)


def _fill(plan: Plan, parts: Parts, look: _Look, context: Context) -> None:
    """Look through the source and lay down the batches, once a run."""
    parts.remove_stale()
    with cutting(parts, plan) as cutter:
        look(plan, cutter, context)
    parts.seal(plan)
    for problem in plan.problems:
        context.log.warning("%s", problem)


class _Done:
    """What became of the batches."""

    def __init__(self, plan: Plan) -> None:
        self.documents = 0
        self.failed = plan.bad
        self.problems = list(plan.problems)
        self.broken = False
        """A batch did not end well: the next run has to look at the same again."""

    def add(self, result: Any, count: int) -> None:
        if isinstance(result, CallFailed):
            self.failed += count
            self.problems.append(str(result))
            self.broken = True
            return
        self.documents += result["documents"]
        self.failed += len(result["failed"])
        self.problems += [one["reason"] for one in result["failed"][:_NAMED] if "reason" in one]


def _to_its_end(result: Any, count: int, context: Context) -> Iterator[tuple[Any, int]]:
    """The result of a batch, and of the invocations that it handed the rest of its work to, with their documents."""
    while True:
        yield result, count
        if isinstance(result, CallFailed) or (task := result.get("deferred_to")) is None:
            return
        count = len(result.get("deferred", ()))
        result = next(context.wait(task, failures=True))


def _version(built: Any, index: str, context: Context) -> str:
    if isinstance(built, dict) and built.get("version"):
        return str(built["version"])
    current = context.index.current(index)
    return current.version if current else ""
