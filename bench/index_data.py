"""The rows that an index is filled with: any number of them, made anew from a corpus wherever they are needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.context import Row

QUERIES = 1000
"""Texts at the end of a corpus that are asked for and never put in."""

NOISE = 0.5
"""Length of the noise on a unit vector once a corpus is used up: a cosine of 0.89 with the vector it was made from."""

_POOL = 1 << 13
_PRIME = 2_654_435_761
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """Unit vectors, shape (n, dimensions), in a .npy file, and a JSON list of their texts. Plain data: a path each."""

    vectors_file: str
    texts_file: str

    @cached_property
    def _all(self) -> Vectors:
        loaded: Vectors = np.load(self.vectors_file, mmap_mode="r", allow_pickle=False)
        return loaded

    @cached_property
    def _texts(self) -> list[str]:
        return list(json.loads(Path(self.texts_file).read_text()))

    @property
    def real(self) -> int:
        """How many vectors are those of a text, unchanged."""
        return len(self._all) - self.held_out

    @property
    def held_out(self) -> int:
        return min(QUERIES, len(self._all) // 10)

    @property
    def dimensions(self) -> int:
        return int(self._all.shape[1])

    @property
    def queries(self) -> Vectors:
        return np.ascontiguousarray(self._all[self.real :])

    def vectors(self, start: int, end: int) -> Vectors:
        """Vectors number `start` to `end`: the same ones at every call. Beyond `real`, with noise."""
        numbers = np.arange(start, end)
        found: Vectors = np.array(self._all[numbers % self.real], np.float32)
        again = numbers >= self.real
        if again.any():
            found[again] += np.float32(NOISE) * self._noise[numbers[again] * _PRIME % _POOL]
            found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    def rows(self, start: int, end: int, seq: int, etag: str = "1") -> list[Row]:
        """A document of one chunk each, as `embed_batch` would write them."""
        texts = [self._texts[number % self.real] for number in range(start, end)]
        return [
            Row(
                "documents",
                key(start + at),
                f"{etag}-{start + at}",
                seq + at,
                end=len(text),
                text=text,
                meta={"content_type": "text/plain", "suffix": ".txt"},
            )
            for at, text in enumerate(texts)
        ]

    @cached_property
    def _noise(self) -> Vectors:
        raw = np.random.default_rng(7).standard_normal((_POOL, self.dimensions)).astype(np.float32)
        unit: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        return unit


def key(number: int) -> str:
    return f"bench/{number // 1000:06d}/{number:09d}.txt"


def number_of(name: str) -> int:
    """The number of the row whose document has this key."""
    return int(name[-13:-4])
