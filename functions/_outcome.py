"""What `embed_batch` returns."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Failed:
    """A document that could not be indexed. `reason` names the cause and the mend."""

    bucket: str
    key: str
    etag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Noted:
    """A document of which something was left out. `notes` say what, and why."""

    bucket: str
    key: str
    etag: str
    notes: list[str]


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

    `unchanged` of the `documents` were in the index as they are, and nothing was written of them. Of the chunks of the
    others the model has embedded `embedded_chunks`; the vectors of `reused_chunks` were there already.
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
    unchanged: int = 0
    embedded_chunks: int = 0
    reused_chunks: int = 0
    noted: list[Noted] = field(default_factory=list)
    backend: str = ""
    """What ran the model; empty where it embedded nothing."""
