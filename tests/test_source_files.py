"""Rows of JSONL, CSV and Parquet objects: which are embedded, which are bad, which have left."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from functions import _source_files as files
from functions import _source_parts as parts
from functions._source import Source
from functions._source_rows import BadRow, Problems, at_once, document
from functions.embed_all import EmbedAllResult, embed_all
from functions.embed_batch import embed_batch
from runtime.context import Document
from runtime.errors import BadInput
from runtime.testing import MemoryCalls
from tests.sourcing import Sourcing, again, sourcing

BODY = Source(text="body", objects="exports/*", id="sku", metadata=["lang", "price"])


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def table(rows: list[dict[str, Any]], **options: Any) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


def read(data: bytes, key: str, source: Source) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
    problems = Problems()
    return list(files.rows(io.BytesIO(data), key, source, problems)), problems.named


def embedded(made: Sourcing, source: Source, **arguments: Any) -> EmbedAllResult:
    return embed_all(source=source, context=made.context, **arguments)


PRODUCTS = [{"sku": f"p{n}", "body": f"product {n}", "lang": "en", "price": n + 0.5} for n in range(5)]


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    return (
        "sku,body,lang,price\n" + "".join(f"{r['sku']},{r['body']},{r['lang']},{r['price']}\n" for r in rows)
    ).encode()


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("exports/a.jsonl", lines(*PRODUCTS)),
        ("exports/a.jsonl.gz", gzip.compress(lines(*PRODUCTS), mtime=0)),
        ("exports/a.csv", csv_of(PRODUCTS)),
        ("exports/a.tsv", csv_of(PRODUCTS).replace(b",", b"\t")),
        ("exports/a.parquet", table(PRODUCTS, row_group_size=2)),
    ],
)
def test_rows_become_documents_by_their_columns(key: str, data: bytes) -> None:
    made = sourcing()
    made.store.put("documents", key, data)
    made.store.put("documents", "exports/readme.txt", b"no table")
    made.store.put("documents", "other/b.jsonl", lines({"sku": "x", "body": "not asked for"}))
    result = embedded(made, BODY)
    assert (result.total_docs, result.failed, result.skipped, result.problems) == (5, 0, 1, [])
    assert made.ids == [f"p{n}" for n in range(5)]
    first = made.parts[0][0][1]
    assert first.text == "product 1"
    assert first.meta["lang"] == "en" and float(first.meta["price"]) == 1.5
    assert not list(made.store.list("tundish", "sources/default/runs/")), "the batches of the run are gone"


def test_files_that_are_as_they_were_are_not_read_and_nothing_is_embedded() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines(*PRODUCTS))
    made.store.put("documents", "exports/b.jsonl", lines({"sku": "q", "body": "another"}))
    first = embedded(made, BODY)
    models = len(made.models.embedded)
    made = again(made)
    second = embedded(made, BODY)
    assert (first.total_docs, first.unchanged, second.total_docs, second.unchanged) == (6, 0, 6, 6)
    assert (second.batches, made.parts, len(made.models.embedded)) == (0, [], models)
    assert second.version == first.version, "nothing was built"
    third = embedded(again(made), BODY, full=True)
    assert (third.total_docs, third.unchanged, third.batches) == (6, 0, 1)
    assert len(made.models.embedded) == models, "what was embedded before is found again"


def test_only_the_file_that_changed_is_read_and_what_left_it_leaves_the_index() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines(*PRODUCTS))
    made.store.put("documents", "exports/b.jsonl", lines({"sku": "q", "body": "stays"}, {"sku": "r", "body": "moves"}))
    embedded(made, BODY)
    made = again(made)
    made.store.put("documents", "exports/b.jsonl", lines({"sku": "q", "body": "stays"}))
    made.store.put("documents", "exports/c.jsonl", lines({"sku": "r", "body": "moves"}))
    made.store.delete("documents", "exports/a.jsonl")
    result = embedded(made, BODY)
    assert sorted(made.ids) == ["q", "r"]
    assert made.removed == [f"p{n}" for n in range(5)]
    assert (result.total_docs, result.removed) == (2, 5)


def test_a_row_that_went_over_to_an_unchanged_file_stays() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines({"sku": "x", "body": "one"}))
    made.store.put("documents", "exports/b.jsonl", lines({"sku": "x", "body": "two"}, {"sku": "y", "body": "three"}))
    first = embedded(made, BODY)
    assert [problem.split(" has ")[0] for problem in first.problems] == ["exports/b.jsonl line 1"]
    made = again(made)
    made.store.put("documents", "exports/a.jsonl", lines({"sku": "z", "body": "four"}))
    embedded(made, BODY)
    assert (made.ids, made.removed) == (["z"], ["x"]), "of two rows with an id only the first was in the index"


def test_files_that_are_all_gone_take_nothing_along() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines(*PRODUCTS))
    embedded(made, BODY)
    made = again(made)
    made.store.delete("documents", "exports/a.jsonl")
    assert (embedded(made, BODY).removed, made.removed) == (0, [])


def test_another_mapping_reads_everything_again() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines(*PRODUCTS))
    embedded(made, BODY)
    made = again(made)
    result = embedded(made, Source(text="body", objects="exports/*", id="sku", id_prefix="shop/"))
    assert made.ids == [f"shop/p{n}" for n in range(5)]
    assert (result.unchanged, made.removed) == (0, [f"p{n}" for n in range(5)])


BAD = b"".join(
    [
        b'\xef\xbb\xbf{"sku": "a", "body": "first"}\n',
        b"{broken\n",
        b"\n",
        b'["no object"]\n',
        b'{"sku": "b"}\n',
        b'{"sku": null, "body": "no id"}\n',
        b'{"sku": "a", "body": "twice"}\n',
        b'{"sku": "c", "body": "\xff"}\n',
        b"[" * 100_000 + b"\n",
        b'{"sku": "d", "body": "x", "lang": "' + b"y" * 9000 + b'"}\n',
        b'{"sku": "z", "body": "last"}',
    ]
)


def test_bad_lines_are_counted_and_named_and_stop_nothing() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", BAD)
    result = embedded(made, BODY)
    assert made.ids == ["a", "z"]
    assert (result.total_docs, result.failed) == (2, 8)
    for number, problem in zip((2, 4, 5, 6, 7, 8, 9, 10), sorted(result.problems, key=_line), strict=True):
        assert problem.startswith(f"exports/a.jsonl line {number} "), problem


def _line(problem: str) -> int:
    return int(problem.split(" line ")[1].split(maxsplit=1)[0])


def test_bad_rows_of_csv() -> None:
    data = b'sku,body\na,"one, two"\nb\nc,x,y\n\nd,"two\nlines"\ne,\xff\nf,good\ng,"open'
    found, problems = read(data, "x.csv", Source(text="body", objects="x", id="sku"))
    assert [(row["sku"], row["body"]) for _, row in found] == [
        ("a", "one, two"),
        ("d", "two\nlines"),
        ("f", "good"),
        ("g", "open"),
    ]
    assert [problem.split(" ", 3)[:3] for problem in problems] == [["x.csv", "line", n] for n in ("3", "4", "8")]
    found, problems = read(b"sku;body\na;\xe4\n", "x.csv", Source("body", "x", delimiter=";", encoding="latin-1"))
    assert (found, problems) == ([(2, {"sku": "a", "body": "ä"})], [])


def test_a_line_without_an_end_is_left_out_and_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_LIMIT", 1000)

    class Endless(io.RawIOBase):
        """A megabyte of one line, then a good one; nobody may ask for much at once."""

        left = 2**20

        def readable(self) -> bool:
            return True

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None and 0 < size <= 1001
            if self.left > 0:
                self.left -= size
                return b"x" * size
            self.left, tail = (-1, b"\n") if self.left > -1 else (-2, b'{"body": "good"}\n')
            return tail if self.left == -1 or tail else b""

    endless = Endless()
    numbered = iter(files.Lines(endless, "a.jsonl", problems := Problems()))  # type: ignore[arg-type]
    assert next(numbered) == b'{"body": "good"}\n'
    assert problems.named == ["a.jsonl line 1 is over 0 MiB long."]


@pytest.mark.parametrize(
    ("key", "data", "said"),
    [
        ("exports/a.parquet", b"PAR1 nothing", "cannot be read as Parquet"),
        ("exports/a.parquet", table([{"sku": "a", "text": "b"}]), "has no column 'body'; it has sku, text"),
        ("exports/a.csv", b"sku;body\n1;2\n", "it has sku;body. Is its delimiter ';'? Then say so: delimiter: ';'."),
        ("exports/a.csv", "sku,body\n1,2\n".encode("utf-16"), "is in UTF-16, which is not read line by line"),
        ("exports/a.csv", b"\n\nsku,b\xf6dy\n", "it has sku, b?dy."),
        ("exports/a.jsonl.gz", gzip.compress(lines(*PRODUCTS), mtime=0)[:-12], "cannot be unpacked"),
        ("exports/a.jsonl.gz", b"no gzip", "cannot be unpacked"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_tried_again(key: str, data: bytes, said: str) -> None:
    made = sourcing()
    made.store.put("documents", key, data)
    made.store.put("documents", "exports/z.jsonl", lines({"sku": "z", "body": "good"}))
    result = embedded(made, BODY)
    assert result.failed == 1 and said in result.problems[0] and key in result.problems[0]
    assert "z" in made.ids
    result = embedded(again(made), BODY)
    assert (result.failed, result.unchanged) == (1, 1), "it is read again, the good one is not"


def test_a_damaged_new_version_takes_no_rows_out() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.parquet", table(PRODUCTS))
    embedded(made, BODY)
    made = again(made)
    made.store.put("documents", "exports/a.parquet", b"PAR1 nothing")
    result = embedded(made, BODY)
    assert (result.failed, made.removed) == (1, [])
    made = again(made)
    made.store.put("documents", "exports/a.parquet", table(PRODUCTS[:3]))
    embedded(made, BODY)
    assert made.removed == ["p3", "p4"]


def test_batches_have_a_number_and_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_DOCUMENTS", 10)
    monkeypatch.setattr(parts, "TEXT_BYTES", 1000)
    made = sourcing()
    rows = [{"sku": str(n), "body": "x" * size} for n, size in enumerate([5] * 25 + [600, 600, 3000, 1])]
    made.store.put("documents", "exports/a.jsonl", lines(*rows))
    assert embedded(made, BODY).total_docs == 29
    assert [len(documents) for documents, _ in made.parts] == [10, 10, 6, 1, 1, 1]
    assert made.progress.seen[-1][:2] == (29, 29)


def test_the_first_batches_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FIRST_DOCUMENTS", 2)
    monkeypatch.setattr(parts, "FIRST", 3)
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines(*({"sku": n, "body": f"b{n}"} for n in range(20))))
    embedded(made, BODY)
    assert [len(documents) for documents, _ in made.parts] == [2, 2, 2, 14]


def test_a_batch_that_fails_is_told_and_the_next_run_tries_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines(*PRODUCTS))
    with monkeypatch.context() as patched:
        patched.setattr(MemoryCalls, "gather", lambda *_, **__: [("dead", {"summary": "no memory"})])
        patched.setattr(MemoryCalls, "submit", lambda *_, **__: "")
        patched.setattr(type(made.context), "call", lambda *_, **__: {"version": "x"})
        result = embedded(made, BODY)
    assert (result.total_docs, result.failed) == (0, 5)
    assert "embed_batch dead: no memory" in result.problems[0]
    assert embedded(again(made), BODY).total_docs == 5


def test_a_repeated_run_goes_on_with_its_plan() -> None:
    """A worker that was killed between two batches: what changed meanwhile is not mixed in."""
    made = sourcing()
    made.store.put("documents", "exports/a.jsonl", lines(*PRODUCTS))
    calls: Any = made.context.ports.calls
    calls.results["build_index"] = _killed
    with pytest.raises(KeyboardInterrupt):
        embedded(made, BODY)
    made.store.put("documents", "exports/a.jsonl", lines({"sku": "new", "body": "came later"}))
    made = again(made)
    assert embedded(made, BODY).total_docs == 5
    assert made.ids == [f"p{n}" for n in range(5)]
    assert len(made.models.embedded) == 5, "nothing is embedded twice"
    made = again(made)
    embedded(made, BODY)
    assert (made.ids, made.removed) == (["new"], [f"p{n}" for n in range(5)])


def _killed(**_: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (Source("a"), ["names neither of 'objects' and 'delta'"]),
        (Source("", "x", "y"), ["names both", "'text' names no column", "A table needs 'id'"]),
        (
            Source([], "x", format="xml", delimiter="ab", encoding="klingon"),
            ["'text'", "'format'", "'delimiter'", "'encoding'"],
        ),
        (
            Source("a", "x", metadata=["failed", ""], encoding="utf-16"),
            ["{was_failed: failed}", "empty name", "line by line"],
        ),
        (Source("a", delta="az://x/y", id="b"), ["'delta' is 'az://x/y'"]),
        (Source("a", "s3://shop/exports/*.csv"), ["'objects' is 's3://shop/exports/*.csv'; give the bucket as"]),
        (Source("a", "/exports/*.csv"), ["'objects' is '/exports/*.csv'"]),
    ],
)
def test_everything_that_is_wrong_is_said_at_once(source: Source, said: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        embedded(sourcing(), source)
    assert not [part for part in said if part not in str(caught.value)], str(caught.value)


def test_what_is_of_objects_is_not_of_sources() -> None:
    for more in ({"prefix": "exports/"}, {"suffix": [".csv"]}):
        with pytest.raises(BadInput, match="'prefix' and 'suffix' are of objects"):
            embedded(sourcing(), BODY, **more)


def test_nothing_found_is_told() -> None:
    made = sourcing()
    made.store.put("documents", "exports/a.xml", b"<a/>")
    result = embedded(made, BODY)
    assert (result.total_docs, result.failed, result.skipped) == (0, 0, 1)
    assert result.problems == [
        "There is no file like exports/* in the bucket documents; 1 are neither JSONL, CSV nor Parquet by their name: "
        "give 'format'."
    ]
    made.store.put("documents", "exports/b.csv", csv_of(PRODUCTS))
    assert embedded(again(made), BODY).problems == []


def test_rows_of_long_texts_are_decoded_few_at_a_time() -> None:
    assert at_once(1_000_000, 10_000_000) == 1024
    assert at_once(1000, 1000 * 2**20) == 16
    assert at_once(3, 10**12) == at_once(0, 0) == 1
    rows = [{"sku": str(number), "body": f"{number} " * 500_000} for number in range(5)]
    found, problems = read(table(rows), "x.parquet", Source("body", "x", id="sku"))
    assert ([number for number, _ in found], problems) == ([1, 2, 3, 4, 5], [])


def test_an_id_that_is_no_text() -> None:
    """Half of a pair of surrogates: JSON can write it, nobody can encode it."""
    made = sourcing()
    bad = b'{"sku": "\\ud800", "body": "a"}\n{"sku": "b", "body": "\\ud83d half", "lang": {"\\ud83d": ["x\\ud83d"]}}\n'
    made.store.put("documents", "exports/a.jsonl", bad)
    result = embedded(made, BODY)
    assert (result.total_docs, result.failed) == (1, 1)
    json.dumps(result.problems, ensure_ascii=False).encode()
    [row] = made.index.winners("default")["", "b"]
    assert (row.text, row.meta["lang"]) == ("\ufffd half", {"\ufffd": ["x\ufffd"]})
    with pytest.raises(BadInput, match="is not valid Unicode"):
        embed_batch([Document("text", id="\ud800")], context=made.context)


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("exports/*.jsonl", ["exports/a.jsonl"], ["exports/x/a.jsonl", "exports/a.jsonl.gz", "a.jsonl"]),
        ("exports/", ["exports/a.csv", "exports/x/b.csv"], ["export/a.csv"]),
        ("**/*.csv", ["a.csv", "x/a.csv", "x/y/a.csv"], ["a.tsv"]),
        ("a[1]?.csv", ["a[1]x.csv"], ["a1x.csv", "a[1]/.csv"]),
    ],
)
def test_which_objects_are_meant(glob: str, yes: list[str], no: list[str]) -> None:
    source = Source("a", glob)
    assert all(map(source.matches, yes)) and not any(map(source.matches, no))
    assert all(key.startswith(source.prefix) for key in yes)


def test_texts_ids_and_metadata_of_a_row() -> None:
    source = Source(["title", "body"], "x", id="n", metadata={"language": "lang", "tags": "tags"}, id_prefix="w/")
    row = {"title": "T", "body": "B", "n": 17.0, "lang": "de", "tags": ["a", float("nan")], "other": 1}
    assert document(source, row, "x#1") == {
        "text": "T\n\nB",
        "id": "w/17",
        "meta": {"language": "de", "tags": ["a", None]},
    }
    assert document(source, {"title": None, "body": "B", "n": 0}, "x#1") == {"text": "B", "id": "w/0", "meta": {}}
    for bad in ({"title": " ", "body": None, "n": 1}, {"body": "x", "n": True}, {"body": "x", "n": "i" * 1025}):
        with pytest.raises(BadRow):
            document(source, bad, "x#1")


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.sampled_from(["body", "sku", "lang"]), st.text(max_size=20), min_size=3), max_size=20)
)
def test_what_was_written_as_jsonl_is_read(rows: list[dict[str, str]]) -> None:
    data = b"".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for row in rows)
    found, problems = read(data, "x.jsonl", BODY)
    assert [row for _, row in found] == [json.loads(line) for line in data.splitlines() if line.strip()] or problems
    assert len(found) + len(problems) == len(rows)


@settings(max_examples=40)
@given(st.binary(max_size=300), st.sampled_from(["x.jsonl", "x.csv"]))
def test_no_bytes_break_the_reading(data: bytes, key: str) -> None:
    try:
        found, _ = read(data, key, Source("a", "x"))
    except BadInput:
        return
    assert len(found) <= len(data)
