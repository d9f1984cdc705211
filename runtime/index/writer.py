"""Building: new batches become one small segment and tombstones over the older ones; a manifest commits both.

Everything is uploaded before the manifest is created, so a build that dies leaves nothing that a reader sees.
"""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import faiss
import numpy as np
import redis

from runtime.context import BuildReport, Store
from runtime.errors import CorruptSegment, PreconditionFailed, Retry
from runtime.index import layout, manifest, segment_write
from runtime.index.cache import SegmentCache
from runtime.index.docs import PUT, Docs, Positions
from runtime.index.intake import Intake, gather, take
from runtime.index.lease import BuildLease
from runtime.index.manifest import Manifest, SegmentRef
from runtime.index.plan import Old, merging, settle, survivors
from runtime.index.segment import META, TABLE, Meta, load_docs
from runtime.index.segment_write import Part
from runtime.index.spool import Spool

ATTEMPTS = 5

LISTING_SECONDS = 60.0
LISTING_SHARE = 0.05
"""A builder that is told of new batches lists all of them at most this often, and for this part of the time."""

log = logging.getLogger("tundish.index")


@dataclass(slots=True)
class Base:
    """The segments that are built upon."""

    refs: list[SegmentRef]
    metas: list[Meta]
    old: list[Old]


class Builder:
    """Builds indexes of one store. Builders on several hosts may work at once: none loses another's work."""

    def __init__(
        self, store: Store, client: redis.Redis, cache: SegmentCache, *, tell: Callable[[Manifest], object]
    ) -> None:
        self._store, self._client, self._cache, self._tell = store, client, cache, tell
        self._newest: dict[str, Manifest] = {}
        self._next_listing: dict[str, float] = {}

    def build(self, index: str, named: Sequence[str] = ()) -> tuple[BuildReport, Manifest | None]:
        """Publish what is new. Returns the report and the manifest that is current afterwards.

        `named` batches are published first. What else there is takes a listing of all batches, which then follows
        only from time to time.
        """
        faiss.omp_set_num_threads(1)  # a pool of threads must not be started in a forked worker
        with BuildLease(self._client, index) as lease:
            if not named:
                return self._publish(index, lease, ())
            first = self._publish(index, lease, named)
            began = time.monotonic()
            if began < self._next_listing.get(index, 0.0):
                return first
            second = self._publish(index, lease, ())
            pause = max(LISTING_SECONDS, (time.monotonic() - began) / LISTING_SHARE)
            self._next_listing[index] = time.monotonic() + pause
            return second if second[0].published else first

    def _publish(self, index: str, lease: BuildLease, named: Sequence[str]) -> tuple[BuildReport, Manifest | None]:
        anew = ""
        for _ in range(ATTEMPTS):
            try:
                with self._cache.workspace(index) as folder, Spool(folder) as spool:
                    return self._attempt(index, folder, spool, lease, named, anew)
            except PreconditionFailed:
                log.info("index %s: another builder published first; building again on its version", index)
            except CorruptSegment as error:
                if anew:
                    raise
                # Retention keeps every batch that the current version needs, so nothing is lost.
                anew = f"{error} Index {index!r} is built anew from the stored batches."
                log.warning("%s", anew)
        raise Retry(f"Other builders of index {index!r} were faster {ATTEMPTS} times. Build it again.", after=1.0)

    def _attempt(
        self, index: str, folder: Path, spool: Spool, lease: BuildLease, named: Sequence[str], anew: str
    ) -> tuple[BuildReport, Manifest | None]:
        current = manifest.newest(self._store, index, self._newest.get(index))
        if current and current.held:
            warning = f"Index {index!r} is held at generation {current.generation} by a rollback; release it to build."
            return _report(index, current, (warning,)), current
        base = Base([], [], []) if anew or not current else self._base(index, current)
        if current:
            spool.dimensions, spool.model = current.dimensions, current.model
            self._newest[index] = current
        intake = self._intake(index, spool, base, current, lease, named if current and not anew else ())
        new = settle(base.old, spool.docs())
        warnings = (*([anew] if anew else []), *intake.warnings)
        if not len(new):
            return _report(index, current, warnings), current
        lease.renew()
        refs, max_seq = self._write(index, folder, spool, base, new, intake)
        made = Manifest(
            index=index,
            generation=0,
            created=time.time(),
            builder=uuid.uuid4().hex,
            dimensions=spool.dimensions,
            model=spool.model,
            faiss=faiss.__version__,
            max_seq=max(max_seq, current.max_seq if current else 0),
            segments=tuple(refs),
            skipped=tuple(intake.skipped),
        )
        made = self._newest[index] = manifest.commit(self._store, manifest.successor(current, made))
        self._tell(made)
        manifest.write_hint(self._store, made)
        self._cache.trim(index, {name for ref in refs for name in (ref.segment, ref.tombstones) if name})
        report = _report(index, made, warnings)
        return replace(report, published=True, batches=len(spool.batches)), made

    def _intake(
        self,
        index: str,
        spool: Spool,
        base: Base,
        current: Manifest | None,
        lease: BuildLease,
        named: Sequence[str],
    ) -> Intake:
        included = {batch for meta in base.metas for batch in meta.batches}
        skipped = current.skipped if current else ()
        if named:
            taken = take(self._store, index, spool, named, included=included, skipped=skipped, renew=lease.renew)
            if taken:
                return taken
        included.update(spool.batches)
        return gather(self._store, index, spool, included=included, skipped=skipped, renew=lease.renew)

    def _base(self, index: str, current: Manifest) -> Base:
        metas = [self._cache.meta(index, ref.segment) for ref in current.segments]
        strange = sorted({meta.faiss for meta in metas if not meta.usable})
        if strange:
            raise CorruptSegment(
                f"Index {index!r} was written by FAISS {', '.join(strange)}; this is {faiss.__version__}."
            )
        return Base(list(current.segments), metas, [self._old(index, ref) for ref in current.segments])

    def _old(self, index: str, ref: SegmentRef) -> Old:
        docs = load_docs(self._cache.folder(index, ref.segment, (TABLE,)))
        dead = np.zeros(ref.vectors, bool)
        if ref.tombstones:
            bits = self._cache.tombstones(index, ref.tombstones, ref.vectors)
            dead = np.unpackbits(bits, count=ref.vectors, bitorder="little").astype(bool)
        return Old(docs, dead)

    def _write(
        self, index: str, folder: Path, spool: Spool, base: Base, new: Docs, intake: Intake
    ) -> tuple[list[SegmentRef], int]:
        """The segments of the new version; everything they need is in the store afterwards."""
        chosen = merging(base.old, new)
        if any(chosen):
            parts, batches = self._merged(index, spool, base, new, chosen, intake.present)
        else:
            parts, batches = [Part(spool, new)], spool.batches
        segments = zip(base.refs, base.old, base.metas, chosen, strict=True)
        kept = [self._kept(index, ref, old, meta) for ref, old, meta, merged in segments if not merged]
        target = folder / "segment"
        target.mkdir()
        sha, meta = segment_write.write(
            target, parts, dimensions=spool.dimensions, model=spool.model, builder=uuid.uuid4().hex, batches=batches
        )
        segment_write.verify(target, sha, meta, parts)
        self._upload(index, target, sha, meta)
        self._cache.adopt(index, target, sha)
        documents = sum(int((part.docs["op"] == PUT).sum()) for part in parts)
        ref = SegmentRef(sha, None, meta.vectors, meta.vectors, documents, meta.bytes)
        return [*kept, ref], meta.max_seq

    def _merged(
        self,
        index: str,
        spool: Spool,
        base: Base,
        new: Docs,
        chosen: list[bool],
        present: set[tuple[str, str]] | None,
    ) -> tuple[list[Part], list[tuple[str, str]]]:
        """The chosen segments and what is new in one. Batches that are known to be no longer stored are forgotten,
        unless rows name them.
        """
        *tables, last = survivors(base.old, new, chosen)
        parts: list[Part] = []
        batches: list[tuple[str, str]] = []
        refs, metas = itertools.compress(base.refs, chosen), itertools.compress(base.metas, chosen)
        for ref, meta, docs in zip(refs, metas, tables, strict=True):
            needed = np.zeros(len(meta.batches), bool)
            needed[docs["batch"]] = True
            remembered = [
                number
                for number, batch in enumerate(meta.batches)
                if needed[number] or present is None or batch in present
            ]
            source = self._cache.open(index, ref.segment)
            parts.append(Part(source, _renumbered(docs, remembered, len(batches), len(meta.batches))))
            batches += [meta.batches[number] for number in remembered]
        parts.append(Part(spool, _renumbered(last, list(range(len(spool.batches))), len(batches), len(spool.batches))))
        return parts, batches + spool.batches

    def _kept(self, index: str, ref: SegmentRef, old: Old, meta: Meta) -> SegmentRef:
        """An old segment with the tombstones it has now."""
        if not old.changed:
            return ref
        bits = np.packbits(old.dead, bitorder="little").tobytes()
        name = sha256(bits).hexdigest()
        self._store.put(self._store.bucket, layout.tombstones(index) + name, bits)
        return SegmentRef(ref.segment, name, ref.vectors, old.live, old.live_documents, meta.bytes)

    def _upload(self, index: str, folder: Path, sha: str, meta: Meta) -> None:
        """All files at once: for a small segment it is the store's answers that are waited for."""

        def put(name: str) -> None:
            with (folder / name).open("rb") as file:
                size = (folder / name).stat().st_size
                self._store.put_stream(self._store.bucket, layout.segment(index, sha) + name, file, size)

        names = [*meta.files, META]
        with ThreadPoolExecutor(len(names), thread_name_prefix="upload") as pool:
            list(pool.map(put, names))


def _renumbered(docs: Docs, remembered: list[int], offset: int, total: int) -> Docs:
    """`docs` with `batch` counted in a longer list, where `remembered` starts at `offset`."""
    numbers: Positions = np.full(max(total, 1), -1, np.int64)
    numbers[remembered] = offset + np.arange(len(remembered))
    docs = np.array(docs)
    docs["batch"] = numbers[docs["batch"]]
    return docs


def _report(index: str, current: Manifest | None, warnings: tuple[str, ...]) -> BuildReport:
    return BuildReport(
        index=index,
        generation=current.generation if current else 0,
        version=current.version if current else "",
        published=False,
        vectors=current.vectors if current else 0,
        documents=current.documents if current else 0,
        batches=0,
        warnings=warnings,
    )
