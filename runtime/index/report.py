"""What `tundish index verify` tells: where an index and its buckets differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from runtime.index.recall import Recall

Kind = Literal["missing", "extra", "changed", "chunks", "pending", "unreadable", "damaged", "local"]
KINDS: dict[Kind, str] = {
    "missing": "in the bucket, not in the index",
    "extra": "in the index, not in the bucket",
    "changed": "the index holds another version than the bucket",
    "chunks": "another number of chunks than was written",
    "pending": "on its way into or out of the index",
    "unreadable": "in the bucket, but the function failed on it",
    "damaged": "a part of the index that is not what it should be",
    "local": "a copy of a part, on this host, that is not what it was",
}
SHOWN = 1000
"""Differences that are named; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `bucket` and `key` are empty where it is about a part of the index itself."""

    kind: Kind
    bucket: str
    key: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}  {self.bucket}/{self.key}: {self.detail}" if self.key else f"{self.kind}  {self.detail}"


@dataclass(slots=True)
class Outcome:
    """Of a repair, in sentences: what was `done`, and what is `left` for somebody to do."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """One index against its buckets. `objects` are those that a trigger takes into this index, `texts` documents
    that came in calls and are in no bucket. `generation` 0: nothing was ever published. `notes` say what may explain
    a difference and is none itself. `allowed` kinds of differences are told, and do not count. `lost` are (bucket, key)
    of documents whose batch is damaged, at most SHOWN. `recall` and `repair` are there where they were asked for."""

    index: str
    generation: int = 0
    version: str = ""
    buckets: list[str] = field(default_factory=list)
    objects: int = 0
    documents: int = 0
    texts: int = 0
    chunks: int = 0
    counts: Counter[Kind] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    allowed: list[Kind] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    recall: Recall | None = None
    repair: Outcome | None = None

    @property
    def differs(self) -> bool:
        return any(count for kind, count in self.counts.items() if kind not in self.allowed)

    @property
    def ok(self) -> bool:
        return not self.differs and (self.recall is None or self.recall.ok)

    def add(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        if len(self.findings) < SHOWN:
            self.findings.append(finding)

    def drop(self, findings: Sequence[Finding]) -> None:
        """Take back what turned out to be no difference."""
        for finding in findings:
            self.findings.remove(finding)
            self.counts[finding.kind] -= 1

    def plain(self) -> dict[str, Any]:
        """For JSON: every kind has its count, 0 included."""
        told = {**asdict(self), "ok": self.ok, "counts": {kind: self.counts[kind] for kind in KINDS}}
        return {name: value for name, value in told.items() if name != "lost"}
