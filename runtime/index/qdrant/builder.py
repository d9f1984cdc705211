"""Building on Qdrant: new batches become points of the next epoch; a manifest that names the epoch commits them.

What a build writes before its manifest is there is seen by nobody. A build anew fills a collection of its own, counts
what it holds, waits until Qdrant has its graph, and only then there is a manifest, and the alias is switched.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import redis

from runtime.context import BuildReport, Store
from runtime.errors import IndexUnavailable, PreconditionFailed, Retry
from runtime.index import batches, manifest
from runtime.index.intake import Intake, Wanted, gather, take
from runtime.index.lease import BuildLease
from runtime.index.listings import Listings, Result
from runtime.index.manifest import Manifest
from runtime.index.qdrant import epochs, ledger
from runtime.index.qdrant.collection import Collection, switch
from runtime.index.qdrant.conditions import both, first, seen
from runtime.index.qdrant.connection import Connection
from runtime.index.qdrant.filling import Filling, Known
from runtime.index.remote import Remote

ATTEMPTS = 5
Tell = Callable[[Manifest], object]
log = logging.getLogger("tundish.index")


class Builder:
    """Builds the indexes of one store that are Qdrant's. Builders on several hosts may work at once."""

    def __init__(self, store: Store, client: redis.Redis, connect: Callable[[str], Connection], *, tell: Tell) -> None:
        self._store, self._client, self._connect, self._tell = store, client, connect, tell
        self._listings = Listings()

    def build(self, index: str, named: Sequence[str] = ()) -> Result:
        """Publish what is new: the `named` batches first; what else there is takes a listing, which follows only from
        time to time. Raises EngineDown: then all of it waits in the store."""
        told = partial(self._published, index, Wanted(named)) if named else None
        return self._listings.build(index, told, partial(self._published, index, Wanted()))

    def rebuild(self, index: str, why: str) -> Result:
        """Publish a version that is built in a new collection from the stored batches alone."""
        return self._published(index, Wanted(), why)

    def in_space(self, index: str, space: str, model: str) -> Manifest | None:
        """Publish a version of the batches of another model; None where they are not all of the index's documents."""
        with BuildLease(self._client, index) as lease:
            current = manifest.newest(self._store, index)
            attempt = Attempt(self._store, self._client, self._connect(index), index, current, lease, "-", space)
            try:
                return self._told(attempt.run(Wanted()))[1]
            except (PreconditionFailed, _Fewer):
                log.info("index %s: something came while it was brought to %s; once more", index, model)
                return None

    def _published(self, index: str, wanted: Wanted, anew: str = "") -> Result:
        with BuildLease(self._client, index) as lease:
            for _ in range(ATTEMPTS):
                current = manifest.newest(self._store, index)
                attempt = Attempt(self._store, self._client, self._connect(index), index, current, lease, anew)
                try:
                    return self._told(attempt.run(wanted))
                except PreconditionFailed:
                    log.info("index %s: somebody else published first; once more on that version", index)
                    lease.renew()
        raise Retry(f"Other builders of index {index!r} were faster {ATTEMPTS} times. Build it again.", after=1.0)

    def _told(self, result: Result) -> Result:
        report, current = result
        if current and current.remote:
            if report.published:
                self._tell(current)
                manifest.write_hint(self._store, current)
            # Where nothing was new, too: whoever published this version may have died before.
            switch(self._connect(current.index), ledger.alias(current.index), current.remote.collection)
        return result


class _Fewer(Exception):
    """A version in another model has not all documents yet."""


class Attempt:
    """One try to publish on the version `current`. `anew`: why nothing that is there is built upon, else empty."""

    def __init__(
        self,
        store: Store,
        client: redis.Redis,
        connection: Connection,
        index: str,
        current: Manifest | None,
        lease: BuildLease,
        anew: str = "",
        space: str = "",
    ) -> None:
        """`space`: whose batches are taken (layout.space), where they are not those of the current model."""
        self._strange = bool(space)
        self._space = space or (current.space if current else index)
        self._store, self._client, self._connection = store, client, connection
        self._index, self._current, self._lease, self._anew = index, current, lease, anew
        self._base = None if anew or current is None else (current.ahead or current.remote)
        self._collection = Collection(connection, self._base.collection if self._base else "")
        self._made: ledger.Made | None = None
        self._noted = 0.0

    def run(self, wanted: Wanted) -> Result:
        """Raises PreconditionFailed where another version was published meanwhile, and Retry where another engine
        holds it, or another build has begun."""
        current = self._current
        if current and current.held:
            at = current.restores or current.generation
            warning = f"Index {self._index!r} is held at generation {at} by a rollback; release it to build."
            return report(self._index, current, (warning,)), current
        if current and current.remote is None:  # nothing of it is in Qdrant: what is built would be all that there is
            raise Retry(f"Index {self._index!r} got another engine while it was built. Build it again.", after=1.0)
        filling = Filling(self._index, self._collection, self._base, self._begin, self._alive)
        if current and not self._anew:
            filling.dimensions, filling.model = current.dimensions, current.model
        intake = self._taken(filling, wanted)
        warnings = (*([self._anew] if self._anew and not self._strange else []), *intake.warnings)
        if not filling.epoch and not self._returns():
            return report(self._index, current, warnings), current
        made = self._version(filling, intake)
        done = report(self._index, made, warnings)
        return replace(done, published=True, batches=len(filling.batches)), made

    def _taken(self, filling: Filling, wanted: Wanted) -> Intake:
        current, space = self._current, self._space
        known = Known(self._index, self._collection, self._base)
        skipped = current.skipped if current else ()
        taken = None
        if wanted.named and current and not self._anew:
            taken = take(self._store, space, filling, wanted, known, skipped, self._alive)
        if taken is None:
            everything = Wanted(listed=batches.listing(self._store, space))
            taken = gather(self._store, space, filling, everything, known, skipped, self._alive)
        return taken

    def _begin(self, filling: Filling) -> int:
        """The epoch of this attempt, and its collection where there is none."""
        above = max((one.epoch for one in self._remotes()), default=0)
        epoch = epochs.take(self._client, self._index, above)
        if self._base is None:
            self._made = ledger.begin(self._store, self._index, epoch, "build")
            self._noted = time.monotonic()
            self._collection.name = self._made.collection
            self._collection.create(filling.dimensions)
        return epoch

    def _remotes(self) -> list[Remote]:
        found = (self._current.remote, self._current.ahead) if self._current else ()
        return [one for one in found if one]

    def _returns(self) -> bool:
        """Whether what was built after the version that a rollback brought back has yet to be seen again."""
        return bool(self._current and self._current.ahead and not self._anew)

    def _alive(self) -> None:
        """Raises Retry where another builder has taken over."""
        if not self._lease.held:
            self._lease.take()
        if self._lease.held:
            self._lease.renew()
        if not self._lease.held:
            raise Retry(f"Another build of index {self._index!r} has taken over. Build it again.", after=1.0)
        if self._made and time.monotonic() >= self._noted + ledger.NOTE_SECONDS:
            ledger.note(self._store, self._index, self._made)
            self._noted = time.monotonic()

    def _alone(self, epoch: int) -> None:
        """Raises Retry where another attempt has begun since this one. It may have ended what this one should have
        ended; in an epoch that comes later, that would be seen again."""
        self._alive()
        if epoch and not epochs.is_last(self._client, self._index, epoch):
            raise Retry(f"Another build of index {self._index!r} has begun since. Build it again.", after=1.0)

    def _version(self, filling: Filling, intake: Intake) -> Manifest:
        current = self._current
        view = self._checked(filling) if self._base is None else filling.view()
        if self._strange and current and (view.rows, view.documents) != (current.vectors, current.documents):
            raise _Fewer
        self._alone(filling.epoch)
        keeps = current.backends if current and not self._anew else ()
        made = Manifest(
            index=self._index,
            generation=0,
            created=time.time(),
            builder=uuid.uuid4().hex,
            dimensions=filling.dimensions,
            model=filling.model,
            faiss="",
            max_seq=max(filling.change.max_seq, current.max_seq if current else 0),
            segments=(),
            skipped=tuple(intake.skipped),
            kind="qdrant",
            native=(current.native or (current.model if self._strange else "")) if current else "",
            backends=tuple(sorted({*filling.change.backends, *keeps})),
            remote=view,
        )
        return manifest.commit(self._store, manifest.successor(current, made))

    def _checked(self, filling: Filling) -> Remote:
        """What a new collection holds, counted by Qdrant; it must be what was sent, and be ready to be asked."""
        return checked(self._connection, self._collection, filling)


def checked(
    connection: Connection, collection: Collection, filling: Filling, stop: Callable[[], bool] = lambda: False
) -> Remote:
    """What a filled collection holds, counted. Raises IndexUnavailable where Qdrant counts something else."""
    sent = filling.view()
    rows = collection.count(seen(sent))
    documents = collection.count(both(seen(sent), first()))
    if (rows, documents) != (sent.rows, sent.documents):
        raise IndexUnavailable(
            f"Collection {collection.name} of Qdrant at {connection.place} holds {rows} chunks of {documents} "
            f"documents; {sent.rows} of {sent.documents} were sent. The version before stays; build the index again."
        )
    collection.wait_ready(stop)
    return sent


def report(index: str, current: Manifest | None, warnings: tuple[str, ...]) -> BuildReport:
    """What is there, where nothing was published."""
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
