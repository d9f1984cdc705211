"""A model on torch: on the CPU in fp32 or bf16, or on a GPU in fp16."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.embedding.given import Given
from runtime.embedding.tokens import Ids, padded
from runtime.models.folder import is_static

if TYPE_CHECKING:
    from runtime.context import Vectors

log = logging.getLogger("tundish.models")

_CHECKED = ("The river rises in the mountains.", "  Größe, Maß & 漢字 🙂\n", "x", "word " * 600)
"""Texts by which the folder's own tokenizer is compared with what sentence-transformers makes of it."""


_SAME = 0.999
"""The least cosine of a text's vectors with and without packed layers; they differ by rounding."""


class TorchEngine:
    """The modules that sentence-transformers loads, or our own of the built-in model, fed with our own numbers: its
    `encode` pads and sorts by texts."""

    def __init__(self, backend: str, given: Given, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._tokens = given.tokens
        self._device = "cuda" if backend == "cuda" else "cpu"
        self._static = is_static(given.folder)
        self._model, self._own = self._loaded(given)
        if backend != "torch-fp32":
            # The transformer alone: pooling and what follows add up, and stay exact.
            self._model[0].to(torch.float16 if backend == "cuda" else torch.bfloat16)
        if self._device == "cpu":
            from runtime.embedding.packing import pack

            before = self._sample()
            pack(self._model[0], lambda: bool((before * self._sample()).sum(axis=1).min() >= _SAME))

    def _loaded(self, given: Given) -> tuple[Any, bool]:
        """The modules, and whether the folder's own tokenizer gives the numbers that they want."""
        from runtime.embedding import bert

        if self._device == "cpu" and bert.is_built_in(given):
            return bert.load(given.folder), True
        self._model = load_plain(given.folder, given.longest, self._device)
        return self._model, self._static or self._same_numbers()

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        return self._tokens.ids(texts) if self._own else self._theirs(texts)

    def vectors(self, ids: Sequence[Ids]) -> Vectors:
        import torch

        with torch.inference_mode():
            features: dict[str, Any] = self._model[0](self._features(ids))
            for made in {"token_embeddings", "sentence_embedding"} & features.keys():
                features[made] = features[made].float()
            for module in list(self._model)[1:]:
                features = module(features)
            unit = torch.nn.functional.normalize(features["sentence_embedding"].float(), dim=1)
            found: Vectors = unit.cpu().numpy()
            return found

    def _features(self, ids: Sequence[Ids]) -> dict[str, Any]:
        """What the first module takes."""
        import torch

        if self._static:
            ends = torch.tensor([0, *map(len, ids[:-1])]).cumsum(0)
            numbers = torch.tensor([number for text in ids for number in text], dtype=torch.long)
            return {"input_ids": numbers.to(self._device), "offsets": ends.to(self._device)}
        numbers, mask = (torch.from_numpy(found).to(self._device) for found in padded(ids, self._tokens.pad))
        return {"input_ids": numbers, "attention_mask": mask, "modality": "text"}

    def _sample(self) -> Vectors:
        return self.vectors(self.ids(_CHECKED[:3]))

    def _theirs(self, texts: Sequence[str]) -> list[Ids]:
        given = self._model.preprocess(list(texts))
        pairs = zip(given["input_ids"].tolist(), given["attention_mask"].tolist(), strict=True)
        return [[one for one, on in zip(numbers, mask, strict=True) if on] for numbers, mask in pairs]

    def _same_numbers(self) -> bool:
        same = self._tokens.ids(_CHECKED) == self._theirs(_CHECKED)
        if not same:
            log.warning(
                "this model's tokenizer.json alone does not tell how it reads; transformers' own, slower one is"
            )
        return same


def load_plain(folder: Path, longest: int, device: str = "cpu") -> Any:
    """The model as sentence-transformers has it, in fp32 whatever it was saved in."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as their_logging

    their_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = SentenceTransformer(str(folder), device=device, local_files_only=True)
    if not is_static(folder):
        model.max_seq_length = longest
    return model.float().eval()
