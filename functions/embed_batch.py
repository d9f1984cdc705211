"""Texts and objects in, one batch of vectors out: extract, chunk, embed, commit.

A batch is named by its content, so doing it twice changes nothing; each of its rows carries a sequence number, so
the newest version of a document wins however batches are cut, repeated or reordered. Documents that are in the index
as they are, are left out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from runtime.context import Context, Document, ObjectEvent, Row
from runtime.errors import CorruptBatch

from ._ahead import all_read
from ._members import Member, again_id, batch_id, gather
from ._models import Target, target_of, write
from ._outcome import Deferred, EmbedResult, Failed, Noted, Read
from ._recall import Recall, Version, has_failed, renewed, tries_of
from ._rows import Work, embed
from ._source_parts import read_part
from ._tenants import named, tenant_of

if TYPE_CHECKING:
    from runtime.context import Vectors


def embed_batch(
    documents: list[Document] | None = None,
    objects: list[ObjectEvent] | None = None,
    index: str = "default",
    part: str = "",
    *,
    context: Context,
) -> EmbedResult:
    """Make documents searchable: extract their text, cut it into chunks, embed these and write them as one batch.

    A document that cannot be read is listed in `failed` and leaves the index; the others are not held up by it. What
    was embedded before is not embedded again: unchanged documents, chunks whose text is in the index already. `part`
    is a batch that embed_all has laid down in the store.
    """
    if part:
        more, listed = read_part(context.store, part)
        documents, objects = [*(documents or []), *more], [*(objects or []), *listed]
    documents, objects = named(documents or [], objects or [], context)
    target = target_of(index, context)
    settled, left = _unread(target, objects, context)
    if settled and not left and not documents:
        return _unchanged(target, settled, context)
    members = gather(documents, left, index, context.index, context.store)
    for member in members:
        member.tenant = tenant_of(member, context)
    result = _embed(target, members, context)
    others = [Read(one.bucket, one.key, one.etag) for one in members if _is_another(one)]
    return _joined(replace(result, read=others), target, settled, context)


def _unread(
    target: Target, objects: Sequence[ObjectEvent], context: Context
) -> tuple[list[Version], list[ObjectEvent]]:
    """The objects of a listing that are in the index as they were listed, which need not even be read; the others."""
    events = {(event.bucket, event.key): event for event in objects}
    asked = [
        Member(event.bucket, event.key, 0, etag=event.etag, tenant=context.owner(event.bucket, event.key))
        for event in events.values()
        if event.event == "created" and event.seq is None and event.etag
    ]
    if not asked or len(events) < len(objects):
        return [], list(objects)
    newest = context.index.text_versions(target.index, [member.id for member in asked])
    asked = [member for member in asked if newest.get(member.id, ("", 0))[0] == member.etag]
    recall = _recall(target, asked, context)
    settled = {member.place: known for member in asked if (known := recall.settled(member, newest[member.id]))}
    return list(settled.values()), [event for place, event in events.items() if place not in settled]


def _recall(target: Target, members: Sequence[Member], context: Context) -> Recall:
    wanted = [(member.bucket, member.key, member.etag) for member in members if member.op == "put"]
    return Recall(context.index.kept(target.index, wanted, target.models.name) if wanted else (), target.made)


def _is_another(member: Member) -> bool:
    event = member.source
    return isinstance(event, ObjectEvent) and event.event == "created" and event.etag not in (None, member.etag)


def _embed(target: Target, members: Sequence[Member], context: Context, recall: Recall | None = None) -> EmbedResult:
    index = target.index
    versions = context.index.text_versions(index, [member.id for member in members])
    for member in members:
        member.compare(versions.get(member.id))
    name = _name(target, members)
    found = _read(target, name, context)
    if found is not None and all_read(members):  # what there really is decides
        return _embed(target, members, context, recall)
    while found is not None and any(map(tries_of, found[0])):
        # Something in it failed for a reason that may have passed: read it anew, under a name and with numbers of
        # its own, so that what it says now counts.
        name = again_id(name, ())
        found = _read(target, name, context)
        for member in members:
            member.given = None if member.op == "put" else member.given
    if found is not None:
        return _again(target, name, found, members, versions, context)
    if recall is None:
        recall = _recall(target, members, context)
        settled = {member.id: known for member in members if (known := recall.settled(member, versions.get(member.id)))}
        if settled:
            if all_read(members):
                return _embed(target, members, context)
            left = [member for member in members if member.id not in settled]
            there = list(settled.values())
            if not left:
                return _unchanged(target, there, context)
            return _joined(_embed(target, left, context, recall), target, there, context)
    return _new(target, name, members, recall, context)


def _again(
    target: Target,
    name: str,
    found: tuple[list[Row], Vectors],
    members: Sequence[Member],
    versions: dict[str, tuple[str, int]],
    context: Context,
) -> EmbedResult:
    """The same content was embedded together before."""
    rows, vectors = found
    stored = {(row.bucket, row.key): row.seq for row in rows}
    if all(_settled(member, stored[member.place], versions) for member in members):
        return _result(target, name, rows, context, reused=True)
    # The content came back after something else was there: the same vectors, but newer than what came between.
    seqs = {member.place: max(member.seq, stored[member.place]) for member in members}
    mine = {member.place: member for member in members}
    rows = [
        replace(
            row if row.op == "delete" else renewed(row, mine[row.bucket, row.key], row.tenant),
            seq=seqs[row.bucket, row.key],
        )
        for row in rows
    ]
    name = again_id(name, ((bucket, key, seq) for (bucket, key), seq in seqs.items()))
    reused = _read(target, name, context) is not None
    if not reused:
        context.index.set_text_versions(target.index, {m.id: (m.etag, seqs[m.place]) for m in members})
        name = write(target, name, rows, vectors, context)
    return _result(target, name, rows, context, reused=reused)


def _read(target: Target, name: str, context: Context) -> tuple[list[Row], Vectors] | None:
    """A committed batch. A damaged one is as good as none: it is written again."""
    try:
        return context.index.read_batch(target.index, name, target.models.name)
    except CorruptBatch as error:
        context.log.warning("a stored batch is written anew: %s", error)
        return None


def _settled(member: Member, stored: int, versions: dict[str, tuple[str, int]]) -> bool:
    """Whether the batch that is stored already says all there is to say of this member."""
    if member.given is not None:
        return stored >= member.given
    newest = versions.get(member.id)
    return newest is not None and newest[0] == member.etag


def _new(target: Target, name: str, members: Sequence[Member], recall: Recall, context: Context) -> EmbedResult:
    """Extract, embed and commit under `name`, or under another one where only a part could be done."""
    told, index = _name(target, members), target.index
    work = embed(members, context, target.models, recall, target.chunking, target.extraction)
    done = _name(target, work.done)
    if done != told:  # some is left out, or was another object by the time it was read
        name = done
        if _read(target, name, context) is not None:
            name = again_id(name, ((member.bucket, member.key, member.seq) for member in work.done))
    # First the newest version, then the commit: after a crash between the two the batch is written once more, while
    # the other way round an older content could pass for the newest.
    context.index.set_text_versions(index, {member.id: (member.etag, member.seq) for member in work.done})
    own = {target.models.backend} if work.embedded else set()
    known = recall.backends if work.embedded < len(work.vectors) else set()
    name = write(target, name, work.rows, work.vectors, context, sorted(own | known))
    result = _result(target, name, work.rows, context, embedded=work.embedded)
    result = replace(result, backend=target.models.backend if work.embedded else "")
    deferred = [Deferred(member.bucket, member.key) for member in work.deferred]
    return replace(result, deferred=deferred, deferred_to=_submit(index, work, context))


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


def _name(target: Target, members: Sequence[Member]) -> str:
    return batch_id(target.index, members, target.native, target.made)


def _unchanged(target: Target, known: Sequence[Version], context: Context) -> EmbedResult:
    """All that was asked for is in the index; one of the batches that have it is named."""
    rows = [row for version in known for row in version.rows]
    result = _result(target, known[0].batch, rows, context, reused=True)
    return replace(result, unchanged=result.documents, reused_chunks=0)


def _joined(rest: EmbedResult, target: Target, known: Sequence[Version], context: Context) -> EmbedResult:
    """The result of a part, and what was settled before."""
    if not known:
        return rest
    same = _unchanged(target, known, context)
    return replace(
        rest,
        documents=rest.documents + same.documents,
        failed=[*same.failed, *rest.failed],
        noted=[*same.noted, *rest.noted],
        unchanged=rest.unchanged + same.unchanged,
    )


def _result(
    target: Target, name: str, rows: Iterable[Row], context: Context, *, embedded: int = 0, reused: bool = False
) -> EmbedResult:
    rows = list(rows)
    failed = [Failed(row.bucket, row.key, row.etag, row.meta["failed"]) for row in rows if has_failed(row)]
    for failure in failed:
        context.log.warning("left out of the index %s: %s", target.index, failure.reason)
    noted = {(row.bucket, row.key): row for row in rows if row.bucket and row.op == "put" and row.meta.get("notes")}
    count = sum(row.op == "put" for row in rows)
    return EmbedResult(
        index=target.index,
        path=f"embeddings/{target.index}/batches/{name}/",
        batch_id=name,
        count=count,
        documents=len({(row.bucket, row.key) for row in rows if row.op == "put"}),
        failed=failed,
        reused=reused,
        embedded_chunks=embedded,
        reused_chunks=count - embedded,
        noted=[Noted(row.bucket, row.key, row.etag, row.meta["notes"]) for row in noted.values()],
    )
