"""Reading a page of a listing: the fast way and the parser say the same, whatever a server writes."""

from __future__ import annotations

from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as some

from runtime.context import ObjectInfo
from runtime.errors import StoreDown
from runtime.store.page import parse, rows_alike

NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def page(rows: str, *, end: str = "", encoding: str = "url", space: str = NAMESPACE) -> bytes:
    coded = f"<EncodingType>{encoding}</EncodingType>" if encoding else ""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{space}><Name>b</Name>{rows}{coded}{end}'
    return f"{text}</ListBucketResult>".encode()


def row(key: str, etag: str = "&#34;e&#34;", size: str = "3", inner: str = "") -> str:
    return (
        f"<Contents><Key>{key}</Key><ETag>{etag}</ETag><Size>{size}</Size>{inner}"
        "<LastModified>2026-11-21T11:00:00.5Z</LastModified></Contents>"
    )


def told(key: str, etag: str = "e", size: int = 3) -> ObjectInfo:
    return ObjectInfo("b", key, etag, size, 1795258800.5)


@pytest.mark.parametrize("space", [NAMESPACE, ""])
@pytest.mark.parametrize(
    ("rows", "alike"),
    [
        (row("a%20b%2Bc+d"), True),
        (row("a%20b%2Bc+d", "&quot;e&quot;"), True),
        (row("a%20b%2Bc+d", '"e"', inner="<Owner><ID>x</ID><DisplayName/></Owner>"), False),
        (row("a%20b%2Bc+d", inner='<Storage class="x">y</Storage>'), False),
        (row("<![CDATA[a%20b%2Bc+d]]>"), False),
        (row("a%20b%2Bc+<!-- -->d"), False),
        (row("a%20b%2Bc+d").replace("><", ">\n  <"), False),
    ],
)
def test_every_dialect_is_read(rows: str, alike: bool, space: str) -> None:
    text = page(rows * 2, space=space)
    assert (rows_alike(text) is not None) is alike
    assert parse("b", text) == ([told("a b+c d")] * 2, "")


def test_rows_that_differ_are_left_to_the_parser() -> None:
    odd = [row("plain"), row("two", inner="<Owner/>"), row("three").replace("<ETag>&#34;e&#34;</ETag>", "")]
    for text in (page("".join(odd)), page("".join(reversed(odd)))):
        assert rows_alike(text) is None
        found = {info.key: info for info in parse("b", text)[0]}
        assert found == {"plain": told("plain"), "two": told("two"), "three": told("three", etag="")}


def test_a_field_that_is_missing_everywhere_is_empty() -> None:
    rows = "<Contents><Key>a</Key><Size></Size></Contents><Contents><Key>b</Key><Size>7</Size></Contents>"
    assert rows_alike(page(rows)) is not None
    assert parse("b", page(rows))[0] == [ObjectInfo("b", "a", "", 0, 0.0), ObjectInfo("b", "b", "", 7, 0.0)]


def test_keys_that_are_not_escaped() -> None:
    rows = row("a&amp;b &lt;c&gt;+%20") + row("plain")
    assert parse("b", page(rows, encoding=""))[0] == [told("a&b <c>+%20"), told("plain")]
    only = row("a+%20é")
    assert rows_alike(page(only, encoding="")) is not None
    assert parse("b", page(only, encoding=""))[0] == [told("a+%20é")]


def test_a_page_without_objects_and_one_with_folders() -> None:
    assert parse("b", page("")) == ([], "")
    assert parse("b", page("<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>" + row("a")))[0] == [told("a")]


@pytest.mark.parametrize("rows", [row("a"), row("a", inner="<Owner/>")])
def test_the_token_of_the_next_page(rows: str) -> None:
    more = "<IsTruncated>true</IsTruncated>"
    token = "<NextContinuationToken>a&amp;b+%20</NextContinuationToken>"
    assert parse("b", page(rows, end=more + token))[1] == "a&b+%20"
    assert parse("b", page(token + more + rows))[1] == "a&b+%20"
    assert parse("b", page(rows, end=token))[1] == ""
    with pytest.raises(StoreDown, match="how to go on"):
        parse("b", page(rows, end=more))


@pytest.mark.parametrize(
    "answer", [b"", b"not XML", b"<html><Contents></Contents></html>", page(row("a"))[:-5], b"\xff<a/>", b"<Contents>"]
)
def test_what_is_no_listing_is_not_taken_for_an_empty_bucket(answer: bytes) -> None:
    with pytest.raises(StoreDown, match="'b'"):
        parse("b", answer)


_KEYS = some.text(some.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30)


@given(some.lists(some.tuples(_KEYS, some.integers(0, 2**63)), max_size=5), some.sampled_from([quote, quote_plus]))
def test_the_fast_way_says_what_the_parser_says(objects: list[tuple[str, int]], coded: object) -> None:
    assert callable(coded)
    rows = "".join(row(escape(coded(key)), size=str(size)) for key, size in objects)
    fast, slow = page(rows), page(rows + row("last", inner="<Owner/>"))
    assert (rows_alike(fast) is None) is (not objects) and rows_alike(slow) is None
    expected = [told(key, size=size) for key, size in objects]
    assert parse("b", fast)[0] == expected
    assert parse("b", slow)[0] == [*expected, told("last")]
