"""What need not be done again: documents that are in the index as they are, chunks whose vectors are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from runtime.context import Kept, Row

from ._kinds import suffix_of
from ._members import Member

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from runtime.context import Vectors

    Vector = NDArray[np.float32]

FOUND = ("suffix", "title", "language", "notes", "headings", "page", "header")
"""What the rows of an object say of it that was found in its name and content; all else is what the store says."""

TRIES = 3
"""So often a listing has a document read that might be read better another time; then somebody has to ask for it."""

MOST = 128 * 2**20
"""Bytes of stored vectors and texts that are held; what is beyond is done again."""


@dataclass(frozen=True, slots=True)
class Version:
    """A document as it was embedded. Its rows belong together: one that failed has a single one."""

    batch: str
    made: str
    rows: list[Row]

    @property
    def failed(self) -> bool:
        return has_failed(self.rows[0])

    @property
    def tries(self) -> int:
        """After how many tries this is what there is, and may not be all; 0 where it is all."""
        return tries_of(self.rows[0])

    def of(self, etag: str, made: str) -> bool:
        """Whether this is what the content comes to."""
        first = self.rows[0]
        return first.etag == etag and self.made == made != "" and (first.op == "put" or self.failed)


def has_failed(row: Row) -> bool:
    """Whether it says that a document could not be read. What came in a call may have metadata of that name."""
    return row.op == "delete" and "failed" in row.meta


def tries_of(row: Row) -> int:
    """See `Version.tries`."""
    return int(row.meta.get("passing", 0)) if row.op == "delete" or row.bucket else 0


class Recall:
    """What is stored of some documents. `made` says by what texts are cut now: rows that were cut otherwise give
    nothing but the vectors of their texts."""

    def __init__(self, kept: Iterable[Kept] = (), made: str = "") -> None:
        self._made = made
        self.vectors: dict[str, Vector] = {}
        self.backends: set[str] = set()
        """Of the vectors, as far as that is known."""
        self._newest: dict[tuple[str, str], Version] = {}
        self._contents: dict[tuple[str, str], Version] = {}
        size = 0
        for batch in kept:
            size += batch.vectors.nbytes + sum(len(row.text) for row in batch.rows)
            if size > MOST:
                break
            numbers = iter(range(len(batch.vectors)))
            self.backends.update(batch.backends)
            self.vectors.update((row.text, batch.vectors[next(numbers)]) for row in batch.rows if row.op == "put")
            for _, rows in groupby(batch.rows, lambda row: (row.bucket, row.key, row.etag, row.seq)):
                self._add(Version(batch.batch, batch.made, list(rows)))

    def _add(self, version: Version) -> None:
        first = version.rows[0]
        known = self._newest.get((first.bucket, first.key))
        if known is None or known.rows[0].seq < first.seq:
            self._newest[first.bucket, first.key] = version
        if version.of(first.etag, self._made) and not version.failed and not version.tries:
            self._contents[first.etag, _kind(first.bucket, first.key)] = version

    def settled(self, member: Member, newest: tuple[str, int] | None) -> Version | None:
        """The stored version that says all there is to say of this member; `newest` is what was written last of it."""
        known = self._newest.get(member.place)
        if known is None or member.op != "put" or member.problem or not known.of(member.etag, self._made):
            return None
        if known.rows[0].tenant != member.tenant:  # its owner has changed: the same rows, under another name
            return None
        if known.tries and (known.tries < TRIES or not member.listed):
            return None
        stored = known.rows[0].seq
        if member.given is not None:
            return known if stored >= member.given and not member.overtaken else None
        return known if newest is not None and newest[0] == member.etag and stored >= newest[1] else None

    def rows(self, member: Member, tenant: str) -> list[Row] | None:
        """The rows of a member whose content was embedded before, be it under another name; None where it was not."""
        if not self._newest:  # nor any content: new documents
            return None
        known = self._newest.get(member.place)
        if known is None or not known.of(member.etag, self._made) or known.tries:
            known = self._contents.get((member.etag, _kind(*member.place))) if member.etag else None
        return [renewed(row, member, tenant) for row in known.rows] if known else None

    def tries(self, member: Member) -> int:
        """How often the content of this member was read, and might be read better another time."""
        known = self._newest.get(member.place)
        return known.tries if known is not None and known.of(member.etag, self._made) else 0


def renewed(row: Row, member: Member, tenant: str) -> Row:
    """A stored row as the member's: only what was found in the content itself is as it was."""
    told: dict[str, Any] = dict(member.meta)
    if has_failed(row):
        told = {"failed": row.meta["failed"]}
    elif member.bucket:
        told |= {name: value for name, value in row.meta.items() if name in FOUND}
    return replace(
        row, bucket=member.bucket, key=member.key, etag=member.etag, seq=member.seq, tenant=tenant, meta=told
    )


def _kind(bucket: str, key: str) -> str:
    """What of a name decides how its content is read: the suffix; all of it where there is none."""
    if not bucket:
        return "/"
    return suffix_of(key) or PurePosixPath(key).name


class Passes(Protocol):
    """Texts in, vectors out in the same order."""

    def __len__(self) -> int: ...
    def add(self, texts: Sequence[str]) -> None: ...
    def keep(self, count: int) -> None: ...
    def vectors(self) -> Vectors: ...


class Once:
    """Passes that spare the model what is known, and what was asked before: `known` are vectors by text."""

    def __init__(self, passes: Passes, known: Mapping[str, Vector]) -> None:
        self._passes, self._known = passes, known
        self._texts: list[str] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def embedded(self) -> int:
        """Texts that the model has to embed."""
        return len(self._places)

    def add(self, texts: Sequence[str]) -> None:
        """Raises what the passes raise; these texts are taken by then, all the same."""
        self._texts += texts
        new, places = list[str](), self._places
        for text in texts:
            if text not in places and text not in self._known:
                places[text] = len(places)
                new.append(text)
        self._passes.add(new)

    def keep(self, count: int) -> None:
        """Forget all but the first `count` texts."""
        del self._texts[count:]
        left = set(self._texts)
        # Places are in the order in which texts came: those of the texts that are left are the first ones.
        self._places = {text: place for text, place in self._places.items() if text in left}
        self._passes.keep(len(self._places))

    def vectors(self) -> Vectors:
        """Of all texts, in the order in which they came."""
        import numpy as np

        made = self._passes.vectors()
        found = np.empty((len(self._texts), made.shape[1]), np.float32)
        for number, text in enumerate(self._texts):
            place = self._places.get(text)
            found[number] = self._known[text] if place is None else made[place]
        return found
