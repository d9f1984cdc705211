"""Texts as numbers: the Rust tokenizer of a model's folder, without torch, and which texts go through it together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.models import folder as folders

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

Ids = list[int]
"""A text as the model reads it: cut to its longest input, special tokens included."""

PASS_TOKENS = 2048
"""Padded tokens of one forward pass on a CPU: 8 texts of the built-in model's longest, or 56 of 36 tokens. With twice
as many, each inner part of a layer has 25 MB in fp32 instead of 13, and it takes as much processor time."""

GPU_TOKENS = 4096
"""The same on a GPU, where a pass costs its start."""

PASS_TEXTS = 128
"""Texts of one forward pass, however short they are."""

KEPT = 1024
"""Texts of which the numbers are kept between cutting and embedding; up to 9 MB."""


class Tokens:
    """The tokenizer of a model's folder. It survives a fork."""

    def __init__(self, folder: Path, longest: int) -> None:
        self._folder, self._longest = folder, longest
        self.kept: dict[str, Ids] = {}

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of every token of `text`, without special tokens.

        A text that is not cut any more is mostly embedded next: what the model reads of it is kept until then.
        """
        found = self._whole.encode(text, add_special_tokens=self._special)
        if len(ids := found.ids) <= self._longest:
            if len(self.kept) >= KEPT:
                self.kept = {}
            self.kept[text] = ids
        return [(start, end) for start, end in found.offsets if start < end]

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """What the model reads of `texts`."""
        kept = self.kept
        found = [kept.pop(text, None) for text in texts]
        left = [text for text, one in zip(texts, found, strict=True) if one is None]
        made = iter(self._cut.encode_batch_fast(left, add_special_tokens=self._special) if left else ())
        return [next(made).ids if one is None else one for one in found]

    @cached_property
    def pad(self) -> int:
        """The number that stands where a shorter text has ended."""
        return folders.pad_id(self._folder)

    @cached_property
    def _special(self) -> bool:
        return not folders.is_static(self._folder)

    @cached_property
    def _whole(self) -> Any:
        tokenizer = self._new()
        tokenizer.no_truncation()
        return tokenizer

    @cached_property
    def _cut(self) -> Any:
        tokenizer = self._new()
        tokenizer.enable_truncation(self._longest)
        return tokenizer

    def _new(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / folders.TOKENIZER))
        tokenizer.no_padding()
        return tokenizer


def passes(lengths: Sequence[int], most_tokens: int = PASS_TOKENS, most_texts: int = PASS_TEXTS) -> Iterator[list[int]]:
    """Places of texts that go through the model together, the longest first, so that little is padded.

    A pass has at most `most_tokens` tokens, padding included, or one text.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    first = 0
    while first < len(order):
        count = max(1, min(most_texts, most_tokens // max(1, lengths[order[first]])))
        yield order[first : first + count]
        first += count


def padded(ids: Sequence[Ids], pad: int) -> tuple[Integers, Integers]:
    """The numbers and the mask (1 where a token is), both of shape (texts, longest)."""
    import numpy as np

    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    longest = int(lengths.max())
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
    numbers = np.full(mask.shape, pad, np.int64)
    numbers[mask.astype(bool)] = np.concatenate([np.asarray(found, np.int64) for found in ids])
    return numbers, mask
