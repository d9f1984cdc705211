"""A Delta Lake table as a source: its rows, or only those that changed since a version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.context import Context, Store
from runtime.errors import BadInput

from ._source import Source
from ._source_rows import BadRow, at_once, named

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

CHANGES_LIMIT = 1_000_000
"""Changed rows whose ids are held in memory; after more than that the table is read whole."""

_SCANNED = frozenset({"deletionVectors", "columnMapping"})
"""Features of tables that are read by the library's own engine: its files alone do not say what is in them."""

_HERE = ("insert", "update_postimage")
_NEEDED = "A Delta Lake table needs the package deltalake. Install it with: pip install 'tundish[delta]'."

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of a table since a version: rows that came or changed, and the ids of those that may have gone."""

    rows: Iterator[Row]
    gone: frozenset[str]


class Table:
    """A table as it is now, at one version. Raises BadInput where it cannot be read."""

    def __init__(self, source: Source, bucket: str, context: Context) -> None:
        self._source, self._log = source, context.log
        self._open = _opener(source.table(bucket), context.store)
        with _read(source.delta):
            self._now = self._open(None)
            self.version = int(self._now.version())
            self.identity = str(self._now.metadata().id)
            self._scanned = bool(_SCANNED & set(self._now.protocol().reader_features or ()))
            names = [field.name for field in self._now.schema().fields]
        if missing := [name for name in source.columns if name not in names]:
            raise BadInput(f"The table {source.delta} has no column {missing[0]!r}; it has {', '.join(names[:20])}.")

    def rows(self) -> Iterator[Row]:
        """All rows."""
        if not self._scanned:
            yield from self._of(self._now, self._source.columns, lambda _: True)
            return
        import pyarrow as pa

        with _read(self._source.delta):
            for batch in pa.RecordBatchReader.from_stream(self._now.scan(columns=self._source.columns)):
                yield from _decoded(batch)

    def changes(self, since: int) -> Changes | None:
        """What is different from the version `since`; None where that cannot be told any more."""
        if since > self.version or self._scanned:
            return None
        if self._now.metadata().configuration.get("delta.enableChangeDataFeed") == "true":
            try:
                return self._from_feed(since)
            except Exception as error:  # noqa: BLE001 (a Rust panic and a plain Exception among them)
                self._log.info("%s has no change feed since version %d: %s", self._source.delta, since, error)
        try:
            return self._from_files(since)
        except Exception as error:  # noqa: BLE001
            self._log.warning("%s is read whole, version %d is gone: %s", self._source.delta, since, error)
            return None

    def _from_feed(self, since: int) -> Changes | None:
        """By the change data feed. First the last change of every row, then the rows themselves."""
        import pyarrow as pa

        def feed(*columns: str) -> Iterator[Row]:
            asked = [*columns, "_change_type", "_commit_version"]
            with _read(self._source.delta):
                for batch in pa.RecordBatchReader.from_stream(
                    self._now.load_cdf(since + 1, self.version, columns=asked)
                ):
                    yield from _decoded(batch)

        if since == self.version:
            return Changes(iter(()), frozenset())
        last: dict[str, tuple[int, bool]] = {}
        for row in feed(self._source.id):
            if (key := self._id(row)) is None or row["_change_type"] == "update_preimage":
                continue
            change = (row["_commit_version"], row["_change_type"] in _HERE)
            last[key] = max(change, last.get(key, change))  # in one commit, what was put in counts
            if len(last) > CHANGES_LIMIT:
                return None

        def rows() -> Iterator[Row]:
            for row in feed(*self._source.columns):
                version, kind, key = row["_commit_version"], row["_change_type"], self._id(row)
                if kind in _HERE and (key is None or last.get(key) == (version, True)):
                    yield row

        return Changes(rows(), frozenset(key for key, (_, here) in last.items() if not here))

    def _from_files(self, since: int) -> Changes | None:
        """By the files that came and went: they also hold rows that are as they were."""
        old = self._open(since)
        before, now = _paths(old), _paths(self._now)
        gone: set[str] = set()
        for row in self._of(old, [self._source.id], (before - now).__contains__):
            if key := self._id(row):
                gone.add(key)
            if len(gone) > CHANGES_LIMIT:
                return None
        fresh = now - before
        for row in self._of(self._now, [self._source.id], fresh.__contains__):
            gone.discard(self._id(row) or "")
        return Changes(self._of(self._now, self._source.columns, fresh.__contains__), frozenset(gone))

    def _of(self, table: DeltaTable, columns: list[str], wanted: Callable[[str], bool]) -> Iterator[Row]:
        """The rows of some files of a version."""
        with _read(self._source.delta):
            dataset = table.to_pyarrow_dataset()
            for fragment in sorted(dataset.get_fragments(), key=lambda one: str(one.path)):
                if not wanted(fragment.path):
                    continue
                found = fragment.metadata
                size = sum(found.row_group(group).total_byte_size for group in range(found.num_row_groups))
                most = at_once(found.num_rows, size)
                for batch in fragment.to_batches(
                    dataset.schema, columns=columns, batch_size=most, batch_readahead=1, use_threads=False
                ):
                    yield from batch.to_pylist()

    def _id(self, row: Row) -> str | None:
        try:
            return self._source.id_prefix + named(self._source, row)
        except BadRow:
            return None


def _decoded(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch, some at a time."""
    most = at_once(batch.num_rows, batch.nbytes)
    for part in range(0, batch.num_rows, most):
        yield from batch.slice(part, most).to_pylist()


def _paths(table: DeltaTable) -> set[str]:
    return {str(fragment.path) for fragment in table.to_pyarrow_dataset().get_fragments()}


def _opener(place: str, store: Store) -> Callable[[int | None], DeltaTable]:
    try:
        import pyarrow  # noqa: F401
        from deltalake import DeltaTable
    except ImportError as error:
        raise BadInput(_NEEDED) from error
    if place.startswith("/"):
        return lambda version: DeltaTable(place, version=version)
    found = store.connection()
    options = {
        "AWS_ACCESS_KEY_ID": found["access_key"],
        "AWS_SECRET_ACCESS_KEY": found["secret_key"],
        "AWS_REGION": found["region"],
        "AWS_ENDPOINT_URL": found["endpoint"],
        "AWS_ALLOW_HTTP": "true",
    }
    return lambda version: DeltaTable(place, version=version, storage_options=options)


@contextmanager
def _read(place: str) -> Iterator[None]:
    """Errors of the library as sentences."""
    import pyarrow as pa
    from deltalake.exceptions import DeltaError, DeltaProtocolError, TableNotFoundError

    try:
        yield
    except TableNotFoundError as error:
        raise BadInput(f"There is no Delta Lake table at {place}. Check the folder and the bucket.") from error
    except DeltaProtocolError as error:
        raise BadInput(f"The table {place} uses a feature that cannot be read here: {str(error)[:300]}") from error
    except (DeltaError, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise BadInput(f"The table {place} cannot be read: {str(error)[:300]}") from error
