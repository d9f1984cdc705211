"""Back to an older version, and forward again. Both are new manifests: no version is ever changed or taken away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace

import redis

from runtime.context import Store
from runtime.errors import BadInput, CorruptSegment, ObjectMissing, PreconditionFailed
from runtime.index import layout, manifest
from runtime.index.lease import BuildLease, RemovalLease
from runtime.index.manifest import Manifest
from runtime.index.remote import Remote

ATTEMPTS = 5
PATIENCE_SECONDS = 10.0
"""For a cleanup that is under way: it might remove what becomes the current version. A build is waited for only where
it writes to another engine's collection: else it finds at its end what is current now, and publishes nothing."""

Tell = Callable[[Manifest], object]


def rollback(store: Store, client: redis.Redis, index: str, generation: int, tell: Tell) -> Manifest:
    """Publish the segments of `generation` again, held: builds publish nothing on it until `release`.

    Batches that were committed since stay; a build after the release brings them back. Raises BadInput where there is
    no such generation, or it is the current one, and PreconditionFailed where a cleanup
    is under way (or, with another engine, a build).
    """

    def back(current: Manifest | None) -> Manifest:
        if current is None:
            raise BadInput(f"Index {index!r} has no version yet: there is nothing to go back to.")
        if generation == current.generation:
            raise BadInput(f"Generation {generation} is the current one of index {index!r}; name an older one.")
        if current.held and current.restores == generation:  # asked once more
            return current
        wanted = _stored(store, index, generation)
        # Numbers that were given out stay given out.
        return replace(
            wanted,
            max_seq=max(wanted.max_seq, current.max_seq),
            native=current.native,
            held=True,
            restores=generation,
            ahead=_ahead(store, index, wanted, current),
        )

    return _publish(store, client, index, back, tell)[0]


def release(store: Store, client: redis.Redis, index: str, tell: Tell) -> tuple[Manifest, bool]:
    """Let builds go on from the current version; says whether it was held.

    Raises BadInput where there is none, and PreconditionFailed.
    """

    def freed(current: Manifest | None) -> Manifest:
        if current is None:
            raise BadInput(f"Index {index!r} has no version yet: nothing is held.")
        return replace(current, held=False)

    return _publish(store, client, index, freed, tell)


def _publish(
    store: Store, client: redis.Redis, index: str, change: Callable[[Manifest | None], Manifest], tell: Tell
) -> tuple[Manifest, bool]:
    """The current manifest afterwards, and whether `change` made a new one."""
    with ExitStack() as stack:
        current = manifest.newest(store, index)
        kinds = (BuildLease, RemovalLease) if current and current.remote else (RemovalLease,)
        leases = [stack.enter_context(kind(client, index, PATIENCE_SECONDS)) for kind in kinds]
        for _ in range(ATTEMPTS):
            current = manifest.newest(store, index, current)
            wanted = change(current)
            if current and wanted == current:
                return current, False
            for lease in leases:
                if lease.held:
                    lease.renew()
            if not all(lease.held for lease in leases):
                busy = "build or cleanup" if len(leases) > 1 else "cleanup"
                raise PreconditionFailed(f"A {busy} of index {index!r} is under way. Try again.")
            made = replace(wanted, created=time.time(), builder=uuid.uuid4().hex, digest="", etag="")
            try:
                made = manifest.commit(store, manifest.successor(current, made))
            except PreconditionFailed:
                continue  # a build was faster: look again
            tell(made)
            manifest.write_hint(store, made)
            return made, True
    raise PreconditionFailed(f"Builds of index {index!r} were faster {ATTEMPTS} times. Try again.")


def _ahead(store: Store, index: str, wanted: Manifest, current: Manifest) -> Remote | None:
    """What builds go on from where another engine holds `wanted`: what its collection has become since."""
    if wanted.remote is None:
        return None
    newest = wanted.remote
    for generation in range(wanted.generation, current.generation + 1):
        with suppress(ObjectMissing, CorruptSegment):
            version = manifest.read(store, index, generation)
            for one in (version.remote, version.ahead):
                if one and one.collection == newest.collection and one.epoch > newest.epoch:
                    newest = one
    return newest if newest != wanted.remote else None


def _stored(store: Store, index: str, generation: int) -> Manifest:
    """An older version, if all of it is still there. Raises BadInput."""
    try:
        found = manifest.read(store, index, generation)
        for ref in found.segments:
            store.head(store.bucket, layout.beginning(index, ref.segment))
            if ref.tombstones:
                store.head(store.bucket, layout.tombstones(index) + ref.tombstones)
    except ObjectMissing as error:
        kept = sorted((number for number, _ in manifest.listed(store, index)), reverse=True)
        raise BadInput(
            f"Index {index!r} has no complete generation {generation}. Kept are {', '.join(map(str, kept))}; "
            "cleanup removes old ones."
        ) from error
    return found
