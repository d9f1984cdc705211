"""Mending an index: what is lost or damaged in the store is put back from this host's cache, or built anew from the
batches; what neither can bring back is named."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import faiss
import redis

from runtime.buckets.replays import Wish, start
from runtime.config.settings import Project
from runtime.context import Store
from runtime.errors import CorruptSegment, ObjectMissing, PreconditionFailed, TriggerNotFound
from runtime.index import contents, integrity, layout, local, manifest, pack, pieces
from runtime.index.body import Stored
from runtime.index.cache import SEGMENTS, TOMBSTONES, SegmentCache
from runtime.index.integrity import Damage, damaged_batches, rows_flaw
from runtime.index.lease import BuildLease
from runtime.index.manifest import Manifest
from runtime.index.port import FaissIndex
from runtime.index.report import Outcome, Report
from runtime.index.scan_write import write_scan
from runtime.index.segment import META, SCAN, Meta, decode_meta
from runtime.index.verify import Tell, verify

MOST_KEYS = 100
"""Documents that are handed out again one by one; for more a replay of the bucket is the way."""

PATIENCE_SECONDS = 60.0


def repaired(
    store: Store, client: redis.Redis, project: Project, report: Report, folder: Path, tell: Tell = lambda *_: None
) -> Report:
    """Mend what `verify` reported and compare again. `folder` is that of the segment cache of this host.

    Raises StoreDown, StoreDenied and BrokerDown.
    """
    repair = _Repair(FaissIndex(store, client, folder, hybrid=project.is_hybrid), store, client, report.index, folder)
    repair.run()
    after = verify(store, client, project, report.index, folder, tell)
    hand_out(client, project, after, repair.outcome)
    after.repair = repair.outcome
    return after


class _Repair:
    """Of what is stored of one index, and of this host's copy."""

    def __init__(self, port: FaissIndex, store: Store, client: redis.Redis, index: str, folder: Path) -> None:
        self._port, self._store, self._client, self._index, self._folder = port, store, client, index, folder
        self.outcome = Outcome()

    def run(self) -> None:
        found = [one for one in integrity.survey(self._store, self._index) if not self._put_back(one)]
        self._readable([one for one in found if one.what == "manifest"])
        self._whole()
        self._forget([one for one in found if one.what in ("manifest", "segment", "tombstones")])
        self._point()
        self._local()
        self.outcome.left += [one.detail for one in found if one.what == "chain"]

    def _put_back(self, damage: Damage) -> bool:
        """Whether a part is in the store again, from a copy in the cache that is what its name says."""
        if damage.what == "tombstones":
            files = self._good_tombstones(damage.name)
        elif damage.what == "segment":
            files = self._good_segment(damage.name)
        else:
            return False
        for key, good in files.items():
            if isinstance(good, bytes):
                self._store.put(self._store.bucket, key, good)
                continue
            with good.open("rb") as file:
                self._store.put_stream(self._store.bucket, key, file, good.stat().st_size)
        if not files and damage.what == "segment":
            return self._scan_again(damage.name)
        if files:
            kind = "Segment" if damage.what == "segment" else "Tombstones"
            self.outcome.done.append(f"{kind} {damage.name[:12]}: put back from the copy on this host.")
        return bool(files)

    def _good_tombstones(self, name: str) -> dict[str, Path | bytes]:
        path = self._folder / self._index / TOMBSTONES / name
        return {layout.tombstones(self._index) + name: path} if local.digest(path) == name else {}

    def _good_segment(self, sha: str) -> dict[str, Path | bytes]:
        """All of its objects by their place in the store, or nothing."""
        folder, place = self._folder / self._index / SEGMENTS / sha, layout.segment(self._index, sha)
        try:
            meta = decode_meta(sha, (folder / META).read_bytes())
        except (FileNotFoundError, CorruptSegment):
            return {}
        if any(local.digest(folder / name) != digest for name, (digest, _) in meta.files.items()):
            return {}
        if layout.is_packed(sha):
            return {layout.beginning(self._index, sha): pack.join(folder, meta)}
        try:
            return {place + name: folder / name for name in (*meta.stored, META)} | self._good_batches(folder, meta)
        except CorruptSegment:
            return {}

    def _good_batches(self, folder: Path, meta: Meta) -> dict[str, bytes]:
        """The damaged batches that a segment refers to, from its own vectors. Raises CorruptSegment where these are not
        all that a batch has, and where it is rows that are damaged."""
        if not meta.refers:
            return {}
        dimensions, listed = pieces.load(folder)
        found: dict[str, bytes] = {}
        for key, batch, digest, _ in damaged_batches(self._store, meta.refers, listed):
            data = pieces.rebuilt(folder, dimensions, listed, batch)
            if sha256(data).hexdigest() != digest:
                raise CorruptSegment(f"{key} has more rows than its segment.")
            found[key] = data
        if flaw := rows_flaw(self._store, meta, listed):
            raise CorruptSegment(flaw)
        return found

    def _scan_again(self, sha: str) -> bool:
        """Whether all that was wrong with a segment is its compact form, which its vectors give again."""
        with SegmentCache(self._folder, self._store).workspace(self._index) as room:
            cache = SegmentCache(room, self._store)
            try:
                meta = cache.meta(self._index, sha)
                folder = cache.folder(self._index, sha, tuple(name for name in meta.files if name != SCAN))
            except (CorruptSegment, ObjectMissing):
                return False
            if SCAN not in meta.stored:
                return False
            faiss.omp_set_num_threads(1)
            for by_faiss in (False, True):
                write_scan(Stored(folder, meta.vectors, meta.dimensions), by_faiss=by_faiss)
                if local.digest(folder / SCAN) == meta.files[SCAN][0]:
                    break
            else:
                return False  # another release of FAISS wrote it, or another kind of processor
            with (folder / SCAN).open("rb") as file:
                key = layout.segment(self._index, sha) + SCAN
                self._store.put_stream(self._store.bucket, key, file, meta.files[SCAN][1])
        self.outcome.done.append(f"Segment {sha[:12]}: {SCAN} is made anew from its vectors.")
        return True

    def _readable(self, damaged: list[Damage]) -> None:
        """Where the newest manifest is lost or cannot be read, the newest one that can takes its place under a higher
        number: nobody who has seen the lost one would look at an equal number."""
        own = {int(one.name) for one in damaged if one.index == self._index}
        stored = manifest.newest_generation(self._store, self._index)
        newest = max(stored, manifest.hinted(self._store, self._index))
        if newest == stored and newest not in own:
            return
        base = next(self._manifests_below(newest, own), None)
        made = Manifest(self._index, 0, 0.0, "", 0, "", faiss.__version__, 0, ()) if base is None else base
        made = replace(
            made,
            generation=newest + 1,
            created=time.time(),
            builder=uuid.uuid4().hex,
            previous=None,
            digest="",
            etag="",
        )
        with BuildLease(self._client, self._index, PATIENCE_SECONDS):
            try:
                manifest.commit(self._store, made)
            except PreconditionFailed:
                return  # somebody published: that version can be read
        like = f"like {base.generation}" if base else "empty"
        self.outcome.done.append(
            f"Generation {newest} is lost or cannot be read: {newest + 1} is {like}, and is built upon."
        )
        if not made.held:
            self._port.build(self._index)

    def _manifests_below(self, newest: int, damaged: set[int]) -> Iterator[Manifest]:
        for generation in sorted((number for number, _ in manifest.listed(self._store, self._index)), reverse=True):
            if generation < newest and generation not in damaged:
                yield manifest.read(self._store, self._index, generation)

    def _whole(self) -> None:
        """Where the newest version is not whole it is built anew. Looked at as a reader on another host would."""
        current = manifest.newest(self._store, self._index)
        if current is None:
            return
        damage = self._look(current)
        if not damage:
            return
        if current.held:
            self.outcome.left.append(
                f"Generation {current.generation} is damaged, and a rollback holds it. Go back to a version that is "
                f"whole, or let builds go on: tundish index release --index {self._index}. {damage[0]}"
            )
            return
        report = self._port.rebuild(self._index, damage[0])
        self.outcome.left += report.warnings[1:]
        if report.published:
            self.outcome.done.append(f"{damage[0]} Generation {report.generation} is built anew from the batches.")
        else:
            self.outcome.left.append(f"{damage[0]} There is no batch left to build the index from.")

    def _look(self, version: Manifest) -> list[str]:
        with SegmentCache(self._folder, self._store).workspace(self._index) as room:
            return contents.read(SegmentCache(room, self._store), version).damage

    def _forget(self, damaged: list[Damage]) -> None:
        """Older versions that nobody can go back to any more."""
        current = manifest.newest_generation(self._store, self._index)
        with BuildLease(self._client, self._index, PATIENCE_SECONDS):
            for one in damaged:
                for generation in one.generations:
                    if one.index == self._index and generation >= current:
                        continue
                    key = layout.manifest(one.index, generation)
                    self._store.delete(self._store.bucket, key)
                    self.outcome.done.append(f"{key} is removed, as its version cannot be restored. {one.detail}")

    def _point(self) -> None:
        if integrity.hint(self._store, self._index) and (current := manifest.newest(self._store, self._index)):
            manifest.write_hint(self._store, current)
            self.outcome.done.append(f"latest.json names generation {current.generation} again.")

    def _local(self) -> None:
        """Copies on this host that are not what they were go; they are fetched again when they are needed."""
        for path in list(local.damaged(self._folder, self._index)):
            path.unlink(missing_ok=True)
            self.outcome.done.append(
                f"{path} is removed, and fetched again when it is needed. A gateway on this host that has it open "
                "answers from it until it is started again."
            )


def hand_out(client: redis.Redis, project: Project, report: Report, outcome: Outcome) -> None:
    """Let the triggers take once more what the index lacks, and what it could not be built from again."""
    lacking = [finding for finding in report.findings if finding.kind in ("missing", "changed", "chunks")]
    wanted: dict[str, set[str]] = {}
    for bucket, key in [*((one.bucket, one.key) for one in lacking), *report.lost]:
        wanted.setdefault(bucket, set()).add(key)
    for bucket, names in wanted.items():
        if len(names) > MOST_KEYS:
            outcome.left.append(
                f"{len(names)} documents of {bucket} are to be embedded: tundish replay --bucket {bucket}"
            )
            continue
        try:
            for key in sorted(names):
                start(client, project, Wish(bucket, key))
        except TriggerNotFound as error:
            outcome.left.append(f"{len(names)} documents of {bucket} are to be embedded by whoever did it. {error}")
        else:
            outcome.done.append(f"{len(names)} documents of {bucket} are handed out again.")
