"""lexical.tar: the words of a segment, tantivy's folder as one file. It is written with the segment and unpacked beside
its files once on each host, to be mapped.

A text is cut into words of letters and digits, without accents and capitals, by their English stems.
"""

from __future__ import annotations

import shutil
from hashlib import sha256
from importlib.util import find_spec
from os import fsync
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack

from runtime.errors import CorruptSegment, ServiceFailed
from runtime.index.fetch import alone

if TYPE_CHECKING:
    import tantivy

LEXICAL = "lexical.tar"
UNPACKED = "lexical"
"""The folder that it is unpacked into."""

ROW, TEXT = "row", "text"
"""The fields of tantivy's documents."""

_HEAP = 50_000_000
"""Bytes of memory that are filled before words are written: about 85,000 chunks."""

_BLOCK = 2**20
_LONGEST = 100  # characters of a word; what is longer was never typed by anybody
_ANALYZER = "words"
_TEXT_FIELD = 8  # of a packed row, see segment.ROW_FIELDS


def check() -> None:
    """Raises ServiceFailed where tantivy is not installed."""
    if not installed():
        raise ServiceFailed(
            "An index has `hybrid: true` in functions.yaml, which needs the library tantivy, and it is not installed. "
            "Install it (pip install 'tundish[hybrid]'), or take `hybrid` out."
        )


def installed() -> bool:
    return find_spec("tantivy") is not None


def write(folder: Path, rows: Path, count: int) -> list[str]:
    """Write the words of `count` packed rows, those of the file `rows`; the names of the files of the segment."""
    if not count:
        return []
    check()
    import tarfile

    import tantivy

    target = folder / UNPACKED
    target.mkdir()
    schema = tantivy.SchemaBuilder()
    schema.add_unsigned_field(ROW, fast=True, indexed=True)
    schema.add_text_field(TEXT, tokenizer_name=_ANALYZER)
    index = tantivy.Index(schema.build(), path=str(target))
    index.register_tokenizer(_ANALYZER, analyzer())
    writer = index.writer(heap_size=_HEAP, num_threads=1)
    with rows.open("rb") as packed:
        for number, row in enumerate(msgpack.Unpacker(packed, use_list=False, max_buffer_size=2**31 - 1)):
            document = tantivy.Document()
            document.add_unsigned(ROW, number)
            document.add_text(TEXT, row[_TEXT_FIELD])
            writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    with tarfile.open(folder / LEXICAL, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(target.iterdir()):
            if not path.name.startswith("."):  # locks, and what only a writer needs
                archive.add(path, path.name)
    return [LEXICAL]


def unpacked(folder: Path, digest: str) -> Path:
    """The folder that lexical.tar was unpacked into, by this process or another one. Raises CorruptSegment where it is
    not what it was written as, FileNotFoundError where it is gone."""
    target = folder / UNPACKED
    if not target.exists():
        with alone(folder):
            if not target.exists():
                temporary = folder / f"{UNPACKED}.part"
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                _unpack(folder / LEXICAL, digest, temporary)
                temporary.rename(target)
    return target


def _unpack(archive: Path, digest: str, target: Path) -> None:
    import tarfile

    with archive.open("rb") as file:
        hashed = sha256()
        while block := file.read(_BLOCK):
            hashed.update(block)
        if hashed.hexdigest() != digest:
            raise CorruptSegment(f"{archive.parent.name[:12]}/{LEXICAL} here does not match its hash.")
        file.seek(0)
        with tarfile.open(fileobj=file) as members:
            for member in members:
                if packed := members.extractfile(member):
                    with (target / Path(member.name).name).open("wb") as new:
                        shutil.copyfileobj(packed, new, _BLOCK)
                        new.flush()
                        fsync(new.fileno())


def analyzer() -> tantivy.TextAnalyzer:
    import tantivy

    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in (
        tantivy.Filter.remove_long(_LONGEST),
        tantivy.Filter.lowercase(),
        tantivy.Filter.ascii_fold(),
        tantivy.Filter.stemmer("english"),
    ):
        builder = builder.filter(step)
    return builder.build()
