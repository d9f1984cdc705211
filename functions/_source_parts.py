"""What one run of `embed_all` has to do, laid down in the store: the batches, then the plan that names them.

The plan is made once. Whoever goes on with the run, when its batches have ended or after a crash, finds it there.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from runtime.context import Document, ObjectEvent, Store
from runtime.errors import BadInput, ObjectMissing

from ._source_known import FOLDER

MAX_DOCUMENTS = 1000
FIRST = 8
FIRST_DOCUMENTS = 250
"""The first batches are small, so that a source of a thousand rows is shared by several workers."""

MAX_BYTES = 32 * 2**20
"""Of the objects of a batch."""

TEXT_BYTES = 4 * 2**20
"""Of the texts of a batch: they are held in memory, and in one object."""

_WRITERS = 4
_STALE_SECONDS = 7 * 86400


@dataclass(slots=True)
class Plan:
    """`batches`: how many documents each has. `unchanged`: documents of which nothing had to be looked at.

    `known` is what is to be known of the source when all has ended well, `before` what was known.
    """

    batches: list[int] = field(default_factory=list)
    documents: int = 0
    skipped: int = 0
    unchanged: int = 0
    removed: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)
    known: dict[str, Any] | None = None
    before: dict[str, Any] | None = None


class Parts:
    """The folder of one run."""

    def __init__(self, store: Store, index: str, run: str) -> None:
        self._store, self._bucket = store, store.bucket
        self._runs = f"{FOLDER}/{index}/runs/"
        self._folder = f"{self._runs}{run}/"

    def plan(self) -> Plan | None:
        """The plan that was made before, if there is one that is not too old."""
        try:
            found = self._store.get(self._bucket, f"{self._folder}plan.json")
        except ObjectMissing:
            return None
        return Plan(**json.loads(found.data)) if found.modified > time.time() - _STALE_SECONDS else None

    def name(self, number: int) -> str:
        return f"{self._folder}{number:06}.json"

    def put(self, number: int, documents: list[dict[str, Any]], objects: list[dict[str, Any]]) -> None:
        data = json.dumps({"documents": documents, "objects": objects}).encode()
        self._store.put(self._bucket, self.name(number), data, content_type="application/json")

    def seal(self, plan: Plan) -> None:
        """All batches are there: now the plan counts."""
        told = json.dumps(asdict(plan)).encode()
        self._store.put(self._bucket, f"{self._folder}plan.json", told, content_type="application/json")

    def remove(self, plan: Plan) -> None:
        """Nothing of it is needed any more. The plan goes last: a run that dies meanwhile goes on with it."""
        for number in range(len(plan.batches)):
            self._store.delete(self._bucket, self.name(number))
        self._store.delete(self._bucket, f"{self._folder}plan.json")

    def remove_stale(self) -> None:
        """What is left of runs that never ended."""
        until = time.time() - _STALE_SECONDS
        with suppress(ObjectMissing):
            for item in list(self._store.list(self._bucket, self._runs)):
                if item.modified < until:
                    self._store.delete(self._bucket, item.key)


class Cutter:
    """Documents and objects in, batches out, some of them on their way to the store at once."""

    def __init__(self, parts: Parts, plan: Plan, pool: ThreadPoolExecutor) -> None:
        self._parts, self._plan, self._pool = parts, plan, pool
        self._documents: list[dict[str, Any]] = []
        self._objects: list[dict[str, Any]] = []
        self._bytes = self._text = 0
        self._sent: deque[Future[None]] = deque()

    def document(self, one: dict[str, Any]) -> None:
        size = len(one["text"])
        self._make_room(self._text + size > TEXT_BYTES)
        self._documents.append(one)
        self._text += size

    def object(self, one: dict[str, Any], size: int = 0) -> None:
        self._make_room(self._bytes + size > MAX_BYTES)
        self._objects.append(one)
        self._bytes += size

    def end(self) -> None:
        """Everything is in the store."""
        self._cut()
        while self._sent:
            self._sent.popleft().result()

    def _make_room(self, too_much: bool) -> None:
        count = len(self._documents) + len(self._objects)
        most = min(MAX_DOCUMENTS, FIRST_DOCUMENTS) if len(self._plan.batches) < FIRST else MAX_DOCUMENTS
        if count == most or (count and too_much):
            self._cut()

    def _cut(self) -> None:
        count = len(self._documents) + len(self._objects)
        if not count:
            return
        while len(self._sent) >= _WRITERS:
            self._sent.popleft().result()
        self._sent.append(self._pool.submit(self._parts.put, len(self._plan.batches), self._documents, self._objects))
        self._plan.batches.append(count)
        self._plan.documents += count
        self._documents, self._objects, self._bytes, self._text = [], [], 0, 0


@contextmanager
def cutting(parts: Parts, plan: Plan) -> Iterator[Cutter]:
    """A cutter whose batches are all in the store afterwards."""
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="parts") as pool:
        cutter = Cutter(parts, plan, pool)
        yield cutter
        cutter.end()


def read_part(store: Store, part: str) -> tuple[list[Document], list[ObjectEvent]]:
    """A batch that a run of `embed_all` has laid down. Raises BadInput where it is not there."""
    found = part.split("/")
    if len(found) != 5 or found[0] != FOLDER or found[2] != "runs":
        raise BadInput(f"{part[:200]!r} is no batch of embed_all.")
    try:
        told = json.loads(store.get(store.bucket, part).data)
    except ObjectMissing as error:
        raise BadInput(f"The batch {part} is not there any more: its run is over. Start embed_all again.") from error
    return [Document(**one) for one in told["documents"]], [ObjectEvent(**one) for one in told["objects"]]
