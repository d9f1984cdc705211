"""Indexes in memory, for functions under test. Import it from `runtime.testing`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from runtime.context import (
    BuildReport,
    Chunking,
    CompactReport,
    Extraction,
    IndexModel,
    IndexVersion,
    Kept,
    Migration,
    Models,
    Row,
)
from runtime.errors import BadInput

if TYPE_CHECKING:
    from runtime.context import Vectors


class MemoryIndex:
    """Implements `context.Index` by keeping batches and counting builds; it does not search."""

    def __init__(self) -> None:
        self.batches: dict[tuple[str, str], tuple[list[Row], Vectors, str]] = {}
        self.published: dict[str, list[IndexVersion]] = {}
        self.announced: list[tuple[str, int]] = []
        self.compacted: list[str] = []
        self.made: dict[tuple[str, str], str] = {}
        """By what the rows of each batch were cut from their documents."""
        self.chunks = Chunking()
        self.reading = Extraction()
        self.crowded = False
        """What builds say of it."""
        self.named: list[str] = []
        self._seq: dict[str, int] = {}
        self._texts: dict[tuple[str, str], tuple[str, int]] = {}

    def next_seq(self, index: str, count: int = 1) -> int:
        self._seq[index] = self._seq.get(index, 0) + count
        return self._seq[index] - count + 1

    def model(self, index: str) -> IndexModel:
        """That of the newest batch."""
        names = [model for (name, _), (_, _, model) in self.batches.items() if name == index]
        return IndexModel(names[-1], names[0]) if names else IndexModel()

    def read_batch(self, index: str, batch_id: str, model: str = "") -> tuple[list[Row], Vectors] | None:
        found = self.batches.get((index, batch_id))
        return (found[0], found[1]) if found and model in ("", found[2]) else None

    def write_batch(
        self,
        index: str,
        batch_id: str,
        rows: Iterable[Row],
        vectors: Vectors,
        model: str,
        made: str = "",
        backends: Sequence[str] = (),
    ) -> str:
        self.made.setdefault((index, batch_id), made)
        self.batches.setdefault((index, batch_id), (list(rows), vectors, model))
        return f"embeddings/{index}/batches/{batch_id}/"

    def chunking(self, index: str) -> Chunking:
        return self.chunks

    def extraction(self, index: str) -> Extraction:
        return self.reading

    def kept(self, index: str, documents: Iterable[tuple[str, str, str]], model: str) -> Iterator[Kept]:
        """Every version of the documents in every batch, and all documents of the same etags."""
        wanted = list(documents)
        places, etags = {(bucket, key) for bucket, key, _ in wanted}, {etag for _, _, etag in wanted if etag}
        for (name, batch), (rows, vectors, made_with) in list(self.batches.items()):
            if name != index or made_with != model:
                continue
            mine = [(row.bucket, row.key) in places or row.etag in etags for row in rows]
            puts = [chosen for chosen, row in zip(mine, rows, strict=True) if row.op == "put"]
            chosen_rows = [row for chosen, row in zip(mine, rows, strict=True) if chosen]
            if chosen_rows:
                yield Kept(batch, self.made.get((name, batch), ""), chosen_rows, vectors[puts])

    def migrate(
        self,
        index: str,
        models: Models,
        *,
        run: str,
        task: str,
        stop: Callable[[], bool],
        report: Callable[[float, float | None, str], None],
    ) -> Migration:
        """Every batch again, at once."""
        mine = [place for place in self.batches if place[0] == index]
        for place in mine:
            rows = self.batches[place][0]
            vectors = models.embed([row.text for row in rows if row.op == "put"])
            self.batches[place] = (rows, vectors, models.name)
        report(len(mine), len(mine), models.name)
        return Migration(index, models.name, "done", len(mine), len(mine), self.build(index).generation)

    def move(
        self,
        index: str,
        engine: str,
        *,
        recall: float,
        run: str,
        task: str,
        stop: Callable[[], bool],
        report: Callable[[float, float | None, str], None],
    ) -> Migration:
        """There is one engine: it is there at once."""
        return Migration(index, engine, "done", 0, 0, self.build(index).generation)

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
        return BuildReport(
            index, new.generation, new.version, True, vectors, len(documents), count, crowded=self.crowded
        )

    def compact(self, index: str) -> CompactReport:
        """`compacted` holds every index that was named."""
        self.compacted.append(index)
        newest = self.current(index)
        generation, version = (newest.generation, newest.version) if newest else (0, "")
        return CompactReport(index, generation, version, False, 0, 1, "There is nothing to merge.")

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
