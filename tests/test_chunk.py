"""Chunks: exact ranges, never too long, nothing lost, borders where people would put them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._chunk import LIMIT, chunk, is_one, sections
from runtime.embedding.backend import SentenceTransformerModels

TEXT = st.text(alphabet=st.sampled_from("ab é.!?\n\t ,ß漢字🙂)\u0301"), max_size=400)
LIMITS = st.integers(1, 12).flatmap(lambda limit: st.tuples(st.just(limit), st.integers(0, (limit - 1) // 2)))


def words(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]


@given(TEXT, LIMITS)
def test_every_character_but_white_space_is_in_a_chunk(text: str, limits: tuple[int, int]) -> None:
    chunks = chunk(text, words(text), *limits)
    covered = {place for start, end in chunks for place in range(start, end)}
    lost = [text[place] for place in range(len(text)) if place not in covered and not text[place].isspace()]
    assert lost == [] or not words(text)


@given(TEXT, LIMITS)
def test_no_chunk_has_more_tokens_than_the_limit(text: str, limits: tuple[int, int]) -> None:
    tokens = words(text)
    for start, end in chunk(text, tokens, *limits):
        assert sum(start <= first and last <= end for first, last in tokens) <= limits[0]


@given(TEXT, LIMITS)
def test_chunks_are_in_order_and_not_blank(text: str, limits: tuple[int, int]) -> None:
    chunks = chunk(text, words(text), *limits)
    assert [start for start, _ in chunks] == sorted({start for start, _ in chunks})
    assert [end for _, end in chunks] == sorted({end for _, end in chunks})
    for start, end in chunks:
        assert text[start:end] == text[start:end].strip() != ""


@given(TEXT, LIMITS)
def test_the_overlap_is_bounded(text: str, limits: tuple[int, int]) -> None:
    tokens = words(text)
    chunks = chunk(text, tokens, *limits)
    for (_, before), (start, _) in itertools.pairwise(chunks):
        assert sum(start <= first and last <= before for first, last in tokens) <= limits[1]


@given(st.text(alphabet=st.sampled_from("ab1 .!\n\té_-"), max_size=60), st.integers(1, 60))
def test_a_text_that_is_one_chunk_by_its_length_is_one_by_its_tokens(text: str, limit: int) -> None:
    if is_one(text, limit):
        letters = [(place, place + 1) for place, letter in enumerate(text) if not letter.isspace()]
        assert [text[start:end] for start, end in chunk(text, letters, limit, 0)] == [text.strip()]
        assert [text[start:end] for start, end in chunk(text, words(text), limit, 0)] == [text.strip()]


def test_only_ascii_is_known_by_its_length() -> None:
    assert is_one("Eight tokens are kept free.", 35)
    assert not is_one("Eight tokens are kept free.", 34)
    assert not is_one("한국어", 99)  # a syllable may be three tokens
    assert not is_one(" .!? ", 99)  # a tokenizer may find nothing in it


@given(st.text(max_size=2000), st.integers(1, 300))
def test_sections_are_the_whole_text(text: str, size: int) -> None:
    parts = [text[start:end] for start, end in sections(text, size)]
    assert "".join(parts) == text
    assert all(0 < len(part) <= size for part in parts)


def test_sections_tear_no_character() -> None:
    """A text without any space, of characters that people see as one and that are two."""
    text = "x" + "e\u0301" * 500
    ranges = list(sections(text, 100))
    assert "".join(text[start:end] for start, end in ranges) == text
    assert all(text[start] == "e" for start, _ in ranges[1:])


def test_a_cut_prefers_the_border_of_a_paragraph() -> None:
    text = "One two three. Four five.\n\nSix seven eight nine ten eleven twelve."
    chunks = [text[start:end] for start, end in chunk(text, words(text), 12, 0)]
    assert chunks == ["One two three. Four five.", "Six seven eight nine ten eleven twelve."]


def test_a_cut_prefers_the_end_of_a_sentence() -> None:
    text = 'One two three four five. "Six seven?" Eight nine ten eleven.'
    chunks = [text[start:end] for start, end in chunk(text, words(text), 13, 0)]
    assert chunks == ['One two three four five. "Six seven?"', "Eight nine ten eleven."]


def test_the_overlap_begins_with_a_sentence() -> None:
    text = "a b c d e f. g h i. j k l m n o p q."
    chunks = [text[start:end] for start, end in chunk(text, words(text), 13, 5)]
    assert chunks == ["a b c d e f. g h i.", "g h i. j k l m n o p q."]


def test_a_huge_token_does_not_make_a_huge_chunk() -> None:
    text = "x" * 1_000_000
    assert max(end - start for start, end in chunk(text, [(0, len(text))])) <= LIMIT * 256


def test_an_overlap_of_half_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="half"):
        chunk("a b", [(0, 1), (2, 3)], 2, 1)


@pytest.fixture(scope="module")
def models() -> SentenceTransformerModels:
    made = SentenceTransformerModels()
    made.tokenize("It is read now.")
    return made


@given(text=st.text(max_size=3000))
def test_chunks_of_the_real_tokenizer_fit_the_model(text: str, models: SentenceTransformerModels) -> None:
    for start, end in chunk(text, models.tokenize(text), 20, 5):
        # Cut at the border of a token, a word may fall into one piece more than it had as a whole.
        assert len(models.tokenize(text[start:end])) <= 22
