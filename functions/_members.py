"""What goes into one batch: texts and objects with the content that was really read, and the batch's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.context import Document, Index, ObjectEvent, Store, StoredObject
from runtime.errors import BadInput, ObjectMissing

OBJECT_LIMIT = 64 * 2**20
"""Bytes of the largest object that is read."""

READERS = 4
"""Objects that are read at once."""

BATCH_LIMIT = 256 * 2**20
"""Bytes of all objects of a batch: they are held in memory until the batch is written."""

METADATA_BYTES = 2048
"""Of an object's own metadata: what S3 takes. Every row of the object repeats it, so that searches can ask for it."""


@dataclass(slots=True)
class Member:
    """One document of a batch. `op` is what its change asks for; `problem` says why it cannot be indexed.

    `fresh` is a sequence number reserved before the content was read, `given` the one that the event brought.
    """

    bucket: str
    key: str
    fresh: int
    given: int | None = None
    overtaken: bool = False
    etag: str = ""
    op: Literal["put", "delete"] = "put"
    source: Document | ObjectEvent | None = None
    data: bytes = b""
    text: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    unread: Store | None = None
    """Where its content is still to be read; until then, `etag` is what the event says."""
    newest: tuple[str, int] | None = None
    tenant: str = "default"
    """Whose its rows are."""
    tries: int = 0
    """How often this content was read before, and might be read better another time."""

    @property
    def listed(self) -> bool:
        """Whether it comes from a listing, and nobody asked for just this one."""
        return not isinstance(self.source, Document) and (self.source is None or self.source.seq is None)

    @property
    def place(self) -> tuple[str, str]:
        return self.bucket, self.key

    @property
    def id(self) -> str:
        """The document's name in `Index.text_versions`; no bucket has a slash in its name."""
        return f"{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The document as people know it."""
        return self.id if self.bucket else f"document {self.key}"

    @property
    def seq(self) -> int:
        return self.fresh if self.given is None or self.overtaken else self.given

    def compare(self, newest: tuple[str, int] | None) -> None:
        """Mark as overtaken: another content is in the index under the event's number or a later one.

        What is here was read after `fresh` was reserved, so that number is as true and wins.
        """
        self.newest = newest
        self.overtaken = self.op == "put" and newest is not None and newest[1] >= self.seq and newest[0] != self.etag

    def read(self, found: StoredObject | None = None) -> Member:
        """Itself, read by now: `found`, or what the store says. Raises StoreDown and StoreDenied."""
        store, self.unread = self.unread, None
        if store is not None and isinstance(self.source, ObjectEvent):
            _fill(self, self.source, store, found)
            self.compare(self.newest)
        return self


def gather(
    documents: Iterable[Document], objects: Iterable[ObjectEvent], index: str, indexes: Index, store: Store
) -> list[Member]:
    """Every member once. Of several changes of one key the last counts. Raises StoreDown and StoreDenied.

    Objects of which the event says the etag are still to be read, unless it is but one.
    """
    texts = {text_key(document): document for document in documents}
    events: dict[tuple[str, str], ObjectEvent] = {}
    for event in objects:
        known = events.get((event.bucket, event.key))
        if known is None or (event.seq or 0) >= (known.seq or 0):
            events[event.bucket, event.key] = event
    count = len(texts) + len(events)
    if not count:
        raise BadInput("There is nothing to embed: give 'documents' (texts) or 'objects' (bucket and key).")
    # Reserved before anything is read: what is read is then never older than its number says.
    numbers = iter(range(first := indexes.next_seq(index, count), first + count))
    members = [_of_text(key, document, next(numbers)) for key, document in texts.items()]
    size = 0
    for member in _read([(event, next(numbers)) for event in events.values()], store):
        size += len(member.data)
        check_size(size)
        members.append(member)
    return members


def check_size(size: int) -> None:
    """Raises BadInput for objects that are too many bytes together."""
    if size > BATCH_LIMIT:
        raise BadInput(f"The objects are over {BATCH_LIMIT // 2**20} MiB together. Send fewer at once.")


def _read(events: list[tuple[ObjectEvent, int]], store: Store) -> Iterator[Member]:
    """Every object with its number, in order, some at once: one after the other they would be mostly waited for."""
    many = len(events) > 1

    def later(event: ObjectEvent) -> bool:
        return many and event.event == "created" and bool(event.etag)

    def one(numbered: tuple[ObjectEvent, int]) -> Member:
        event, fresh = numbered
        if later(event):
            return Member(event.bucket, event.key, fresh, event.seq, etag=event.etag or "", source=event, unread=store)
        return _of_object(event, fresh, store)

    with ThreadPoolExecutor(READERS, thread_name_prefix="objects") as pool:
        for first in range(0, len(events), READERS):
            group = events[first : first + READERS]
            # A thread for each that is to be read later would take longer than all else that is done for it here.
            alone = sum(not later(event) for event, _ in group) < 2
            yield from (map if alone else pool.map)(one, group)


def batch_id(index: str, members: Sequence[Member], *versions: str) -> str:
    """The name of a batch: the same content through the same `versions` of model and code has the same name."""
    content = sorted(
        (
            m.bucket,
            m.key,
            m.etag,
            m.op,
            m.problem if m.op == "delete" else "",
            *([m.tenant] if m.tenant != "default" else ()),
        )
        for m in members
    )
    return hashlib.sha256(json.dumps([index, versions, content]).encode()).hexdigest()


def again_id(base: str, seqs: Iterable[tuple[str, str, int]]) -> str:
    """The name of a batch that repeats `base` with other sequence numbers (bucket, key, seq)."""
    return hashlib.sha256(json.dumps([base, sorted(seqs)]).encode()).hexdigest()


def _sha(text: str) -> str:
    # A lone surrogate cannot be UTF-8; it may come in by JSON and must not break the hash.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def text_key(document: Document) -> str:
    """What a text that came in a call is called. Raises BadInput."""
    try:
        (document.id or "").encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"The id {document.id!r} is not valid Unicode.") from error
    return document.id or _sha(document.text)[:32]


def _of_text(key: str, document: Document, fresh: int) -> Member:
    text = document.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    member = Member("", key, fresh, etag=_sha(document.text), source=document, text=text, meta=dict(document.meta))
    if not text.strip():
        member.problem = f"{member.name} has no text in it: there is nothing to index. Send it with its text."
    return member


def _of_object(event: ObjectEvent, fresh: int, store: Store) -> Member:
    member = Member(event.bucket, event.key, fresh, event.seq, source=event)
    _fill(member, event, store)
    return member


def _fill(member: Member, event: ObjectEvent, store: Store, found: StoredObject | None = None) -> None:
    member.etag = ""
    # A text that came in `documents` has no object that could be asked.
    if event.event == "removed" and (event.seq is not None or not event.bucket):
        member.op = "delete"
        return
    try:
        found = found or store.get(event.bucket, event.key, limit=OBJECT_LIMIT)
        member.data, member.etag = found.data, found.etag
        member.meta.update(_told(found))
    except ObjectMissing:
        _missing(member, event)
    except BadInput:  # too large
        try:
            there = store.head(event.bucket, event.key)
        except ObjectMissing:
            _missing(member, event)
            return
        most = OBJECT_LIMIT // 2**20
        member.etag = there.etag
        member.problem = f"{member.name} has {there.size / 2**20:,.0f} MiB; at most {most} MiB are read. Split it."


def _told(found: StoredObject) -> dict[str, Any]:
    """What the store says of an object, for its rows; what it does not say is left out."""
    told = {"content_type": found.content_type, "modified": found.modified, "metadata": _bounded(found.metadata)}
    return {name: value for name, value in told.items() if value}


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    if not metadata:
        return kept
    room = METADATA_BYTES
    for name, value in sorted(metadata.items()):
        room -= len(name) + len(value)
        if room < 0:
            break
        kept[name] = value
    return kept


def _missing(member: Member, event: ObjectEvent) -> None:
    """Gone by now. A trigger knows how that happens; a person who named the key is told."""
    member.op = "delete"
    if event.seq is None and event.event == "created":
        member.problem = f"There is no object {event.key} in the bucket {event.bucket}. Check both names."
