"""A model as one module of torch, from numbers to unit vectors: what other libraries are given to convert."""

from __future__ import annotations

from typing import Any

import torch

from runtime.embedding.engine_torch import load_plain
from runtime.embedding.given import Given


class Whole(torch.nn.Module):
    """All modules of a model in one; the result has length 1."""

    def __init__(self, modules: Any) -> None:
        super().__init__()
        self._parts = modules

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, "modality": "text"}
        for part in self._parts:
            features = part(features)
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)


def whole(given: Given) -> Whole:
    """The model in fp32, on the CPU."""
    return Whole(load_plain(given.folder, given.longest)).eval()


def example(pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers and a mask with padding in it, so that tracing does not leave the mask out."""
    numbers = torch.arange(3 * 9).reshape(3, 9) + pad + 1
    mask = torch.ones_like(numbers)
    mask[1, 5:] = mask[2, 3:] = 0
    return numbers, mask
