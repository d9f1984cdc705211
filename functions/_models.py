"""Which model's vectors an index takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.context import Chunking, Context, Extraction, Models, Row

from ._chunk import CHUNKER_VERSION
from ._text import made_by

if TYPE_CHECKING:
    from runtime.context import Vectors

SLICE = 64
"""Texts that are embedded at once."""


@dataclass(frozen=True, slots=True)
class Target:
    """An index, the model that it is made with, and the one that is part of its batches' names.

    `made`: by which code and settings texts become chunks.
    """

    index: str
    models: Models
    native: str
    chunking: Chunking
    extraction: Extraction

    @property
    def made(self) -> str:
        return f"{made_by(self.extraction)}/{CHUNKER_VERSION}/{self.chunking.tokens}+{self.chunking.overlap}"


def target_of(index: str, context: Context) -> Target:
    """An index without vectors takes the model that functions.yaml says. Raises BadInput where that is not here."""
    found = context.index.model(index)
    models = context.models.get(found.name or context.models.name)
    chunking = _fitting(context.index.chunking(index), models)
    return Target(index, models, found.native or models.name, chunking, context.index.extraction(index))


def _fitting(asked: Chunking, models: Models) -> Chunking:
    """No chunk is longer than what the model reads without its own two tokens: the rest would not be in the vector."""
    tokens = min(asked.tokens, models.longest - 2)
    return Chunking(tokens, min(asked.overlap, (tokens - 1) // 2))


def write(
    target: Target, name: str, rows: Sequence[Row], vectors: Vectors, context: Context, backends: Sequence[str] = ()
) -> str:
    """Commit a batch; returns the name that it has got, which is another one where its own is in use.

    Where the index has gone over to another model meanwhile, the batch is there in that one's vectors as well.
    """
    path = context.index.write_batch(target.index, name, rows, vectors, target.models.name, target.made, backends)
    name = path.rstrip("/").rpartition("/")[2]
    now = target_of(target.index, context)
    if now.models.name != target.models.name:
        context.log.info("index %s has another model by now: %s is embedded once more", target.index, name)
        anew = _embedded(rows, now.models)
        context.index.write_batch(target.index, name, rows, anew, now.models.name, target.made, (now.models.backend,))
    return name


def _embedded(rows: Sequence[Row], models: Models) -> Vectors:
    import numpy as np

    texts = [row.text for row in rows if row.op == "put"]
    parts = [models.embed(texts[first : first + SLICE]) for first in range(0, len(texts), SLICE)]
    return np.concatenate([np.zeros((0, models.dimensions), np.float32), *parts])
