"""Filters inside the search, against looking at every row; grouping by document; what tables of attributes hold."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from runtime.errors import CorruptSegment
from runtime.index import attributes, terms
from runtime.index.attribute_terms import Collector
from runtime.index.attributes import ATTRIBUTES, Attributes, Table, collected
from runtime.index.filters import Filters, Range, Value

BUCKETS = ("documents", "documents-2", "")
KEYS = ("a", "a/b", "a/b\x00c", "a/ä", "a0", "b", "ｆ", "𝔸", "z" * 40)
TYPES = ("text/plain", "Text/HTML; charset=utf-8", "text/plainer", "application/pdf", "")
TEXTS = ("", "en", "EN", "en\x00", "7", "07", "7.0", "-3", "1e3", "true", "nan", "1_0", "٧")
VALUES: tuple[Any, ...] = (
    *TEXTS,
    7,
    7.5,
    -3,
    0.0,
    -0.0,
    1000,
    True,
    False,
    None,
    math.inf,
    ["en", 7],
    {"deep": 1},
    2**80,
)
TENANTS = ("default", "acme", "acme-2", "")
TIMES = (None, 0, -5.5, 1.0, 1e9, 1_700_000_000.25, True)

metas = st.builds(
    lambda kind, time, own, noted: {
        **({"content_type": kind} if kind else {}),
        **({} if time is None else {"modified": time}),
        **({"metadata": own} if own else {}),
        **noted,
    },
    st.sampled_from(TYPES),
    st.sampled_from(TIMES),
    st.dictionaries(st.sampled_from(["lang", "year"]), st.sampled_from(TEXTS)),
    st.dictionaries(st.sampled_from(["lang", "flag", "la"]), st.sampled_from(VALUES)),
)
ranges = st.builds(Range, *2 * [st.none() | st.sampled_from((-5.5, -3, 0.0, 7, 7.0, 1000, 1e9, 1.7e9))])
values: st.SearchStrategy[Value] = st.sampled_from(TEXTS) | st.sampled_from((7.0, 7.5, -3.0, 0.0, 1000.0)) | ranges


def some(choices: Any, least: int = 0) -> Any:
    return st.lists(st.sampled_from(choices), min_size=least, max_size=2).map(tuple)


filters = st.builds(
    Filters,
    some(BUCKETS),
    some(["", "a", "a/", "a/b", "b", "zz", "𝔸", "ab"]),
    some(["text/plain", "TEXT/*", "application/pdf", "image/*"]),
    st.none() | ranges,
    st.lists(
        st.tuples(st.sampled_from(["lang", "year", "flag", "la", "none"]), st.lists(values, min_size=1, max_size=2)),
        max_size=2,
    ).map(lambda found: tuple((name, tuple(chosen)) for name, chosen in found)),
    some(TENANTS),
)
Found = tuple[str, str, dict[str, Any], str]
rows = st.lists(
    st.tuples(st.sampled_from(BUCKETS), st.sampled_from(KEYS), metas, st.sampled_from(TENANTS)), min_size=1, max_size=20
)


def passes(bucket: str, key: str, meta: dict[str, Any], tenant: str, wanted: Filters) -> bool:
    """The same question in plain words."""
    kind = meta.get("content_type", "").partition(";")[0].lower()
    time = meta.get("modified")
    own = meta.get("metadata", {})
    return (
        (not wanted.tenants or tenant in wanted.tenants)
        and (not wanted.buckets or bucket in wanted.buckets)
        and (not wanted.prefixes or key.startswith(wanted.prefixes))
        and (not wanted.types or any(_is(kind, one.lower()) for one in wanted.types))
        and (
            wanted.modified is None or (type(time) is not bool and time is not None and _within(time, wanted.modified))
        )
        and all(
            any(_equals(held, value) for held in _held(own.get(name), meta.get(name)) for value in chosen)
            for name, chosen in wanted.meta
        )
    )


def _is(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("/*") else bool(kind) and kind == wanted


def _within(number: float, limits: Range) -> bool:
    return (limits.low is None or number >= limits.low) and (limits.high is None or number <= limits.high)


def _held(*found: Any) -> Iterator[Any]:
    for one in found:
        yield from one if isinstance(one, list) else [one]


def _equals(held: Any, wanted: Value) -> bool:
    said = {True: "true", False: "false"}[held] if isinstance(held, bool) else held
    if said is None or isinstance(said, dict) or said in (math.inf, 2**80):
        return False
    if isinstance(wanted, str):
        return (said if isinstance(said, str) else f"{said + 0.0:g}") == wanted
    try:
        number = float(said) if said not in ("nan", "1_0", "٧") else None
    except ValueError:
        return False
    return number is not None and (_within(number, wanted) if isinstance(wanted, Range) else number == wanted)


def packed(found: list[Found]) -> bytes:
    def plain(meta: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in meta.items() if value != 2**80}  # msgpack cannot hold it

    return b"".join(
        msgpack.packb([bucket, key, "e", 1, tenant, at, 0, 0, "text", plain(meta)])
        for at, (bucket, key, meta, tenant) in enumerate(found)
    )


@rules(max_examples=200, deadline=None)
@given(found=rows, wanted=filters)
def test_a_table_finds_what_looking_at_every_row_finds(found: list[Found], wanted: Filters) -> None:
    found = [row for row in found for _ in range(2)]  # documents of two chunks
    table = Attributes(None, memoryview(packed(found)), len(found))
    passing = np.unpackbits(table.passing(wanted), bitorder="little")
    assert not passing[len(found) :].any(), "no bit beyond the last row"
    assert [bool(one) for one in passing[: len(found)]] == [passes(*row, wanted) for row in found]


@rules(max_examples=60, deadline=None)
@given(parts=st.lists(rows, max_size=4), wanted=filters)
def test_what_batches_brought_is_the_table_of_all(parts: list[list[Found]], wanted: Filters) -> None:
    together = Collector()
    for part in parts:
        alone = Collector()
        alone.extend(part)
        together.merge(alone.packed())
    everything = [row for part in parts for row in part]
    table = Table(np.frombuffer(b"".join(together.pieces()), np.uint8), len(everything))
    passing = np.unpackbits(table.passing(wanted), count=len(everything), bitorder="little")
    assert [bool(one) for one in passing] == [passes(*row, wanted) for row in everything]


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=2))
def test_numbers_sort_as_their_terms(pair: list[float]) -> None:
    left, right = (terms.number(one) for one in pair)
    assert (left < right, left == right) == (pair[0] < pair[1], pair[0] == pair[1])


def test_a_range_without_an_end_holds_the_largest_numbers() -> None:
    table = Attributes(None, memoryview(packed([("", "k", {"n": 1.7e308}, ""), ("", "k", {"n": -1.7e308}, "")])), 2)
    for limits, expected in ((Range(0, None), 1), (Range(None, 0), 2), (Range(), 3), (Range(-1.7e308, 1.7e308), 3)):
        assert table.passing(Filters(meta=(("n", (limits,)),))).tolist() == [expected]


def test_rows_that_are_equal_and_not_alike() -> None:
    """1 and true are equal in Python."""
    found = [("", "k", {"flag": value}, "") for value in (True, 1, True, 1.0)]
    table = Attributes(None, memoryview(packed(found)), 4)
    assert table.passing(Filters(meta=(("flag", ("true",)),))).tolist() == [0b0101]
    assert table.passing(Filters(meta=(("flag", (1.0,)),))).tolist() == [0b1010]


def test_a_table_that_knows_no_tenants_is_made_anew_when_they_are_asked_for(tmp_path: Path) -> None:
    """Those of earlier releases, and those that such batches went into."""
    found: list[Found] = [("b", "k", {}, "acme"), ("b", "l", {}, "globex"), ("b", "m", {}, "acme")]
    for known in (0, 2):
        collector = Collector()
        collector.extend(found[:known])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("runtime.index.attribute_terms.terms.of_tenant", lambda _: iter(()))
            older = Collector()
            older.extend(found[known:])
            collector.merge(older.packed())
        path = tmp_path / f"{known}.bin"
        path.write_bytes(b"".join(collector.pieces()))
        table = Attributes(path, memoryview(packed(found)), 3)
        assert table.passing(Filters(buckets=("b",))).tolist() == [0b111]
        assert table.passing(Filters(tenants=("acme",))).tolist() == [0b101]
        assert table.passing(Filters(tenants=("acme",), prefixes=("m",))).tolist() == [0b100]
        assert table.passing(Filters(tenants=("nobody",))).tolist() == [0]


def test_metadata_makes_nobody_a_tenant() -> None:
    found: list[Found] = [("b", "k", {"a": "acme", "": "acme", "\0": "acme", "tenant": "acme"}, "globex")]
    found.append(("b", "l", {}, "acme"))
    table = Attributes(None, memoryview(packed(found)), 2)
    assert table.passing(Filters(tenants=("acme",))).tolist() == [0b10]


def test_metadata_puts_nothing_into_a_bucket() -> None:
    found: list[Found] = [("photos", "k", {}, "t"), ("b", "l", {"": "photos"}, "t")]
    table = Attributes(None, memoryview(packed(found)), 2)
    assert table.passing(Filters(buckets=("photos",))).tolist() == [0b01]


def test_a_few_filters_are_remembered(tmp_path: Path) -> None:
    table = Attributes(None, memoryview(packed([("b", "k", {}, "")])), 1)
    first = Filters(buckets=("b",))
    bits = table.passing(first)
    assert table.passing(Filters(buckets=("b",))) is bits
    for number in range(attributes.KEPT):
        table.passing(Filters(buckets=(str(number),)))
    assert table.passing(first) is not bits


@pytest.mark.parametrize("damage", [b"", b"x" * 39, b"\0" * 200])
def test_a_damaged_table_is_refused(tmp_path: Path, damage: bytes) -> None:
    whole = b"".join(collected([packed([("b", "k", {}, ""), ("b", "l", {}, "")])]).pieces())
    path = tmp_path / ATTRIBUTES
    for data in (damage or whole[:-1], whole[: len(whole) // 2], whole + b"x"):
        path.write_bytes(data)
        with pytest.raises(CorruptSegment, match=ATTRIBUTES):
            Attributes(path, memoryview(b""), 2)
    path.write_bytes(whole)
    with pytest.raises(CorruptSegment, match="does not belong"):
        Attributes(path, memoryview(b""), 3)
    # A row number that is none.
    places = struct.unpack_from("<Q", whole, 16)[0]
    at = 40 + 16 * (places + 1)
    path.write_bytes(whole[:at] + b"\xff" * 4 + whole[at + 4 :])
    with pytest.raises(CorruptSegment, match="does not have"):
        Attributes(path, memoryview(b""), 2).passing(Filters(tenants=("",)))
    with pytest.raises(CorruptSegment, match="cannot be read"):
        Attributes(None, memoryview(b"\x01\x02"), 2).passing(Filters(buckets=("b",)))
