"""From a source to the batches of one run: every object of a prefix, every row of files, what changed in a table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from runtime.context import Context, ObjectInfo
from runtime.errors import BadInput, ObjectMissing

from ._source import Source
from ._source_delta import Table
from ._source_files import rows
from ._source_known import IDS_LIMIT, Known, Memory, Unit
from ._source_parts import Cutter, Plan
from ._source_rows import BadRow, Problems, document

SUFFIXES = (
    *(".txt", ".text", ".md", ".markdown", ".rst", ".html", ".htm", ".xhtml"),
    *(".pdf", ".docx", ".pptx", ".xlsx", ".epub", ".eml"),
)
"""Objects that are documents where nothing else is asked for: no source code, tables or pictures."""

_REPORT_ROWS = 1000
_THEM_ALL = (
    "more than {:,} rows: those that leave the source stay in the index, and an id that is there twice is not told"
)


def listed(bucket: str, prefix: str, context: Context) -> Iterator[ObjectInfo]:
    """Every object. Raises BadInput for an unknown bucket."""
    try:
        yield from context.store.list(bucket, prefix)
    except ObjectMissing as error:
        raise BadInput(f"There is no bucket {bucket}. Create it, or name another one.") from error


def plan_objects(
    bucket: str, prefix: str, suffixes: Sequence[str], plan: Plan, cutter: Cutter, context: Context
) -> None:
    """Every object under a prefix that has one of these suffixes (`.py`, or `py`)."""
    wanted = {f".{suffix.lower().removeprefix('.')}" for suffix in suffixes}
    found = False
    for item in listed(bucket, prefix, context):
        if PurePosixPath(item.key).suffix.lower() in wanted:
            found = True
            told = {"bucket": item.bucket, "key": item.key, "etag": item.etag, "size": item.size}
            cutter.object(told, item.size)
        elif not item.key.endswith("/"):  # the marker of a folder is no document
            plan.skipped += 1
    if not found and (prefix or plan.skipped):
        under = f" under {prefix}" if prefix else ""
        others = f"; {plan.skipped} objects are none of {', '.join(sorted(wanted))}" if plan.skipped else ""
        plan.problems.append(f"There is no document{under} in the bucket {bucket}{others}.")


class Rows:
    """The rows of one source into one plan."""

    def __init__(self, source: Source, bucket: str, memory: Memory, plan: Plan, context: Context) -> None:
        self._source, self._bucket, self._memory, self._plan = source, bucket, memory, plan
        self._context = context
        self._problems = Problems()
        self._seen: set[str] | None = set()
        """The ids of this run, unless they are too many."""
        self._read = 0

    def plan(self, known: Known, cutter: Cutter) -> None:
        """Lay down what has changed since `known`; the plan says what is known then. Raises BadInput."""
        units = self._table(known, cutter) if self._source.delta else self._files(known, cutter)
        self._plan.known = Known(self._memory.mapping, units).plain()
        self._plan.before = known.plain()
        self._plan.bad, self._plan.problems = self._problems.count, self._problems.named

    def _files(self, known: Known, cutter: Cutter) -> dict[str, Unit]:
        units: dict[str, Unit] = {}
        left: list[Unit] = []
        """What was known of files that are others now, or gone."""
        for item in listed(self._bucket, self._source.prefix, self._context):
            if not self._source.matches(item.key) or item.key.endswith("/"):
                continue
            if not self._source.format_of(item.key):
                self._plan.skipped += 1
                continue
            before = known.units.get(item.key)
            if before and before.etag == item.etag and known.mapping == self._memory.mapping:
                units[item.key] = before
                self._plan.unchanged += before.rows
                continue
            units[item.key] = self._file(item, before, cutter)
            if before and units[item.key] is not before:
                left.append(before)
        left += [unit for key, unit in known.units.items() if key not in units]
        if known.units and not units:
            self._context.log.warning("there is no file like %s any more: its rows stay", self._source.objects)
            return dict(known.units)
        if not units:
            other = f"; {self._plan.skipped} are neither JSONL, CSV nor Parquet by their name: give 'format'"
            self._problems.tell(
                f"There is no file like {self._source.objects} in the bucket {self._bucket}"
                f"{other if self._plan.skipped else ''}."
            )
        self._leave(left, units, cutter)
        return units

    def _file(self, item: ObjectInfo, before: Unit | None, cutter: Cutter) -> Unit:
        """The rows of a file. Of one that cannot be read everything stays as it was."""
        ids: set[str] = set()
        count = 0
        # A file without a name: a process that is killed leaves nothing on the disk.
        with tempfile.TemporaryFile() as file:
            try:
                self._context.store.download(item.bucket, item.key, cast(BinaryIO, file))
                file.seek(0)
                for number, row in rows(cast(BinaryIO, file), item.key, self._source, self._problems):
                    place = f"{item.key} {'row' if item.key.endswith('.parquet') else 'line'} {number}"
                    if key := self._row(row, f"{item.key}#{number}", place, cutter):
                        self._note(ids, key)
                        count += 1
            except (BadInput, ObjectMissing) as error:
                self._problems.add(item.key, f"cannot be read. {error}")
                return before or Unit(rows=count, ids=self._kept(ids))  # its etag says that it is to be read again
        return Unit(item.etag, 0, count, self._kept(ids))

    def _table(self, known: Known, cutter: Cutter) -> dict[str, Unit]:
        table = Table(self._source, self._bucket, self._context)
        before = known.units.get("")
        if before is None or before.etag != table.identity:  # another table in the place of the one that was there
            before = None
        known_well = before is not None and known.mapping == self._memory.mapping
        if before and known_well and before.version == table.version:
            self._plan.unchanged += before.rows
            return {"": before}
        ids = self._memory.ids(before)
        changes = table.changes(before.version) if before and known_well else None
        fresh, count = self._all(table.rows() if changes is None else changes.rows, cutter)
        if changes is None:
            gone = (ids or set()) - fresh if self._seen is not None else set()
            kept: set[str] | None = fresh
        else:
            gone = set(changes.gone if ids is None else changes.gone & ids) - fresh
            kept = None if ids is None else (ids - gone) | fresh
            rest = before.rows if before and kept is None else len(kept or ())
            self._plan.unchanged += max(0, rest - count)
            count = rest
        self._remove(gone, cutter)
        return {"": Unit(table.identity, table.version, count, "" if kept is None else self._kept(kept))}

    def _all(self, found: Iterator[Mapping[str, Any]], cutter: Cutter) -> tuple[set[str], int]:
        """The ids of rows of a table, and how many they are."""
        ids: set[str] = set()
        count = 0
        for number, row in enumerate(found, 1):
            name = row.get(self._source.id)
            if key := self._row(row, str(number), f"{self._source.delta} row {name!r:.100}", cutter):
                count += 1
                self._note(ids, key)
        return ids, count

    def _note(self, ids: set[str], key: str) -> None:
        if self._seen is not None:
            ids.add(key)

    def _row(self, row: Mapping[str, Any], default: str, place: str, cutter: Cutter) -> str:
        """One row; its id, or nothing where it is bad."""
        self._read += 1
        if self._read % _REPORT_ROWS == 0:
            self._context.progress(self._read, message="rows read")
        try:
            made = document(self._source, row, default)
            key: str = made["id"]
            if self._seen is not None:
                if key in self._seen:
                    raise BadRow(f"has the id {key[:100]!r} of a row before it; the first one counts.")
                self._seen.add(key)
                if len(self._seen) > IDS_LIMIT:
                    self._context.log.warning(_THEM_ALL.format(IDS_LIMIT))
                    self._seen = None
        except BadRow as error:
            self._problems.add(place, str(error))
            return ""
        cutter.document(made)
        return key

    def _kept(self, ids: set[str]) -> str:
        """Where the ids are kept; nowhere if they are too many."""
        return self._memory.put_ids(ids) if self._seen is not None else ""

    def _leave(self, left: list[Unit], units: dict[str, Unit], cutter: Cutter) -> None:
        """Rows that are in no file any more leave the index."""
        if not left or self._seen is None:
            return
        gone = set().union(*(self._memory.ids(unit) or () for unit in left)) - self._seen
        for unit in units.values():
            if gone and unit not in left:  # it may have gone over to a file that is as it was
                gone -= self._memory.ids(unit) or set()
        self._remove(gone, cutter)

    def _remove(self, gone: set[str], cutter: Cutter) -> None:
        for key in sorted(gone):
            cutter.object({"bucket": "", "key": key, "event": "removed"})
        self._plan.removed = len(gone)
