"""Rows of JSONL, CSV and Parquet files, one after the other: memory does not grow with the file."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from runtime.errors import BadInput

from ._source import Source
from ._source_rows import Problems, at_once

LINE_LIMIT = 16 * 2**20
"""Bytes of a line. A longer one is left out, and read over in pieces."""

Placed = tuple[int, dict[str, Any]]
"""The number of a row (for people: the line where it ends) and its columns."""


def rows(file: BinaryIO, key: str, source: Source, problems: Problems) -> Iterator[Placed]:
    """The rows of a file; bad ones go into `problems`. Raises BadInput where the file is no such file."""
    kind = source.format_of(key)
    if kind == "parquet":
        yield from _parquet(file, source)
        return
    packed = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if key.lower().endswith(".gz") else file
    try:
        lines = Lines(packed, key, problems)
        yield from _jsonl(lines, key, problems) if kind == "jsonl" else _csv(lines, key, source, problems)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{key} is damaged: it cannot be unpacked ({error}). Write it again.") from error


class Lines:
    """The lines of a file, each within the limit. `number` is that of the line that came last."""

    def __init__(self, file: BinaryIO, key: str, problems: Problems) -> None:
        self._file, self._key, self._problems = file, key, problems
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._file.readline(LINE_LIMIT + 1):
            self.number += 1
            if len(line) <= LINE_LIMIT:
                yield self._first(line) if self.number == 1 else line
                continue
            self._problems.add(f"{self._key} line {self.number}", f"is over {LINE_LIMIT // 2**20} MiB long.")
            while line and not line.endswith(b"\n"):
                line = self._file.readline(LINE_LIMIT + 1)

    def _first(self, line: bytes) -> bytes:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise BadInput(f"{self._key} is in UTF-16, which is not read line by line. Save it as UTF-8.")
        return line.removeprefix(codecs.BOM_UTF8)


def _jsonl(lines: Lines, key: str, problems: Problems) -> Iterator[Placed]:
    for line in lines:
        if not line.strip():
            continue
        place = f"{key} line {lines.number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(place, f"is not JSON ({error}).")
            continue
        if isinstance(row, dict):
            yield lines.number, row
        else:
            problems.add(place, f"is JSON, but no object: {str(row)[:40]!r}.")


def _csv(lines: Lines, key: str, source: Source, problems: Problems) -> Iterator[Placed]:
    tabs = source.delimiter == "," and key.lower().removesuffix(".gz").endswith(".tsv")
    # The limit of a field is one of the process, and by default so low that a long text is refused.
    csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT))
    decoded = (line.decode(source.encoding, "surrogateescape") for line in lines)
    reader = csv.reader(decoded, delimiter="\t" if tabs else source.delimiter)
    header: list[str] | None = None
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(f"{key} line {lines.number}", f"is not CSV ({error}).")
            continue
        if not row:
            continue
        place = f"{key} line {lines.number}"
        if header is None:
            header = [name.strip() for name in row]
            _check(header, source, _delimiter_of(header))
        elif len(row) == len(header):
            if any(not value.isprintable() and _broken(value) for value in row):
                problems.add(place, f"is not in {source.encoding}. Name its encoding, like encoding: latin-1.")
            else:
                yield lines.number, dict(zip(header, row, strict=True))
        else:
            problems.add(place, f"has {len(row)} columns, the header has {len(header)}.")


def _broken(value: str) -> bool:
    """Whether a character of it is a byte that could not be decoded."""
    return any("\ud800" <= one <= "\udfff" for one in value)


def _parquet(file: BinaryIO, source: Source) -> Iterator[Placed]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise BadInput("Parquet files need pyarrow. Install it with: pip install 'tundish[delta]'.") from error

    try:
        opened = parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
        _check(opened.schema_arrow.names, source)
        number = 0
        groups = [opened.metadata.row_group(group) for group in range(opened.metadata.num_row_groups)]
        most = at_once(opened.metadata.num_rows, sum(group.total_byte_size for group in groups))
        for batch in opened.iter_batches(most, columns=source.columns, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk: no fault of the file
            raise
        raise BadInput(f"The file cannot be read as Parquet: {str(error)[:200]}. Write it again.") from error


def _check(names: list[str], source: Source, hint: str = "") -> None:
    if missing := [name for name in source.columns if name not in names]:
        told = ", ".join(names[:20]).encode("utf-8", "replace").decode()
        raise BadInput(f"The file has no column {missing[0]!r}; it has {told or 'none'}.{hint}")


def _delimiter_of(header: list[str]) -> str:
    """A word on the delimiter, where the whole header seems to be one column."""
    found = next((one for one in ";\t|," if len(header) == 1 and one in header[0]), "")
    return f" Is its delimiter {found!r}? Then say so: delimiter: {found!r}." if found else ""
