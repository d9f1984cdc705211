"""Manifests: one small file a generation names the segments of a version. Creating it is the commit.

`latest.json` is a hint that shortens a listing; the highest manifest is the truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar

from runtime.context import IndexVersion, ObjectInfo, Store, StoredObject
from runtime.errors import BadInput, CorruptSegment, ObjectMissing, PreconditionFailed
from runtime.index import layout
from runtime.index.remote import Remote


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A segment as one version sees it: `live` of its `vectors` count, the tombstones hide the others."""

    segment: str
    tombstones: str | None
    vectors: int
    live: int
    documents: int
    bytes: int
    kind: str = "flat"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A batch that could not be used; it is looked at again when one of its etags changes."""

    batch: str
    etags: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of an index. `created` is seconds since the epoch; `builder` tells two equal ones apart."""

    index: str
    generation: int
    created: float
    builder: str
    dimensions: int
    model: str
    faiss: str
    max_seq: int
    segments: tuple[SegmentRef, ...]
    skipped: tuple[Skipped, ...] = ()
    kind: str = "flat"
    held: bool = False
    """Nothing is built on it: a rollback made it, and it has not been released."""
    restores: int | None = None
    """The generation whose content this is again, where a rollback or a release made it."""
    native: str = ""
    """The model of the batches in the index's own folder; empty where all batches are there (layout.space)."""
    backends: tuple[str, ...] = ()
    """The back ends whose vectors are in it, as far as their batches say so."""
    remote: Remote | None = None
    """Where another engine than FAISS holds it; `segments` are empty then."""
    ahead: Remote | None = None
    """What builds go on from, where a rollback made `remote` an older one."""
    previous: str | None = None
    """The sha256 of the manifest that this one was built on."""
    digest: str = ""
    """The sha256 of the stored bytes where this was read from the store; not part of them, nor is `etag`."""
    etag: str = ""

    @property
    def vectors(self) -> int:
        return self.remote.rows if self.remote else sum(ref.live for ref in self.segments)

    @property
    def documents(self) -> int:
        return self.remote.documents if self.remote else sum(ref.documents for ref in self.segments)

    @property
    def bytes(self) -> int:
        return self.remote.bytes if self.remote else sum(ref.bytes for ref in self.segments)

    @property
    def space(self) -> str:
        """Whose batches it is made of (layout.space)."""
        return layout.space(self.index, self.model, self.native)

    @property
    def parts(self) -> set[str]:
        """The names of all segments and tombstones."""
        return {name for ref in self.segments for name in (ref.segment, ref.tombstones) if name}

    @property
    def sha256(self) -> str:
        return self.digest or sha256(encode(self)).hexdigest()

    @property
    def version(self) -> str:
        return self.sha256[:8]

    @property
    def engine(self) -> str:
        """Who answers: `faiss`, or what `remote` names."""
        return self.remote.engine if self.remote else "faiss"

    def _kind(self) -> str:
        if self.remote:
            return self.remote.engine
        return "compact" if any(ref.kind == "compact" for ref in self.segments) else self.kind

    def described(self) -> IndexVersion:
        return IndexVersion(
            index=self.index,
            generation=self.generation,
            version=self.version,
            vectors=self.vectors,
            documents=self.documents,
            dimensions=self.dimensions,
            bytes=self.bytes,
            created=self.created,
            kind=self._kind(),
            model=self.model,
            held=self.held,
            restores=self.restores,
        )


Part = TypeVar("Part", Manifest, SegmentRef, Skipped)


def encode(manifest: Manifest) -> bytes:
    fields = asdict(manifest)
    del fields["digest"], fields["etag"]
    if not manifest.remote:  # as earlier releases write it
        del fields["remote"], fields["ahead"]
    return json.dumps({"format": 1, **fields}, sort_keys=True, indent=1).encode()


def decode(path: str, data: bytes) -> Manifest:
    """Raises CorruptSegment. Fields that a later release added are left out; the bytes stay its identity."""
    try:
        stored: dict[str, Any] = json.loads(data)
        if stored.pop("format") != 1:
            raise ValueError("it has another format")
        stored["segments"] = tuple(_known(SegmentRef, ref) for ref in stored["segments"])
        stored["skipped"] = tuple(_known(Skipped, skip) for skip in stored["skipped"])
        stored["backends"] = tuple(stored.get("backends", ()))
        stored["remote"], stored["ahead"] = Remote.of(stored.get("remote")), Remote.of(stored.get("ahead"))
        stored["digest"] = sha256(data).hexdigest()
        return _known(Manifest, stored)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptSegment(
            f"{path} is not a manifest that this release can read: {error}. To go on from the newest one that is: "
            "tundish index verify --repair"
        ) from error


def _known(kind: type[Part], stored: dict[str, Any]) -> Part:
    return kind(**{name: value for name, value in stored.items() if name in kind.__dataclass_fields__})


def read(store: Store, index: str, generation: int) -> Manifest:
    """Raises ObjectMissing and CorruptSegment."""
    path = layout.manifest(index, generation)
    return stored(path, store.get(store.bucket, path))


def stored(path: str, found: StoredObject) -> Manifest:
    """The manifest that is this object. Raises CorruptSegment."""
    return replace(decode(path, found.data), etag=found.etag)


def listed(store: Store, index: str, after: int = 0) -> Iterator[tuple[int, ObjectInfo]]:
    """The generations above `after` with what the listing says of them; their order is not promised."""
    prefix = layout.manifests(index)
    start = layout.manifest(index, after) if after else ""
    for item in store.list(store.bucket, prefix, start_after=start):
        number = item.key[len(prefix) :].removesuffix(".json")
        if number.isdigit() and int(number) > after:
            yield int(number), item


def newest_generation(store: Store, index: str, after: int = 0) -> int:
    """The highest generation that is stored, or `after` if none is above it; one short listing."""
    return max((generation for generation, _ in listed(store, index, after)), default=after)


def newest(store: Store, index: str, known: Manifest | None = None) -> Manifest | None:
    """The current version, or None: `known` itself where it still is. Starts from it or the hint, trusts neither."""
    hint = known.generation if known else hinted(store, index)
    found = dict(listed(store, index, hint - 1)) if hint > 1 else {}
    if max(found, default=0) < max(hint, 1):
        found = dict(listed(store, index))
    if not found:
        return None
    generation = max(found)
    if known and known.generation == generation and known.etag == found[generation].etag:
        return known
    return read(store, index, generation)


def commit(store: Store, manifest: Manifest) -> Manifest:
    """Create the manifest; returns it as stored. Raises PreconditionFailed if another builder was first or is ahead."""
    path, data = layout.manifest(manifest.index, manifest.generation), encode(manifest)
    try:
        etag = store.put(store.bucket, path, data, content_type="application/json", create_only=True)
    except PreconditionFailed:
        # A PUT whose answer was lost is sent again and meets its own first copy.
        stored = store.get(store.bucket, path)
        if stored.data != data:
            raise
        etag = stored.etag
    # A generation that was removed by retention could be created anew below the current one.
    if newest_generation(store, manifest.index, manifest.generation) > manifest.generation:
        raise PreconditionFailed(f"{path} was overtaken by a newer version.")
    return replace(manifest, digest=sha256(data).hexdigest(), etag=etag)


def write_hint(store: Store, manifest: Manifest) -> None:
    hint = {"index": manifest.index, "generation": manifest.generation, "version": manifest.version}
    store.put(store.bucket, layout.latest(manifest.index), json.dumps(hint).encode(), content_type="application/json")


def successor(base: Manifest | None, manifest: Manifest) -> Manifest:
    """`manifest` numbered as the one after `base`."""
    if base is None:
        return replace(manifest, generation=1, previous=None)
    return replace(manifest, generation=base.generation + 1, previous=base.sha256)


def hinted(store: Store, index: str) -> int:
    """The generation that latest.json names, or 0 where that cannot be told."""
    try:
        found = json.loads(store.get(store.bucket, layout.latest(index), limit=65_536).data)
        return int(found["generation"])
    except (ObjectMissing, BadInput, ValueError, TypeError, KeyError):
        return 0
