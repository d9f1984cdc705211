"""A local folder of segments and tombstones, by content hash. Several processes of a host may share it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.context import Store
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index import layout
from runtime.index.segment import META, Meta, Segment, decode_meta, digests

# What was used this recently may be about to be opened by another process.
KEEP_SECONDS = 60.0
SEGMENTS, TOMBSTONES, WORK = "segments", "tombstones", "work"


class SegmentCache:
    """Fetches what is missing, checked against its hash, and drops what is not used."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._root, self._store = folder, store
        # A meta names every batch of its segment: worth decoding once.
        self._metas: dict[tuple[str, str], Meta] = {}

    @contextmanager
    def workspace(self, index: str) -> Iterator[Path]:
        """A temporary folder on the same file system."""
        work = self._root / index / WORK
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as folder:
            yield Path(folder)

    def meta(self, index: str, sha: str) -> Meta:
        """What a segment says of itself."""
        if (known := self._metas.get((index, sha))) is None:
            known = self._metas[index, sha] = self._meta(index, sha)
        return known

    def _meta(self, index: str, sha: str) -> Meta:
        path = self._segment(index, sha) / META
        try:
            return decode_meta(sha, path.read_bytes())
        except (FileNotFoundError, CorruptSegment):
            with _named(sha):
                data = self._store.get(self._store.bucket, layout.segment(index, sha) + META).data
            meta = decode_meta(sha, data)
            with self._replacing(path) as temporary:
                temporary.write_bytes(data)
            return meta

    def folder(self, index: str, sha: str, names: tuple[str, ...] = ()) -> Path:
        """The local folder of a segment with at least the files `names` (all of them by default)."""
        folder, meta = self._segment(index, sha), self.meta(index, sha)
        for name in names or meta.files:
            digest, size = meta.files[name]
            path = folder / name
            if not path.exists() or path.stat().st_size != size:
                with _named(sha):
                    self._fetch(layout.segment(index, sha) + name, path, digest)
        os.utime(folder)  # "used just now", for trim
        return folder

    def open(self, index: str, sha: str) -> Segment:
        """Open a segment, warm and checked: every byte is read once, and fetched again where it does not match."""
        meta = self.meta(index, sha)
        for attempt in (1, 2):
            folder = self.folder(index, sha)
            # Reading warms: FAISS maps its file for random access, without read-ahead.
            try:
                actual = digests(folder, list(meta.files))
                damaged = [name for name, (digest, _) in meta.files.items() if actual[name][0] != digest]
                if not damaged:
                    return Segment(folder, sha, meta)
            except FileNotFoundError:  # trimmed by another process in this moment
                continue
            for name in damaged:
                (folder / name).unlink(missing_ok=True)
            if attempt == 2:
                break
        raise CorruptSegment(f"Segment {sha[:12]} cannot be kept in {self._root}: its files change or vanish.")

    def tombstones(self, index: str, sha: str, vectors: int) -> NDArray[np.uint8]:
        """The packed bits of a segment's dead rows."""
        path = self._root / index / TOMBSTONES / sha
        if not path.exists() or sha256(path.read_bytes()).hexdigest() != sha:
            with _named(sha):
                self._fetch(layout.tombstones(index) + sha, path, sha)
        bits = np.fromfile(path, np.uint8)
        if len(bits) != (vectors + 7) // 8:
            raise CorruptSegment(f"Tombstones {sha[:12]} are for another number of rows than {vectors}.")
        return bits

    def adopt(self, index: str, folder: Path, sha: str) -> None:
        """Move a segment that was just built into the cache."""
        target = self._segment(index, sha)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)

    def trim(self, index: str, keep: set[str], older_than: float = KEEP_SECONDS) -> None:
        """Remove what is not in `keep` and was not used for `older_than` seconds. What is mapped stays readable."""
        limit = time.time() - older_than
        for known in [place for place in self._metas if place[0] == index and place[1] not in keep]:
            self._metas.pop(known, None)
        for name in (SEGMENTS, TOMBSTONES, WORK):
            folder = self._root / index / name
            for path in folder.iterdir() if folder.exists() else ():
                # A builder may work in its folder for long; a day is longer than any build.
                patience = 86_400 if name == WORK else 0
                if path.name in keep or _modified(path) > limit - patience:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _segment(self, index: str, sha: str) -> Path:
        return self._root / index / SEGMENTS / sha

    def _fetch(self, key: str, path: Path, digest: str) -> None:
        with self._replacing(path) as temporary:
            with temporary.open("wb") as file:
                self._store.download(self._store.bucket, key, file)
            with temporary.open("rb") as file:
                actual = file_digest(file, "sha256").hexdigest()
            if actual != digest:
                raise CorruptSegment(f"{key} in the store does not match its hash; it was changed or cut short.")

    @contextmanager
    def _replacing(self, path: Path) -> Iterator[Path]:
        """A temporary file that takes the place of `path` when it is complete and on disk."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _named(sha: str) -> Iterator[None]:
    """A part that is gone from the store makes the segment as unusable as a damaged one."""
    try:
        yield
    except ObjectMissing as error:
        raise CorruptSegment(f"A part of the index, {sha[:12]}, is gone. {error}") from error


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
