"""In-memory ports for tests of functions: no broker, no store, no model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.context import Vectors


class FakeModels:
    """Implements `context.Models`: a word is a direction, a text the sum of its words, a token is a word.

    Texts that share words are near each other; the same text always has the same vector, on every machine.
    """

    name = "fake-words-64"
    dimensions = 64

    def __init__(self) -> None:
        self.embedded: list[str] = []
        """Every text that was embedded, in order."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions)."""
        import numpy as np

        self.embedded += texts
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for place, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()) or [text]:
                seed = int.from_bytes(hashlib.sha256(word.encode("utf-8", "replace")).digest()[:8])
                vectors[place] += np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        """Character offsets of the words of `text`: runs of anything but white space."""
        return [found.span() for found in re.finditer(r"\S+", text)]
