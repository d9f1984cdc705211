"""Copies of an index on this host that are not what they were: a disk that errs, somebody who wrote into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import file_digest
from pathlib import Path

from runtime.errors import CorruptSegment
from runtime.index.cache import SEGMENTS, TOMBSTONES
from runtime.index.pieces import hashing
from runtime.index.segment import META, decode_meta


def damaged(cache: Path, index: str) -> Iterator[Path]:
    """Every file of the segment cache whose hash is not the one it was fetched by. Nothing is changed.

    What another process removes meanwhile is passed over.
    """
    for folder in _below(cache / index / SEGMENTS):
        try:
            meta = decode_meta(folder.name, (folder / META).read_bytes())
        except FileNotFoundError:
            continue
        except (CorruptSegment, ValueError):
            yield folder / META
            continue
        for name, (wanted, _) in meta.files.items():
            if digest(folder / name) not in (None, wanted):
                yield folder / name
    for path in _below(cache / index / TOMBSTONES):
        if len(path.name) == 64 and digest(path) not in (None, path.name):
            yield path


def digest(path: Path) -> str | None:
    """The hash of a file of a segment; None where there is none."""
    try:
        with path.open("rb") as file:
            return file_digest(file, partial(hashing, path)).hexdigest()
    except FileNotFoundError:
        return None


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
