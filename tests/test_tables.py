"""Tables: where their rows are, and the line that names the columns with each chunk that begins among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._layout import headings
from functions._pieces import pieces
from functions._tables import HEADER, headers, in_row, tables
from functions._text import Text
from runtime.context import Chunking
from runtime.testing import FakeModels

HEAD = "| no | place |\n|---|:-:|\n"


def test_only_what_has_a_header_is_a_table() -> None:
    text = f"Before.\n\n{HEAD}| 1 | Bonn |\n| 2 | Köln |\n\nAfter.\n| 3 | no header |\n\n  | a |\n  | --- |\n  | b |"
    first, second = tables(text)
    assert (text[first.start : first.end], first.header) == ("| 1 | Bonn |\n| 2 | Köln |", "| no | place |")
    assert (text[second.start : second.end], second.header) == ("  | b |", "| a |")
    assert tables(HEAD) == tables("a | b\n--- | ---\n1 | 2") == tables("") == []
    assert len(tables("| " + "long " * 500 + "|\n|---|\n| x |")[0].header) == HEADER


def test_which_header_stands_above_an_offset() -> None:
    text = f"{HEAD}| 1 | a |\n\nNo row.\n\n{HEAD.upper()}| 2 | b |"
    places = [text.index(part) for part in ("| no", "| 1", "No row", "| NO", "| 2")]
    assert list(headers(tables(text), places)) == ["", "| no | place |", "", "", "| NO | PLACE |"]
    assert list(headers([], [0, 5])) == ["", ""]


def test_chunks_within_a_table_say_what_its_columns_are() -> None:
    rows = "\n".join(f"| {number} | place {number} |" for number in range(60))
    text = f"# Places\n\n{HEAD}{rows}\n\nThe end of it. " + "More words. " * 60
    found = pieces(Text(text, "markdown"), FakeModels(), Chunking(60, 12))
    within = [
        one for one in found if text[one.start : one.end].startswith("| ") and "no | place" not in text[one.start :]
    ]
    assert len(within) > 5
    assert {one.meta["header"] for one in within} == {"| no | place |"}
    assert all(one.meta["headings"] == ["Places"] for one in found)
    assert "header" not in found[0].meta and "header" not in found[-1].meta
    assert all("header" not in one.meta for one in pieces(Text(text, "code"), FakeModels(), Chunking(60, 12)))


@given(st.text("| -:ab\n\t", max_size=200))
def test_any_text(text: str) -> None:
    found = tables(text)
    assert [one.start for one in found] == sorted(one.start for one in found)
    for one in found:
        assert all(line.lstrip(" \t").startswith("|") for line in text[one.start : one.end].split("\n"))
        assert one.header.startswith("|") and in_row("| x | y |", 3)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("|" * 200_000, id="bars"),
        pytest.param("|\n|" + "-" * 200_000, id="dashes"),
        pytest.param("|\n|" + "-|" * 100_000 + "x", id="columns"),
        pytest.param(" " * 200_000 + "|", id="spaces"),
        pytest.param("| a |\n" * 50_000, id="rows"),
        pytest.param("# a\n```\n" * 50_000, id="fences"),
    ],
)
def test_hostile_texts_cost_no_time(text: str) -> None:
    """Each of them took minutes where the work grew with the square of the length."""
    assert tables(text) == []
    assert len(headings(text)) <= 25_000
