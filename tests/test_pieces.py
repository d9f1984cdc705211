"""What functions.yaml says of chunks, and what the rows of a document say of where their chunks stand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import _pieces
from functions._models import target_of
from functions._pieces import pieces
from functions._text import Text
from functions.embed_batch import embed_batch
from runtime.config.chunks import BUILT_IN_READS
from runtime.config.load import load_settings
from runtime.context import Chunking, Document, ObjectEvent
from runtime.embedding.backend import SentenceTransformerModels
from runtime.errors import ConfigError
from runtime.testing import FakeModels, MemoryIndex, MemoryStore, fake_context

LINES = st.sampled_from(
    ["# One", "## Two", "", "A sentence. Another one!", "| a | b |", "\tx", "word " * 9, "漢字かな"]
)


@given(st.lists(LINES, max_size=60).map("\n".join), st.integers(4, 40), st.lists(st.integers(0, 300), max_size=5))
def test_pieces_are_slices_with_the_headings_and_the_page_that_they_begin_under(
    text: str, tokens: int, starts: list[int]
) -> None:
    pages = tuple(sorted({0, *(start for start in starts if start < len(text))})) if starts else ()
    found = pieces(Text(text, "markdown", pages=pages), FakeModels(), Chunking(tokens, tokens // 3))
    assert [one.start for one in found] == sorted(one.start for one in found)
    for one in found:
        assert text[one.start : one.end].strip()
        assert one.meta.get("page", 0) == sum(start <= one.start for start in pages)
        before = [line for line in text[: one.end].splitlines() if line.startswith("#")]
        assert set(one.meta.get("headings", ())) <= {line.lstrip("# ") for line in before}
    # Only white space is in no chunk.
    ends = [0, *(one.end for one in found)]
    assert not any(text[end : one.start].strip() for end, one in zip(ends, found, strict=False))
    assert not text[max(ends) :].strip()


def test_sections_of_a_long_text_are_one_text() -> None:
    text = "\n\n".join(f"# Part {number}\n\n" + "word " * 60 for number in range(1500))
    assert len(text) > 400_000
    found = pieces(Text(text, "markdown"), FakeModels(), Chunking(100, 10))
    assert all(text[one.start : one.end].startswith("# Part") for one in found)
    assert [one.meta["headings"] for one in found] == [[f"Part {number}"] for number in range(1500)]
    assert all(left.end < right.start for left, right in pairwise(found)), "nothing is repeated before a heading"


def test_rows_say_under_which_headings_they_stand() -> None:
    store, index = MemoryStore(), MemoryIndex()
    index.chunks = Chunking(40, 5)
    text = "It was before. " * 5 + "\n\n# Rivers\n\n" + "Water flows. " * 18 + "\n\n## Nile\n\n" + "It is long. " * 12
    store.put("docs", "a.md", text.encode())
    context = fake_context("embed_batch", store=store, index=index)
    said = Document("# Mine\n\ntext", id="x", meta={"page": 7})
    result = embed_batch([said], [ObjectEvent("docs", "a.md")], context=context)
    rows, _ = index.read_batch("default", result.batch_id) or ([], None)
    mine = [row for row in rows if row.bucket]
    assert all(text[row.start : row.end] == row.text for row in mine)
    assert mine[-1].meta["headings"] == ["Rivers", "Nile"]
    assert "headings" not in mine[0].meta
    assert [row.meta["headings"] for row in mine if row.text.startswith("# Rivers")] == [["Rivers"]]
    assert [row.meta for row in rows if not row.bucket] == [{"page": 7}], (
        "what came in a call says of itself what it is"
    )


def test_no_chunk_is_longer_than_what_the_model_reads() -> None:
    context = fake_context("embed_batch")
    context.models.longest = 128  # type: ignore[misc]
    assert target_of("default", context).chunking == Chunking(126, 32)
    context.models.longest = 34  # type: ignore[misc]
    assert target_of("default", context).chunking == Chunking(32, 15)
    assert SentenceTransformerModels().longest == BUILT_IN_READS


YAML = """
version: 1
functions: {}
models: {short: short}
indexes:
  default: {chunk: {tokens: 120, overlap: 20}}
  plain: {}
  other: {model: short}
"""


def _load(folder: Path, text: str) -> dict[str, str]:
    file = folder / "functions.yaml"
    file.write_text(text)
    try:
        settings = load_settings({"TUNDISH_HOME": str(folder)}, file=file)
    except ConfigError as error:
        return {problem.path: problem.message for problem in error.problems}
    assert settings.project.chunking_of("default") == Chunking(120, 20)
    assert settings.project.chunking_of("plain") == settings.project.chunking_of("unknown") == Chunking(254, 32)
    return {}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "short"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "modules.json").write_text('[{"idx": 0, "type": "sentence_transformers.models.Transformer", "path": ""}]')
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128}))
    return tmp_path


def test_functions_yaml(home: Path) -> None:
    assert _load(home, YAML) == {}


@pytest.mark.parametrize(
    ("was", "now", "path", "said"),
    [
        (
            "tokens: 120",
            "tokens: 300",
            "indexes.default.chunk.tokens",
            "reads 256 tokens, 2 of them its own: at most 254",
        ),
        ("model: short", "model: short, chunk: {tokens: 200}", "indexes.other.chunk.tokens", "at most 126"),
        ("overlap: 20", "overlap: 60", "indexes.default.chunk", "overlap 60 must be less than half of tokens 120"),
        ("tokens: 120", "tokns: 120", "indexes.default.chunk.tokns", "did you mean tokens?"),
        ("tokens: 120", "tokens: 3", "indexes.default.chunk.tokens", "16"),
    ],
)
def test_what_cannot_be(home: Path, was: str, now: str, path: str, said: str) -> None:
    told = _load(home, YAML.replace(was, now))
    assert said in told[path], told


SHORT = st.text(st.sampled_from("ab. #|-=\n\té漢\u2028\x85"), max_size=30)


@given(SHORT, st.sampled_from(("text", "markdown", "code")), st.integers(4, 60))
def test_a_text_that_is_seen_to_be_one_piece_is_cut_as_all_others_are(text: str, kind: str, tokens: int) -> None:
    found = pieces(Text(text, kind), FakeModels(), Chunking(tokens, 1))
    with patch.object(_pieces, "_is_bare", lambda _: False):
        assert pieces(Text(text, kind), FakeModels(), Chunking(tokens, 1)) == found
