"""embed_all with its batches done on the spot, in memory: what they were, and what the model had to embed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from functions._source_parts import read_part
from functions.embed_batch import embed_batch
from runtime.context import Context, Document, ObjectEvent
from runtime.testing import FakeModels, MemoryCalls, MemoryIndex, MemoryProgress, MemoryStore, fake_context

Part = tuple[list[Document], list[ObjectEvent]]


@dataclass
class Sourcing:
    context: Context
    models: FakeModels
    index: MemoryIndex
    store: MemoryStore
    parts: list[Part] = field(default_factory=list)
    progress: MemoryProgress = field(default_factory=MemoryProgress)

    @property
    def ids(self) -> list[str]:
        """Of the documents of all batches so far."""
        return [str(document.id) for documents, _ in self.parts for document in documents]

    @property
    def removed(self) -> list[str]:
        return [event.key for _, objects in self.parts for event in objects if event.event == "removed"]


def sourcing(
    store: MemoryStore | None = None,
    index: MemoryIndex | None = None,
    models: FakeModels | None = None,
    calls: MemoryCalls | None = None,
) -> Sourcing:
    """One run; hand on the store and the index for the next."""
    calls = calls or MemoryCalls()
    progress = MemoryProgress()
    made = fake_context("embed_all", store=store, index=index, models=models, calls=calls, report=progress)
    found = Sourcing(made, made.models, made.index, made.store, progress=progress)  # type: ignore[arg-type]

    def run_batch(part: str, index: str) -> dict[str, Any]:
        found.parts.append(read_part(made.store, part))
        return asdict(embed_batch(index=index, part=part, context=made))

    calls.results = {"embed_batch": run_batch, "build_index": lambda index: asdict(made.index.build(index))}
    return found


def again(before: Sourcing) -> Sourcing:
    """Another run on the same store, index and model."""
    return sourcing(before.store, before.index, before.models)
