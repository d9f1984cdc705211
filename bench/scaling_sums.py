"""The sums behind docs/scaling.md: what 10⁹ chunks ask of the broker and of the store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scaling_inputs import value

CHUNKS, WORKERS, DIMENSIONS = 10**9, 1000, 384
MONTH_HOURS, GB = 730, 1e9
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Case:
    """How the chunks come: of so many `tokens`, so many in a document, embedded at `rate` by a process."""

    title: str
    tokens: int
    chunks: int
    rate: str


CASES: Sequence[Case] = (
    Case("36 tokens, one a document", 36, 1, "short_rate"),
    Case("130 tokens, one a document", 130, 1, "page_rate"),
    Case("130 tokens, ten a document", 130, 10, "page_rate"),
)


@dataclass(frozen=True, slots=True)
class Sums:
    """What 10⁹ chunks of a case cost, while 1,000 workers embed as fast as they can."""

    case: Case

    @property
    def documents(self) -> float:
        return CHUNKS / self.case.chunks

    @property
    def in_batch(self) -> int:
        """Documents of a batch."""
        letters = self.case.tokens * self.case.chunks * value("token_letters")
        return int(min(value("batch_documents"), value("batch_text") // letters))

    @property
    def batches(self) -> float:
        return math.ceil(self.documents / self.in_batch)

    @property
    def chunks_per_second(self) -> float:
        return WORKERS * value("processes") * value(self.case.rate)

    @property
    def seconds(self) -> float:
        return CHUNKS / self.chunks_per_second

    @property
    def compute_price(self) -> float:
        return self.seconds / _HOUR * WORKERS * value("processes") * value("core_price")

    @property
    def documents_per_second(self) -> float:
        return self.chunks_per_second / self.case.chunks

    @property
    def batches_per_second(self) -> float:
        return self.batches / self.seconds

    @property
    def trips_per_second(self) -> float:
        return self.batches_per_second * value("call_trips")

    @property
    def broker_bytes_per_second(self) -> float:
        return self.batches_per_second * value("call_bytes") + self.documents_per_second * value("document_bytes")

    @property
    def broker_cores(self) -> float:
        calls = self.batches_per_second * value("call_cpu")
        return calls + self.documents_per_second * value("document_cpu") + value("idle_share")

    @property
    def waiting_memory(self) -> float:
        return self.batches * value("waiting_memory")

    @property
    def versions_memory(self) -> float:
        return self.documents * value("document_memory")

    @property
    def ledger_memory(self) -> float:
        return self.documents * value("ledger_memory")

    @property
    def requests(self) -> tuple[float, float, float]:
        """GET, LIST, PUT."""
        return self.batches * value("gets"), self.batches * value("lists"), self.batches * value("puts")

    @property
    def requests_per_second(self) -> float:
        return sum(self.requests) / self.seconds

    @property
    def points(self) -> float:
        """Of Qdrant: chunks, and the documents."""
        return CHUNKS + self.documents

    @property
    def upserts(self) -> float:
        return self.points / value("request_points")

    @property
    def json(self) -> float:
        """Bytes of what is sent to Qdrant for the chunks."""
        return CHUNKS * (value("point_bytes") + self._text)

    @property
    def filling(self) -> float:
        """Seconds of one builder."""
        return CHUNKS * value("builder_cpu")

    @property
    def _text(self) -> float:
        """Bytes by which a chunk differs from those that were measured, which had 49 tokens."""
        return (self.case.tokens - 49) * value("token_letters")

    @property
    def stored(self) -> float:
        return CHUNKS * (value("chunk_bytes") + self._text)

    @property
    def put_per_second(self) -> float:
        return self.stored / self.seconds

    @property
    def got_per_second(self) -> float:
        return self.chunks_per_second * (value("fetched_bytes") + self._text)

    @property
    def request_price(self) -> float:
        got, listed, put = self.requests
        return got * value("get_price") + (listed + put) * value("put_price")

    @property
    def store_cores(self) -> float:
        """Of a store that is SeaweedFS, for what is written and read."""
        return (self.put_per_second + self.got_per_second) * value("store_cpu")

    @property
    def versions_price(self) -> float:
        """Of the broker's memory for the newest versions, for a month."""
        return self.versions_memory / GB * value("memory_price") * MONTH_HOURS

    @property
    def store_price(self) -> float:
        return self.stored / GB * value("store_price")
