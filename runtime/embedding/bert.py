"""The built-in model in torch alone, with the numbers that sentence-transformers gives for it.

Importing sentence-transformers takes 4 s of CPU time beside torch's own, in the embedder and in every worker that
embeds. What a model of ours needs of it is this page. Every other model goes through it (engine_torch.py).
"""

from __future__ import annotations

import json
import mmap
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from runtime.embedding.shapes import rounded
from runtime.embedding.source import WEIGHTS_SHA256
from runtime.models import folder as folders

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.embedding.given import Given

SETTINGS_SHA256 = "ed1304862a68e129ca34823572fdc8c4b451ecbc26d660dce942cb38269ce711"
"""Of all JSON files beside these weights (folder.settings_hash): the tokenizer, the pooling and the sizes below."""

_WIDTH, _INNER, _HEADS, _LAYERS = 384, 1536, 12, 6
_WORDS, _POSITIONS, _KINDS = 30522, 512, 2
_EPSILON = 1e-12


def is_built_in(given: Given) -> bool:
    """Whether it is the published model to the last byte, with its tokenizer and all that says how it is used."""
    return given.weights == WEIGHTS_SHA256 and folders.settings_hash(given.folder) == SETTINGS_SHA256


def load(folder: Path) -> list[nn.Module]:
    """The transformer and the pooling behind it. The weights are mapped, so that processes share them."""
    with torch.device("meta"):
        made = Transformer()
    weights = _mapped(folders.weights(folder)[0])
    missing, _ = made.load_state_dict(weights, strict=False, assign=True)  # what is not used is the pooler
    assert not missing, missing  # noqa: S101 - the weights' hash was looked at
    return [made.eval().requires_grad_(False), Mean()]


class Transformer(nn.Module):
    """BERT's encoder. Its parts have the names that they have in the file of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(_LAYERS))})

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        mask: Tensor = features["attention_mask"]
        texts, longest = mask.shape
        seen = None if bool(mask.all()) else mask[:, None, None, :].bool()
        hidden: Tensor = self.embeddings(features["input_ids"])
        for layer in self.encoder["layer"]:  # type: ignore[attr-defined]
            hidden = layer(hidden, texts, longest, seen)
        return {**features, "token_embeddings": hidden[: texts * longest].view(texts, longest, _WIDTH)}


class Embeddings(nn.Module):
    """Numbers of tokens → vectors that know their place: a row a token, and some behind them that nobody reads, so that
    there are few different counts of rows (shapes.py)."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings, self.position_embeddings, self.token_type_embeddings = map(
            Table, (_WORDS, _POSITIONS, _KINDS)
        )
        self.LayerNorm = nn.LayerNorm(_WIDTH, _EPSILON)

    def forward(self, numbers: Tensor) -> Tensor:
        count = numbers.numel()
        every = nn.functional.pad(numbers.flatten(), (0, rounded(count) - count))
        words = nn.functional.embedding(every, self.word_embeddings.weight)
        places = self.position_embeddings.weight[: numbers.shape[1]] + self.token_type_embeddings.weight[0]
        words[:count].view(*numbers.shape, _WIDTH).add_(places)
        found: Tensor = self.LayerNorm(words)
        return found


class Table(nn.Module):
    """Vectors by number. `nn.Embedding` would draw some first, for which torch imports its compiler: 1.5 s."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, _WIDTH))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": Attention(), "output": Residual(_WIDTH)})
        self.intermediate = Intermediate()
        self.output = Residual(_INNER)

    def forward(self, hidden: Tensor, texts: int, longest: int, seen: Tensor | None) -> Tensor:
        told = self.attention["output"](self.attention["self"](hidden, texts, longest, seen), hidden)
        found: Tensor = self.output(self.intermediate(told), told)
        return found


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(_WIDTH, _WIDTH) for _ in range(3))

    def forward(self, hidden: Tensor, texts: int, longest: int, seen: Tensor | None) -> Tensor:
        count, shape = texts * longest, (texts, longest, _HEADS, _WIDTH // _HEADS)
        query, key, value = (
            part(hidden)[:count].view(shape).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        every = torch.empty_like(hidden)
        every[:count].view(shape).copy_(found.transpose(1, 2))
        every[count:].zero_()
        return every


class Intermediate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(_WIDTH, _INNER)
        self.intermediate_act_fn: nn.Module = nn.GELU()

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.intermediate_act_fn(self.dense(hidden))
        return found


class Residual(nn.Module):
    """What a part found is added to what it was given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, _WIDTH)
        self.LayerNorm = nn.LayerNorm(_WIDTH, _EPSILON)

    def forward(self, found: Tensor, before: Tensor) -> Tensor:
        hidden: Tensor = self.LayerNorm(self.dense(found) + before)
        return hidden


class Mean(nn.Module):
    """The vector of a text: the mean of those of its tokens, where no padding is."""

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        tokens: Tensor = features["token_embeddings"]
        mask = features["attention_mask"].unsqueeze(-1).to(tokens.dtype)
        return {**features, "sentence_embedding": (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)}


def _mapped(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: eight bytes with the size of a JSON header, the header, the numbers."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    begin = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:begin])
    found = {}
    for name, told in header.items():
        if told.get("dtype") == "F32":
            first, last = told["data_offsets"]
            flat = torch.frombuffer(data, dtype=torch.float32, count=(last - first) // 4, offset=begin + first)
            found[name] = flat.reshape(told["shape"])
    return found
