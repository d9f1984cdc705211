"""CSV files of any size in, Parquet files out: `sales/may.csv` becomes `parquet/sales/may.csv.parquet`."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from runtime.context import Context, ObjectEvent
from runtime.errors import BadInput, ObjectMissing

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 4 * 2**20
"""Bytes of text that are parsed at once."""

GROUP = 32 * 2**20
"""Bytes of columns that become one row group of the Parquet file."""

_COLUMN = re.compile(r"In CSV column #(\d+):")


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet file that was written: its key, how many rows it has, and the type of each column."""

    key: str
    rows: int
    columns: dict[str, str]


@dataclass(frozen=True, slots=True)
class Failed:
    """A CSV file that has no Parquet file. `reason` names the cause and the mend."""

    bucket: str
    key: str
    etag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a batch."""

    written: list[Table] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


def csv_to_parquet(
    objects: list[ObjectEvent],
    prefix: str = "parquet/",
    delimiter: str = ",",
    encoding: str = "utf-8",
    text: list[str] | None = None,
    *,
    context: Context,
) -> Converted:
    """Write each CSV file (`.csv`, `.csv.gz`) as Parquet under `prefix` in its own bucket.

    The first row names the columns; their types are found in the values, but for the columns in `text` (numbers that
    are names, like 00123). A file that is removed takes its Parquet file along; one that cannot be read loses it,
    is listed in `failed`, and holds no other up. Memory does not grow with the file; the disk holds both for a while.
    """
    done = Converted()
    for found in objects:
        key = f"{prefix}{found.key}.parquet"
        if found.event == "removed":
            context.store.delete(found.bucket, key)
            done.removed.append(key)
            continue
        # Files without a name: a process that is killed leaves nothing on the disk.
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
            try:
                context.store.download(found.bucket, found.key, source)
                converter = Converter(source, found.key.lower().endswith(".gz"), delimiter, encoding, text or [])
                rows, schema = converter.write(target, context)
                size = target.seek(0, os.SEEK_END)
                target.seek(0)
                context.store.put_stream(found.bucket, key, target, size, "application/vnd.apache.parquet")
            except ObjectMissing:
                continue  # gone meanwhile: the trigger tells of that, too
            except BadInput as error:
                context.store.delete(found.bucket, key)
                done.failed.append(Failed(found.bucket, found.key, found.etag or "", f"{found.key}: {error}"))
                continue
        columns = {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}
        done.written.append(Table(key, rows, columns))
    return done


class Converter:
    """One CSV file on disk, and how it is to be read."""

    def __init__(self, source: BinaryIO, packed: bool, delimiter: str, encoding: str, text: list[str]) -> None:
        self._source, self._packed, self._delimiter, self._encoding = source, packed, delimiter, encoding
        self._text = text

    def write(self, target: BinaryIO, context: Context) -> tuple[int, pa.Schema]:
        """Write `target`; returns its number of rows and its schema. Raises BadInput.

        Types are guessed from the first block. Where a later value does not fit, that column gets a wider type
        (whole number → number → text) and the file is read again.
        """
        import pyarrow as pa

        types: dict[str, Any] = {name: pa.string() for name in self._text}
        while True:
            schema: Any = None
            self._source.seek(0)
            target.seek(0)
            target.truncate()
            try:
                with self._open(types) as reader:
                    schema = reader.schema
                    self._check(schema)
                    return _write(reader, schema, target, context), schema
            except (pa.ArrowInvalid, UnicodeError, LookupError, OSError) as error:
                if isinstance(error, OSError) and error.errno:  # the disk is full: no fault of the file
                    raise
                widened = _widened(schema, error)
                if not widened:
                    raise BadInput(f"The file cannot be read as CSV. {error}") from error
                types |= widened

    def _open(self, types: Mapping[str, Any]) -> Any:
        import pyarrow as pa
        from pyarrow import csv

        # One thread: how much of the machine conversions may take is what the queue's concurrency says.
        return csv.open_csv(
            pa.input_stream(self._source, compression="gzip" if self._packed else None),
            read_options=csv.ReadOptions(block_size=BLOCK, use_threads=False, encoding=self._encoding),
            parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=dict(types), strings_can_be_null=False),
        )

    def _check(self, schema: Any) -> None:
        import pyarrow as pa

        if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
            raise BadInput(f"Two columns have the name {twice[0]!r}. Rename one of them.")
        if missing := sorted(set(self._text) - set(schema.names)):
            raise BadInput(
                f"There is no column {missing[0]!r}, which `text` names; there are {', '.join(schema.names)}."
            )
        if any(pa.types.is_binary(kind) for kind in schema.types):
            raise BadInput(f"The file is not in {self._encoding}. Name its encoding, for example encoding: latin-1.")


def _write(reader: Any, schema: Any, target: BinaryIO, context: Context) -> int:
    from pyarrow import parquet

    rows = 0
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for table in _groups(reader, schema):
            writer.write_table(table)
            rows += table.num_rows
            context.progress(rows, message="rows")
    return rows


def _groups(reader: Any, schema: Any) -> Iterator[Any]:
    """Batches joined into tables of about GROUP bytes: one row group a block would make a slow file."""
    import pyarrow as pa

    batches: list[Any] = []
    for batch in reader:
        batches.append(batch)
        if sum(one.nbytes for one in batches) >= GROUP:
            yield pa.Table.from_batches(batches, schema)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches, schema)


def _widened(schema: Any, error: BaseException) -> dict[str, Any]:
    """The column whose value did not fit, with its next wider type; empty where the error is another one."""
    import pyarrow as pa

    match = _COLUMN.search(str(error))
    if match is None or schema is None or int(match[1]) >= len(schema):
        return {}
    column = schema.field(int(match[1]))
    if pa.types.is_string(column.type):
        return {}
    if pa.types.is_null(column.type):
        return {column.name: pa.int64()}
    return {column.name: pa.float64() if pa.types.is_integer(column.type) else pa.string()}
