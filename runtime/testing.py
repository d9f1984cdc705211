"""In-memory ports, so that a function is tested with no services: `fake_context(...)` is all that most tests need."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5, sha256
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

from runtime.context import (
    BuildReport,
    Calls,
    Context,
    Index,
    IndexVersion,
    Models,
    ObjectInfo,
    Parent,
    Row,
    Store,
    StoredObject,
)
from runtime.errors import BadInput, CallFailed, ObjectMissing, PreconditionFailed
from runtime.store_names import check_metadata, check_new_key
from runtime.store_upload import read_parts

if TYPE_CHECKING:
    from runtime.context import Vectors


class MemoryStore:
    """Implements `context.Store` with S3's rules: etags, conditional PUTs, listing in the order of bytes."""

    def __init__(self, bucket: str = "tundish") -> None:
        self.bucket = bucket
        self._objects: dict[tuple[str, str], tuple[StoredObject, ObjectInfo]] = {}
        self._lock = Lock()

    def get(self, bucket: str, key: str, *, limit: int | None = None) -> StoredObject:
        found = self._find(bucket, key)[0]
        if limit is not None and len(found.data) > limit:
            raise BadInput(f"Object {key!r} in bucket {bucket!r} has {len(found.data)} bytes; the limit is {limit}.")
        return found

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return self._find(bucket, key)[1]

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        create_only: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        check_new_key(key)
        check_metadata(metadata or {})
        etag = md5(data, usedforsecurity=False).hexdigest()
        info = ObjectInfo(bucket, key, etag, len(data), time.time(), content_type, dict(metadata or {}))
        with self._lock:
            old = self._objects.get((bucket, key))
            if (create_only and old) or (if_match is not None and (not old or old[0].etag != if_match)):
                raise PreconditionFailed(f"Object {key!r} in bucket {bucket!r} exists already, or is another one.")
            self._objects[bucket, key] = StoredObject(bytes(data), etag, content_type), info
        return etag

    def put_stream(
        self,
        bucket: str,
        key: str,
        data: BinaryIO,
        length: int | None = None,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        content = b"".join(read_parts(data, length))
        return self.put(
            bucket, key, content, content_type=content_type or "application/octet-stream", metadata=metadata
        )

    def download(self, bucket: str, key: str, file: BinaryIO) -> None:
        file.write(self.get(bucket, key).data)

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """In the order of bytes; like a server's listing it tells neither content types nor metadata."""
        with self._lock:
            found = [info for (place, key), (_, info) in self._objects.items() if place == bucket]
        wanted = [info for info in found if info.key.startswith(prefix) and info.key.encode() > start_after.encode()]
        for info in sorted(wanted, key=lambda one: one.key.encode()):
            yield ObjectInfo(bucket, info.key, info.etag, info.size, info.modified)

    def delete(self, bucket: str, key: str) -> None:
        with self._lock:
            self._objects.pop((bucket, key), None)

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        return 0  # an object comes here whole

    def _find(self, bucket: str, key: str) -> tuple[StoredObject, ObjectInfo]:
        try:
            return self._objects[bucket, key]
        except KeyError as error:
            raise ObjectMissing(f"There is no object {key!r} in bucket {bucket!r}.") from error


class MemoryIndex:
    """Implements `context.Index` by keeping batches and counting builds; it does not search."""

    def __init__(self) -> None:
        self.batches: dict[tuple[str, str], tuple[list[Row], Vectors, str]] = {}
        self.published: dict[str, list[IndexVersion]] = {}
        self.announced: list[tuple[str, int]] = []
        self.named: list[str] = []
        self._seq: dict[str, int] = {}
        self._texts: dict[tuple[str, str], tuple[str, int]] = {}

    def next_seq(self, index: str, count: int = 1) -> int:
        self._seq[index] = self._seq.get(index, 0) + count
        return self._seq[index] - count + 1

    def read_batch(self, index: str, batch_id: str) -> tuple[list[Row], Vectors] | None:
        found = self.batches.get((index, batch_id))
        return (found[0], found[1]) if found else None

    def write_batch(self, index: str, batch_id: str, rows: Iterable[Row], vectors: Vectors, model: str) -> str:
        self.batches.setdefault((index, batch_id), (list(rows), vectors, model))
        return f"embeddings/{index}/batches/{batch_id}/"

    def text_versions(self, index: str, ids: Iterable[str]) -> dict[str, tuple[str, int]]:
        return {name: self._texts[index, name] for name in ids if (index, name) in self._texts}

    def set_text_versions(self, index: str, versions: Mapping[str, tuple[str, int]]) -> None:
        for name, (etag, seq) in versions.items():
            if seq > self._texts.get((index, name), ("", -1))[1]:
                self._texts[index, name] = (etag, seq)

    def winners(self, index: str) -> dict[tuple[str, str], list[Row]]:
        """The newest version of every document, as a build would keep it."""
        newest: dict[tuple[str, str], list[Row]] = {}
        for (name, _), (rows, _, _) in self.batches.items():
            for row in rows if name == index else ():
                known = newest.get((row.bucket, row.key))
                if known is None or row.seq > known[0].seq:
                    newest[row.bucket, row.key] = [row]
                elif row.seq == known[0].seq and row not in known:
                    known.append(row)
        return {place: rows for place, rows in newest.items() if rows[0].op == "put"}

    def build(self, index: str, batches: Sequence[str] = ()) -> BuildReport:
        """`named` holds what the newest call named."""
        self.named = list(batches)
        documents = self.winners(index)
        vectors = sum(len(rows) for rows in documents.values())
        versions = self.published.setdefault(index, [])
        new = IndexVersion(
            index=index,
            generation=len(versions) + 1,
            version=f"{len(versions) + 1:08x}",
            vectors=vectors,
            documents=len(documents),
            dimensions=0,
            bytes=0,
            created=time.time(),
            kind="memory",
            model="",
        )
        versions.insert(0, new)
        count = sum(name == index for name, _ in self.batches)
        return BuildReport(index, new.generation, new.version, True, vectors, len(documents), count)

    def announce(self, index: str, generation: int | None = None) -> tuple[IndexVersion | None, int]:
        found = [one for one in self.versions(index) if generation in (None, one.generation)]
        if not found and generation is not None:
            raise BadInput(f"Index {index!r} has no generation {generation}.")
        if found:
            self.announced.append((index, found[0].generation))
        return (found[0], 0) if found else (None, 0)

    def current(self, index: str) -> IndexVersion | None:
        return next(iter(self.versions(index)), None)

    def versions(self, index: str) -> list[IndexVersion]:
        return list(self.published.get(index, ()))

    def names(self) -> list[str]:
        return sorted({name for name, _ in self.batches} | set(self.published))

    def cleanup(self, index: str, older_than: float) -> dict[str, int]:
        return {}


class FakeModels:
    """Implements `context.Models`: a word is a direction, a text the sum of its words, a token is a word.

    Texts that share words are near each other; the same text has the same vector on every machine. `embedded` holds
    every text that was embedded, in order.
    """

    name = "fake-words-64"
    dimensions = 64

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (len(texts), 64)."""
        import numpy as np

        self.embedded += texts
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for place, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()) or [text]:
                seed = int.from_bytes(sha256(word.encode("utf-8", "replace")).digest()[:8], "big")
                vectors[place] += np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        """Character offsets of the words of `text`: runs of anything but white space."""
        return [found.span() for found in re.finditer(r"\S+", text)]


@dataclass(slots=True)
class MemoryCalls:
    """Implements `context.Calls`: remembers what was submitted; answers come from `results` by function name."""

    results: Mapping[str, Any] = field(default_factory=dict)
    submitted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def submit(self, function: str, arguments: Mapping[str, Any], **_: Any) -> str:
        self.submitted.append((function, dict(arguments)))
        return f"call-{len(self.submitted)}"

    def gather(
        self, calls: Iterable[tuple[str, Mapping[str, Any]]], in_flight: int, **options: Any
    ) -> list[tuple[str, Any]]:
        return self.join([self.submit(function, arguments, **options) for function, arguments in calls])

    def join(self, ids: Sequence[str]) -> list[tuple[str, Any]]:
        answers: list[tuple[str, Any]] = []
        for task in ids:
            function, arguments = self.submitted[int(task.removeprefix("call-")) - 1]
            if function not in self.results:
                raise CallFailed(f"No result was prepared for {function}; give MemoryCalls(results=…) one.")
            result = self.results[function]
            answers.append(("succeeded", result(**arguments) if callable(result) else result))
        return answers


@dataclass(slots=True)
class MemoryProgress:
    """What a function reports, for `fake_context(report=…)`: `seen` holds (done, total, message), in order."""

    seen: list[tuple[float, float | None, str]] = field(default_factory=list)

    def __call__(self, done: float, total: float | None, message: str) -> None:
        self.seen.append((done, total, message))


@dataclass(slots=True)
class FakePorts:
    """Implements `context.Ports`."""

    store: Store
    index: Index
    calls: Calls
    models: Models


def fake_context(
    function: str = "function",
    *,
    store: Store | None = None,
    index: Index | None = None,
    models: Models | None = None,
    calls: Calls | None = None,
    parents: Iterable[Parent] = (),
    **fields: Any,
) -> Context:
    """A context over in-memory ports; real ones may be handed in for any of them."""
    ports = FakePorts(store or MemoryStore(), index or MemoryIndex(), calls or MemoryCalls(), models or FakeModels())
    return Context(id="test", function=function, ports=ports, parents=tuple(parents), **fields)
