"""Texts and objects in, one batch of vectors out: extract, chunk, embed, commit.

A batch is named by its content, so doing it twice changes nothing; each of its rows carries a sequence number, so
the newest version of a document wins however batches are cut, repeated or reordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from runtime.context import Context, Document, ObjectEvent, Row
from runtime.errors import CorruptBatch

from ._chunk import CHUNKER_VERSION
from ._members import Member, again_id, batch_id, gather
from ._rows import Work, embed
from ._text import EXTRACTOR_VERSION

if TYPE_CHECKING:
    from runtime.context import Vectors


@dataclass(frozen=True, slots=True)
class Failed:
    """A document that could not be indexed. `reason` names the cause and the mend."""

    bucket: str
    key: str
    etag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """A document for which the time was too short."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Read:
    """An object that was another one when it was read than the event said; `etag` is empty where it was gone."""

    bucket: str
    key: str
    etag: str


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What became of a batch. `count` is the number of vectors at `path`.

    `reused`: nothing new was written. `deferred`: what the time was too short for; the bucket trigger that sent it
    hands it out again, or else the invocation `deferred_to` does it. `read` tells the trigger what was really there:
    an object that went and came back with the same bytes would pass for done otherwise.
    """

    index: str
    path: str
    batch_id: str
    count: int
    documents: int
    failed: list[Failed] = field(default_factory=list)
    reused: bool = False
    deferred: list[Deferred] = field(default_factory=list)
    deferred_to: str | None = None
    read: list[Read] = field(default_factory=list)


def embed_batch(
    documents: list[Document] | None = None,
    objects: list[ObjectEvent] | None = None,
    index: str = "default",
    *,
    context: Context,
) -> EmbedResult:
    """Make documents searchable: extract their text, cut it into chunks, embed these and write them as one batch.

    A document that cannot be read is listed in `failed` and leaves the index; the others are not held up by it.
    """
    members = gather(documents or [], objects or [], index, context.index, context.store)
    others = [Read(one.bucket, one.key, one.etag) for one in members if _is_another(one)]
    return replace(_embed(index, members, context), read=others)


def _is_another(member: Member) -> bool:
    event = member.source
    return isinstance(event, ObjectEvent) and event.event == "created" and event.etag not in (None, member.etag)


def _embed(index: str, members: Sequence[Member], context: Context) -> EmbedResult:
    versions = context.index.text_versions(index, [member.id for member in members])
    for member in members:
        member.compare(versions.get(member.id))
    name = _name(index, members, context)
    found = _read(index, name, context)
    while found is not None and any(row.meta.get("passing") for row in found[0]):
        # Something in it failed for a reason that may have passed: read it anew, under a name and with numbers of
        # its own, so that what it says now counts.
        name = again_id(name, ())
        found = _read(index, name, context)
        for member in members:
            member.given = None if member.op == "put" else member.given
    if found is None:
        return _new(index, name, members, context)
    rows, vectors = found
    stored = {(row.bucket, row.key): row.seq for row in rows}
    if all(_settled(member, stored[member.place], versions) for member in members):
        return _result(index, name, rows, context, reused=True)
    # The content came back after something else was there: the same vectors, but newer than what came between.
    seqs = {member.place: max(member.seq, stored[member.place]) for member in members}
    rows = [replace(row, seq=seqs[row.bucket, row.key]) for row in rows]
    name = again_id(name, ((bucket, key, seq) for (bucket, key), seq in seqs.items()))
    reused = _read(index, name, context) is not None
    if not reused:
        context.index.set_text_versions(index, {m.id: (m.etag, seqs[m.place]) for m in members})
        name = _write(index, name, rows, vectors, context)
    return _result(index, name, rows, context, reused=reused)


def _write(index: str, name: str, rows: list[Row], vectors: Vectors, context: Context) -> str:
    """Commit; returns the name that the batch has got, which is another one where its own is in use."""
    path = context.index.write_batch(index, name, rows, vectors, context.models.name)
    return path.rstrip("/").rpartition("/")[2]


def _read(index: str, name: str, context: Context) -> tuple[list[Row], Vectors] | None:
    """A committed batch. A damaged one is as good as none: it is written again."""
    try:
        return context.index.read_batch(index, name)
    except CorruptBatch as error:
        context.log.warning("a stored batch is written anew: %s", error)
        return None


def _settled(member: Member, stored: int, versions: dict[str, tuple[str, int]]) -> bool:
    """Whether the batch that is stored already says all there is to say of this member."""
    if member.given is not None:
        return stored >= member.given
    newest = versions.get(member.id)
    return newest is not None and newest[0] == member.etag


def _new(index: str, name: str, members: Sequence[Member], context: Context) -> EmbedResult:
    """Extract, embed and commit under `name`, or under another one where only a part could be done."""
    work = embed(members, context)
    if work.deferred:
        name = _name(index, work.done, context)
        if _read(index, name, context) is not None:
            name = again_id(name, ((member.bucket, member.key, member.seq) for member in work.done))
    # First the newest version, then the commit: after a crash between the two the batch is written once more, while
    # the other way round an older content could pass for the newest.
    context.index.set_text_versions(index, {member.id: (member.etag, member.seq) for member in work.done})
    name = _write(index, name, work.rows, work.vectors, context)
    return _result(index, name, work.rows, context, deferred=work.deferred, submitted=_submit(index, work, context))


def _submit(index: str, work: Work, context: Context) -> str | None:
    """Hand on what there was no time for, as an invocation of its own; a bucket trigger keeps count by itself."""
    if not work.deferred or context.trigger == "bucket":
        return None
    sources = [member.source for member in work.deferred]
    return context.submit(
        context.function,
        documents=[asdict(source) for source in sources if isinstance(source, Document)],
        objects=[asdict(source) for source in sources if isinstance(source, ObjectEvent)],
        index=index,
    )


def _name(index: str, members: Sequence[Member], context: Context) -> str:
    return batch_id(index, members, context.models.name, CHUNKER_VERSION, EXTRACTOR_VERSION)


def _result(
    index: str,
    name: str,
    rows: Sequence[Row],
    context: Context,
    *,
    reused: bool = False,
    deferred: Sequence[Member] = (),
    submitted: str | None = None,
) -> EmbedResult:
    failed = [Failed(row.bucket, row.key, row.etag, row.meta["failed"]) for row in rows if "failed" in row.meta]
    for failure in failed:
        context.log.warning("left out of the index %s: %s", index, failure.reason)
    return EmbedResult(
        index=index,
        path=f"embeddings/{index}/batches/{name}/",
        batch_id=name,
        count=sum(row.op == "put" for row in rows),
        documents=len({(row.bucket, row.key) for row in rows if row.op == "put"}),
        failed=failed,
        reused=reused,
        deferred=[Deferred(member.bucket, member.key) for member in deferred],
        deferred_to=submitted,
    )
