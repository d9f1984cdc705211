"""Headings, definitions, rows of tables, and characters of several code points; and how texts are cut by them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._chunk import chunk
from functions._layout import CODE, Heading, headings, joined, layout, page, paths
from functions._tables import in_row


def words(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]


def cut(text: str, kind: str, limit: int, overlap: int = 0) -> list[str]:
    plan = layout(text, kind, headings(text, kind))
    return [text[start:end] for start, end in chunk(text, words(text), limit, overlap, plan)]


def titles(text: str, kind: str = "markdown") -> list[tuple[int, str]]:
    return [(heading.level, heading.title) for heading in headings(text, kind)]


def test_headings_of_markdown_and_restructured_text() -> None:
    assert titles("# One\n\ntext\n\n## Two ##\n#3 is no heading\n### C#\n") == [(1, "One"), (2, "Two"), (3, "C#")]
    assert titles("Title\n=====\n\nPart\n----\ntext\n\nDetail\n~~~~~~\n") == [(1, "Title"), (2, "Part"), (3, "Detail")]
    assert titles("text\nmore text\n---\nno heading, but a rule") == []
    assert titles("a | b\n----\n") == [(2, "a | b")]
    assert titles("| a\n---\n") == []
    assert titles("```sh\n# a comment\n```\n\n# A heading\n\n~~~\n# not closed") == [(1, "A heading")]
    assert titles("# a comment\nx = 1\n", CODE) == []


@pytest.mark.parametrize(
    "text", ["# a" + " " * 50_000 + "b", "#" * 50_000, "# " * 30_000, "=" * 50_000, "`" * 50_000, "a\n" + "==" * 30_000]
)
def test_hostile_texts_cost_no_time(text: str) -> None:
    assert len(headings(text)) <= 1
    assert cut(text, CODE, 50) is not None


def test_paths() -> None:
    found = [Heading(0, 5, 1, "A"), Heading(10, 15, 2, "B"), Heading(20, 25, 2, "C"), Heading(30, 35, 1, "D")]
    assert list(paths(found, [0, 9, 12, 20, 29, 31])) == [["A"], ["A"], ["A", "B"], ["A", "C"], ["A", "C"], ["D"]]
    assert list(paths(found[1:], [5, 10])) == [[], ["B"]]


def test_pages() -> None:
    assert [page((0, 10, 20), offset) for offset in (0, 9, 10, 25)] == [1, 1, 2, 3]
    assert page((), 5) == 0


def test_a_chunk_begins_with_a_heading_where_it_can() -> None:
    text = "# One\n\n" + "a b c d. " * 4 + "\n\n## Two\n\n" + "e f g h. " * 4 + "\n\nLast words."
    first, second = cut(text, "markdown", 30, 5)
    assert first.startswith("# One")
    assert second.startswith("## Two"), "nothing is repeated before a heading"
    assert first.endswith("d.")


def test_a_heading_stays_with_what_follows() -> None:
    text = "a b c d e f g h i j.\n\n# Heading\n\n" + "k l m n o p q r s t."
    assert cut(text, "markdown", 14) == ["a b c d e f g h i j.", "# Heading\n\nk l m n o p q r s t."]
    assert cut("x y z. " * 3 + "\n\n# A\n\n## B\n\nc d e f g h.", "markdown", 16)[-1] == "# A\n\n## B\n\nc d e f g h."


def test_small_parts_share_a_chunk() -> None:
    text = "\n\n".join(f"## Part {number}\n\nSo it is." for number in range(6))
    chunks = cut(text, "markdown", 24)
    assert [chunk.count("##") for chunk in chunks] == [3, 3]


def test_rows_of_a_table_stay_whole() -> None:
    rows = [f"| {number} | e.g. St. Pauli. Or so! | yes |" for number in range(12)]
    text = "| no | place | open |\n|---|---|---|\n" + "\n".join(rows)
    for chunk_ in cut(text, "markdown", 50, 18):
        assert all(line.startswith("|") and line.endswith("|") for line in chunk_.splitlines())
    tabbed = "\n".join(f"{number}\tA. Smith. Jr.\tx y" for number in range(12))
    assert all(len(line.split("\t")) == 3 for chunk_ in cut(tabbed, "text", 30) for line in chunk_.splitlines())
    assert in_row("| a | b |", 4)
    assert not in_row("a | b", 3)


def test_source_code_is_cut_between_definitions() -> None:
    functions = [f"@cached\ndef f{number}(a, b):\n    # Adds. Always.\n    return a + b" for number in range(6)]
    text = "import os\n\n\n" + "\n\n\n".join(functions)
    chunks = cut(text, CODE, 50, 10)
    assert len(chunks) > 2
    assert all(chunk_.startswith("@cached") for chunk_ in chunks[1:])
    assert all(chunk_.endswith("a + b") for chunk_ in chunks)
    body = "\n".join(f"    x{number} = call(y, 'So. It. Is.')" for number in range(40))
    for chunk_ in cut("def long():\n" + body, CODE, 60, 20)[1:]:
        assert chunk_.startswith("x"), "lines stay whole"


def test_other_languages() -> None:
    for head in (
        "func (s *Server) Run() {",
        "pub async fn run() {",
        "export default class A {",
        "public final class B {",
    ):
        text = "\n\n".join(f"{head}\n    a.b(c, d);\n    e.f(g);\n}}" for _ in range(3))
        assert all(chunk_.startswith(head) for chunk_ in cut(text, CODE, 30))


FAMILY, FLAGS, ACCENT = (
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "e\u0301",
)


def test_what_people_see_as_one_character_is_joined() -> None:
    assert [joined(FAMILY, place) for place in range(6)] == [False, True, True, True, True, False]
    assert [joined(FLAGS, place) for place in range(4)] == [False, True, False, True]
    assert joined(ACCENT, 1)
    assert joined("\U0001f44d\U0001f3fd", 1)
    assert not joined("ab", 1)
    assert not joined("漢字", 1)


PIECES = st.sampled_from(
    [
        "word ",
        "x",
        ". ",
        "\n",
        "\n\n",
        "# H\n",
        "| a | b |\n",
        FAMILY,
        FLAGS,
        ACCENT,
        "漢",
        "`",
        "\n---\n",
        "\tc\td\n",
        "def f\n",
    ]
)


@given(st.lists(PIECES, max_size=60).map("".join), st.sampled_from(["markdown", CODE]), st.integers(4, 20))
def test_any_text(text: str, kind: str, limit: int) -> None:
    """Each code point is a token here: the worst that a tokenizer can do."""
    tokens = [(place, place + 1) for place, letter in enumerate(text) if not letter.isspace()]
    found = headings(text, kind)
    assert all(text[one.start : one.end].strip() for one in found)
    ranges = chunk(text, tokens, limit, limit // 3, layout(text, kind, found))
    covered: set[int] = set()
    for start, end in ranges:
        assert text[start:end].strip() == text[start:end] != ""
        assert sum(start <= first < end for first, _ in tokens) <= limit
        covered.update(range(start, end))
    assert all(place in covered for place, letter in enumerate(text) if not letter.isspace())
    for start, _ in ranges:
        # A family of five code points fits into the chunk, so it is not cut; longer runs have no better place.
        if joined(text, start):
            run = text[max(0, start - limit) : start]
            assert all(joined(text, place) for place in range(start - len(run) + limit // 3 + 1, start)), text
