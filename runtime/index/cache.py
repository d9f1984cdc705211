"""A local folder of segments and tombstones, by content hash. Several processes of a host share it.

What lies here was checked when it came: every byte is hashed while it is fetched, and a file takes its name when it
is complete and on disk. So opening costs no look at the bytes; `check` looks at them again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.context import Store, StoredObject
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index import layout, trust, whole
from runtime.index.assemble import assemble
from runtime.index.fetch import Fetch, alone, fetch, replacing
from runtime.index.lexical_file import LEXICAL, UNPACKED
from runtime.index.pack import LARGEST
from runtime.index.pieces import OWN, PIECES
from runtime.index.segment import ANY, INDEX, META, OFFSETS, SCAN, TABLE, Meta, Segment, decode_meta, digests
from runtime.index.unpack import unpack

# What was used this recently may be about to be opened by another process.
KEEP_SECONDS = 60.0
LOOKS = 6
"""So often within that time what lies here is looked through, however many versions come: there may be hundreds."""

_SMALL, _TOGETHER = 2 * LARGEST, 16
"""Bytes of a part, and parts, that are fetched in one trip: they are held in memory, and come one after the other."""

_HOT = (SCAN, OFFSETS, TABLE, INDEX)
_NEEDED = (PIECES, OWN, OFFSETS)
"""Where files are lent, by those that are made of them."""

SEGMENTS, TOMBSTONES, WORK = "segments", "tombstones", "work"


class SegmentCache:
    """Fetches what is missing, checked against its hash, and drops what is not used."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._root, self._store = folder, store
        # A meta names every batch of its segment: worth decoding once.
        self._metas: dict[tuple[str, str], Meta] = {}
        self._trimmed: dict[str, float] = {}
        self._places: dict[tuple[str, str], Path] = {}

    @contextmanager
    def workspace(self, index: str) -> Iterator[Path]:
        """A temporary folder on the same file system."""
        work = self._place(index, WORK)
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as folder:
            yield Path(folder)

    def meta(self, index: str, sha: str) -> Meta:
        """What a segment says of itself."""
        if (known := self._metas.get((index, sha))) is None:
            known = self._metas[index, sha] = self._meta(index, sha)
        return known

    def _meta(self, index: str, sha: str) -> Meta:
        try:
            return decode_meta(sha, (self._segment(index, sha) / META).read_bytes())
        except (FileNotFoundError, CorruptSegment):
            return self._fetched(index, sha)

    def _fetched(self, index: str, sha: str) -> Meta:
        """What a segment says of itself, from the store; its files come along where they are one object."""
        with _named(sha):
            data = self._store.get(self._store.bucket, layout.beginning(index, sha)).data
        return self._begun(index, sha, data)

    def _begun(self, index: str, sha: str, data: bytes) -> Meta:
        """Keep the object that says what is in a segment. Raises CorruptSegment."""
        folder = self._segment(index, sha)
        if layout.is_packed(sha):
            with self.workspace(index) as room:
                return unpack(sha, layout.beginning(index, sha), data, folder, room)
        meta = decode_meta(sha, data)
        with replacing(folder / META) as temporary:
            temporary.write_bytes(data)
        return meta

    def bring(
        self, index: str, segments: Iterable[str], tombstones: Iterable[str] = (), also: Sequence[str] = ()
    ) -> list[StoredObject | None]:
        """Fetch the small parts that are not here, and the objects `also`, which are returned, in one trip.

        What is not there, too large or damaged is left out: who opens it asks for it, and is told what is wrong.
        """
        wanted: list[tuple[str, Callable[[bytes], object] | None]] = [(key, None) for key in also]
        for name in segments:
            if (index, name) not in self._metas and not (self._segment(index, name) / META).exists():
                wanted.append((layout.beginning(index, name), partial(self._begun, index, name)))
        for name in tombstones:
            if not (self._place(index, TOMBSTONES) / name).exists():
                wanted.append((layout.tombstones(index) + name, partial(self._marked, index, name)))
        told: list[StoredObject | None] = []
        for at in range(0, len(wanted), _TOGETHER):
            group = wanted[at : at + _TOGETHER]
            found = self._store.get_many(self._store.bucket, [key for key, _ in group], limit=_SMALL)
            for (_, keep), one in zip(group, found, strict=True):
                if keep is None:
                    told.append(one)
                elif one:
                    with suppress(CorruptSegment):
                        keep(one.data)
        return told

    def _marked(self, index: str, name: str, data: bytes) -> None:
        if sha256(data).hexdigest() == name:
            self.adopt_tombstones(index, {name: data})

    def folder(self, index: str, sha: str, names: tuple[str, ...] = ()) -> Path:
        """The local folder of a segment with at least the files `names` (all of them by default)."""
        folder, meta = self._segment(index, sha), self.meta(index, sha)
        if trust.lost(folder):
            self.check(index, sha)
            trust.renew(folder)
        wanted, path = names or tuple(meta.files), str(folder)
        if any(not _fits(f"{path}/{name}", meta.files[name][1]) for name in wanted):
            if layout.is_packed(sha):
                self._fetched(index, sha)
            else:
                place = layout.segment(index, sha)
                lent = [name for name in meta.lent if name in wanted]
                here = [name for name in meta.stored if name in wanted or (lent and name in _NEEDED)]
                with _named(sha):
                    fetch(self._store, folder, [Fetch(place + name, folder / name, *meta.files[name]) for name in here])
                    if lent and meta.whole:
                        whole.make(self._store, folder, meta, lent)
                    elif lent:
                        assemble(self._store, meta.refers, folder, meta.files[INDEX][1])
        os.utime(folder)  # "used just now", for trim
        return folder

    def open(self, index: str, sha: str) -> Segment:
        """Open a segment. Its bytes are looked at only where it cannot be opened: damaged ones are fetched again."""
        meta = self.meta(index, sha)
        for last in (False, True):
            try:
                return Segment(self.folder(index, sha), sha, meta)
            except FileNotFoundError:  # trimmed by another process in this moment
                continue
            except CorruptSegment:
                if last or not self.check(index, sha):
                    raise
        raise CorruptSegment(f"Segment {sha[:12]} cannot be kept in {self._root}: its files change or vanish.")

    def files(self, index: str, names: Sequence[str]) -> list[Path]:
        """The files of segments that are here: first what every search reads, then what it reads a little of."""
        paths = []
        for folder, files in ((self._segment(index, sha), self.meta(index, sha).files) for sha in names):
            paths += [folder / name for name in files if name != LEXICAL]
            paths += (folder / UNPACKED).glob("*.*") if LEXICAL in files else ()  # what is read instead
        return sorted(paths, key=lambda path: _HOT.index(path.name) if path.name in _HOT else len(_HOT))

    def check(self, index: str, sha: str) -> list[str]:
        """Look at every byte of a segment that is here; names and removes the files that are not what they were.

        They are fetched again when the segment is opened next.
        """
        folder, meta = self._segment(index, sha), self.meta(index, sha)
        here = [name for name in meta.files if (folder / name).exists()]
        actual = digests(folder, here)
        damaged = [name for name in here if actual[name][0] != meta.files[name][0]]
        for name in damaged:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / UNPACKED, ignore_errors=True)  # a copy, made anew when it is needed
        return damaged

    def tombstones(self, index: str, sha: str, vectors: int) -> NDArray[np.uint8]:
        """The packed bits of a segment's dead rows."""
        path = self._place(index, TOMBSTONES) / sha
        data = _matching(path, sha)
        if data is None:
            path.unlink(missing_ok=True)
            with _named(sha):
                fetch(self._store, path.parent, [Fetch(layout.tombstones(index) + sha, path, sha, (vectors + 7) // 8)])
            data = path.read_bytes()
        bits = np.frombuffer(data, np.uint8)
        if len(bits) != (vectors + 7) // 8:
            raise CorruptSegment(f"Tombstones {sha[:12]} are for another number of rows than {vectors}.")
        return bits

    def adopt(self, index: str, folder: Path, sha: str) -> None:
        """Move a segment that was just built into the cache."""
        target = self._segment(index, sha)
        target.parent.mkdir(parents=True, exist_ok=True)
        trust.until_restart(folder)
        folder.rename(target)

    def adopt_tombstones(self, index: str, tombstones: Mapping[str, bytes]) -> None:
        """Keep what was just made and stored: no reader of this host fetches it then. It is checked when it is read."""
        folder = self._place(index, TOMBSTONES)
        folder.mkdir(parents=True, exist_ok=True)
        for sha, data in tombstones.items():
            handle, name = tempfile.mkstemp(dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(folder / sha)

    def trim(self, index: str, keep: set[str], older_than: float = KEEP_SECONDS) -> None:
        """Remove what is not in `keep` and was not used for `older_than` seconds. What is mapped stays readable.

        Nothing happens where that was done a moment ago.
        """
        now = time.time()
        if abs(now - self._trimmed.get(index, float("-inf"))) < older_than / LOOKS:
            return
        self._trimmed[index] = now
        limit = now - older_than
        for known in [place for place in self._metas if place[0] == index and place[1] not in keep]:
            self._metas.pop(known, None)
        for name in (SEGMENTS, TOMBSTONES, WORK):
            folder = self._place(index, name)
            for entry in _entries(folder):
                # A builder may work in its folder for long; a day is longer than any build.
                patience = 86_400 if name == WORK else 0
                if entry.name in keep or _modified(entry) > limit - patience:
                    continue
                if entry.is_dir():
                    _remove(Path(entry))
                else:
                    Path(entry).unlink(missing_ok=True)

    def place(self, index: str, sha: str) -> Path:
        """Where a segment is on this host, if it is."""
        return self._segment(index, sha)

    def _segment(self, index: str, sha: str) -> Path:
        return self._place(index, SEGMENTS) / sha

    def _place(self, index: str, kind: str) -> Path:
        """A folder of an index; put together once, as every look at a part begins there."""
        if (found := self._places.get((index, kind))) is None:
            found = self._places[index, kind] = self._root / layout.own(index) / kind
        return found


@contextmanager
def _named(sha: str) -> Iterator[None]:
    """A part that is gone from the store makes the segment as unusable as a damaged one."""
    try:
        yield
    except ObjectMissing as error:
        raise CorruptSegment(f"A part of the index, {sha[:12]}, is gone. {error}") from error


def _fits(path: str, size: int) -> bool:
    """Whether there is a file of so many bytes."""
    try:
        found = os.stat(path).st_size  # noqa: PTH116 - this is done for every file of every version
    except FileNotFoundError:
        return False
    return size in (found, ANY)


def _matching(path: Path, sha: str) -> bytes | None:
    with suppress(FileNotFoundError):
        data = path.read_bytes()
        return data if sha256(data).hexdigest() == sha else None
    return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        return list(found)
    return []


def _modified(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _remove(folder: Path) -> None:
    """Unless somebody is fetching into it."""
    with suppress(FileNotFoundError), alone(folder, wait=False) as free:
        if free:
            shutil.rmtree(folder, ignore_errors=True)
