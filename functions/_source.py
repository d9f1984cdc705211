"""Which rows `embed_all` embeds, as it is written in functions.yaml and over HTTP."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

from runtime.errors import BadInput

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
_KINDS = ("jsonl", "csv", "parquet")
_SCHEMES = ("s3://", "s3a://", "file://")
_TAKEN = frozenset({"failed", "passing"})
"""What the rows of an index say of themselves."""


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of files, or of a Delta Lake table: one document each.

    `objects`: files in the bucket, `exports/*.jsonl` (`*` within a folder, `**` below it, or a prefix that ends in
    `/`). `delta`: a table, by its folder in the bucket, as s3://BUCKET/FOLDER, or as an absolute path on the disk.
    `text`: the column with the text; of several, the texts are put together. `id`: the column that names a row; files
    may do without. `metadata`: columns that searches can ask for, or {name: column}. `id_prefix` is put before every
    id. `format`: jsonl, csv or parquet, where the suffix does not say. `delimiter` and `encoding` are of CSV files.
    """

    text: str | list[str]
    objects: str = ""
    delta: str = ""
    id: str = ""
    metadata: list[str] | dict[str, str] = field(default_factory=list)
    id_prefix: str = ""
    format: str = ""
    delimiter: str = ","
    encoding: str = "utf-8"

    @property
    def texts(self) -> list[str]:
        return [self.text] if isinstance(self.text, str) else list(self.text)

    @property
    def kept(self) -> Mapping[str, str]:
        """Name → column of what is kept as metadata."""
        if isinstance(self.metadata, Mapping):
            return self.metadata
        return {name: name for name in self.metadata}

    @property
    def columns(self) -> list[str]:
        """Every column that is read, once."""
        return list(dict.fromkeys([*self.texts, *([self.id] if self.id else []), *self.kept.values()]))

    def table(self, bucket: str) -> str:
        """Where the table is: a path, or a URI of the store."""
        place = self.delta.removeprefix("file://").rstrip("/")
        if place.startswith("/"):
            return place
        return place.replace("s3a://", "s3://", 1) if "://" in place else f"s3://{bucket}/{place}"

    def place(self, bucket: str) -> str:
        """What tells this source from others."""
        return self.table(bucket) if self.delta else f"{bucket}/{self.objects}"

    def check(self) -> None:
        """Raises BadInput with everything that is wrong."""
        if found := list(self._wrong()):
            raise BadInput(f"source: {' '.join(found)}")

    def format_of(self, key: str) -> str:
        """jsonl, csv or parquet; empty for a file of another kind."""
        if self.format:
            return self.format
        return FORMATS.get(PurePosixPath(key.lower().removesuffix(".gz")).suffix, "")

    def matches(self, key: str) -> bool:
        return _pattern(self.objects).fullmatch(key) is not None

    @property
    def prefix(self) -> str:
        """With what the keys of all objects of this source begin."""
        return re.split(r"[*?]", self.objects, maxsplit=1)[0]

    def _wrong(self) -> Iterator[str]:
        if bool(self.objects) == bool(self.delta):
            found = "both" if self.objects else "neither"
            yield f"It names {found} of 'objects' and 'delta'. Give one: objects: exports/*.jsonl, delta: tables/sales."
        if "://" in self.objects or self.objects.startswith("/"):
            yield f"'objects' is {self.objects!r}; give the bucket as `bucket`, and here what comes behind it."
        if "://" in self.delta and not self.delta.startswith(_SCHEMES):
            yield f"'delta' is {self.delta!r}; tables are read from the store (s3://) and from the disk (file://)."
        if not self.texts or not all(self.texts):
            yield "'text' names no column. Name the one with the text, or a list of them."
        if self.delta and not self.id:
            yield "A table needs 'id': the column by which a changed or deleted row is found again."
        if self.format and self.format not in _KINDS:
            yield f"'format' is {self.format!r}; it is one of {', '.join(_KINDS)}."
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            yield f"'delimiter' is {self.delimiter!r}; it is one character, and no quote or line end."
        if not _is_encoding(self.encoding):
            yield f"'encoding' is {self.encoding!r}, which cannot be read line by line; write one like latin-1."
        if taken := sorted(_TAKEN & set(self.kept)):
            yield f"'metadata' has the name {taken[0]!r}, which is taken; keep it as {{was_{taken[0]}: {taken[0]}}}."
        if not all(self.kept) or not all(self.kept.values()):
            yield "'metadata' has an empty name."


def _is_encoding(name: str) -> bool:
    try:
        return "\n".encode(codecs.lookup(name).name) == b"\n"  # lines are found before they are decoded
    except (LookupError, ValueError, TypeError):
        return False


@lru_cache(64)
def _pattern(glob: str) -> re.Pattern[str]:
    if glob.endswith("/"):
        glob += "**"
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts), re.DOTALL)
