"""Helpers for tests of migrations: models with vectors of their own, and an index on its way from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from runtime.context import Migration, Models
from runtime.errors import BadInput
from tests.indexing import DIMENSIONS, House, Vectors, vector


class OtherModels:
    """Implements `context.Models`: a text has a vector of its own, as in tests/indexing.py, of so many dimensions.

    `before` is called before each pass. `embedded` counts texts.
    """

    backend = "other"

    def __init__(self, name: str, dimensions: int, *others: OtherModels) -> None:
        self.name, self.dimensions, self.longest = name, dimensions, 256
        self.embedded = 0
        self.before: Callable[[], object] = lambda: None
        self._known = {model.name: model for model in (self, *others)}

    def get(self, name: str) -> Models:
        if name not in self._known:
            raise BadInput(f"There is no model {name}.")
        return self._known[name]

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.before()
        self.embedded += len(texts)
        found = [vector(text, self.dimensions) for text in texts]
        return np.array(found, np.float32).reshape(len(texts), self.dimensions)

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))] if text else []


OLD = "model"
"""What tests/indexing.py calls the model of its batches."""


def pair() -> tuple[OtherModels, OtherModels]:
    """The model that the index has, and one of 8 dimensions."""
    new = OtherModels("small", 8)
    return OtherModels(OLD, DIMENSIONS, new), new


def migrate(
    home: House,
    models: Models,
    *,
    run: str = "run",
    task: str = "run",
    stop: Callable[[], bool] = lambda: False,
    name: str = "default",
) -> Migration:
    return home.index.migrate(name, models, run=run, task=task, stop=stop, report=lambda *_: None)


def contents(home: House, dimensions: int, name: str = "default") -> dict[str, list[str]]:
    """Everything that the version in use holds: chunks by key."""
    home.reader.refresh(name)
    hits = home.reader.search(name, vector("anything", dimensions), 10_000).hits
    found: dict[str, list[str]] = {}
    for hit in sorted(hits, key=lambda hit: (hit.key, hit.chunk)):
        found.setdefault(hit.key, []).append(hit.text)
    return found
