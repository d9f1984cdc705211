"""Whether the stored objects of an index are what their names and manifests say: every hash, every pointer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from runtime.context import Store
from runtime.errors import BadInput, CorruptSegment, ObjectMissing
from runtime.index import layout, manifest, pack, pieces, spaces, whole
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.pieces import PIECES, Piece
from runtime.index.segment import ROWS, Meta, decode_meta

Tell = Callable[[int, int], None]
LOOKS, PAUSE_SECONDS = 5, 0.2
"""How often latest.json is looked at, while it is behind the newest manifest."""


@dataclass(frozen=True, slots=True)
class Damage:
    """`what` is damaged, gone or wrong. `name`: a part's hash, or a generation. `index` is the one in whose chain it
    is; `generations` are those that need it."""

    what: Literal["manifest", "chain", "segment", "tombstones", "hint"]
    name: str
    detail: str
    index: str
    generations: tuple[int, ...] = ()


def survey(
    store: Store, index: str, known: frozenset[str] = frozenset(), tell: Tell = lambda *_: None
) -> Iterator[Damage]:
    """Read everything that any version names, of a migration under way as well, but for the parts in `known`.

    Nothing is kept, in memory or on disk.
    """
    for chain in (index, *spaces.shadows(store, index)):
        versions: dict[int, Manifest] = {}
        for generation in sorted(number for number, _ in manifest.listed(store, chain)):
            try:
                versions[generation] = manifest.read(store, chain, generation)
            except CorruptSegment as error:
                yield Damage("manifest", str(generation), str(error), chain, (generation,))
            except ObjectMissing:
                continue  # cleanup removed it since it was listed
        yield from _chained(chain, versions)
        parts: dict[str, tuple[SegmentRef, list[int]]] = {}
        for generation, version in versions.items():
            for ref in version.segments:
                for name in {ref.segment, ref.tombstones} - {None} - known:
                    parts.setdefault(str(name), (ref, []))[1].append(generation)
        for done, (name, (ref, generations)) in enumerate(parts.items(), 1):
            kind: Literal["segment", "tombstones"] = "segment" if name == ref.segment else "tombstones"
            detail = _segment(store, index, name) if kind == "segment" else _tombstones(store, index, ref, name)
            if detail and (concerned := _still(store, chain, generations)):
                yield Damage(kind, name, detail, chain, concerned)
            tell(done, len(parts))
        if detail := hint(store, chain):
            yield Damage("hint", "", detail, chain)


def _chained(index: str, versions: dict[int, Manifest]) -> Iterator[Damage]:
    for generation, version in versions.items():
        path, before = layout.manifest(index, generation), versions.get(generation - 1)
        if (version.index, version.generation) != (index, generation):
            detail = f"{path} is that of generation {version.generation} of index {version.index}."
            yield Damage("manifest", str(generation), detail, index, (generation,))
        elif before and version.previous not in (None, before.sha256):
            detail = f"{path} was made after another generation {generation - 1} than the one that is stored."
            yield Damage("chain", str(generation), detail, index, (generation,))


def _segment(store: Store, index: str, sha: str) -> str:
    """What is wrong with a segment, or nothing."""
    folder, key = layout.segment(index, sha), layout.beginning(index, sha)
    try:
        data = store.get(store.bucket, key).data
        if layout.is_packed(sha):
            pack.split(sha, key, data)
            return ""
        meta = decode_meta(sha, data)
    except (CorruptSegment, ObjectMissing) as error:
        return str(error)
    for name in meta.stored:
        if (found := stored_as(store, folder + name)) != tuple(meta.files[name]):
            return _wrong(folder + name, found)
    if not meta.refers:
        return ""
    try:
        _, listed = pieces.decode(folder + PIECES, store.get(store.bucket, folder + PIECES).data)
    except (CorruptSegment, ObjectMissing) as error:
        return str(error)
    bad = (_wrong(key, found) for key, _, _, found in damaged_batches(store, meta.refers, listed))
    return next(bad, "") or rows_flaw(store, meta, listed)


def rows_flaw(store: Store, meta: Meta, listed: Sequence[Piece]) -> str:
    """What is wrong with the rows of a segment that are in the commits of its batches, or nothing."""
    if not meta.whole:
        return ""
    try:
        return whole.rows_flaw(store, meta.refers, listed, meta.files[ROWS][0])
    except ObjectMissing as error:
        return str(error)


def damaged_batches(
    store: Store, space: str, listed: Iterable[Piece]
) -> Iterator[tuple[str, str, str, tuple[str, int] | None]]:
    """The batches of pieces whose vectors are not what they were: key, id, the sha256 that it should have, and what is
    there instead (stored_as)."""
    for batch, digest in pieces.objects(listed):
        key = layout.batch(space, batch) + layout.VECTORS
        found = stored_as(store, key)
        if not found or found[0] != digest:
            yield key, batch, digest, found


def _tombstones(store: Store, index: str, ref: SegmentRef, sha: str) -> str:
    key = layout.tombstones(index) + sha
    found = stored_as(store, key)
    return "" if found == (sha, (ref.vectors + 7) // 8) else _wrong(key, found)


def _wrong(key: str, found: tuple[str, int] | None) -> str:
    return f"{key} does not match its hash." if found else f"{key} is gone."


def _still(store: Store, index: str, generations: list[int]) -> tuple[int, ...]:
    """Those that cleanup has not removed meanwhile, with what only they needed."""
    listed = {number for number, _ in manifest.listed(store, index)}
    return tuple(generation for generation in generations if generation in listed)


def hint(store: Store, index: str) -> str:
    """What is wrong with latest.json. A build may be between its manifest and this: it is waited for."""
    detail = ""
    for _ in range(LOOKS):
        if not (detail := _hint_now(store, index)):
            break
        time.sleep(PAUSE_SECONDS)
    return detail


def _hint_now(store: Store, index: str) -> str:
    key = layout.latest(index)
    newest = manifest.newest_generation(store, index)
    if not newest:
        return ""
    try:
        told: Any = json.loads(store.get(store.bucket, key, limit=65_536).data)
        generation = int(told["generation"])
    except ObjectMissing:
        return f"{key} is gone."
    except (BadInput, ValueError, TypeError, KeyError):
        return f"{key} is not what a build writes."
    return "" if generation == newest else f"{key} names generation {generation}; the newest is {newest}."


def stored_as(store: Store, key: str) -> tuple[str, int] | None:
    """The sha256 and the size of an object as it is stored; None where there is none."""
    sink: Any = _Sink()  # a BinaryIO as far as writing goes
    try:
        store.download(store.bucket, key, sink)
    except ObjectMissing:
        return None
    return sink.digest, sink.size


class _Sink:
    """Takes bytes as a file does, and keeps their hash and number."""

    def __init__(self) -> None:
        self._hash, self.size = sha256(), 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
