"""CSV to Parquet: types, encodings, what cannot be read, bounded memory, and the way through a real trigger."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import redis
from pyarrow import parquet

from functions.csv_to_parquet import Converted, csv_to_parquet
from runtime.config.settings import StoreSettings
from runtime.context import Context, ObjectEvent
from runtime.testing import fake_context
from tests.trying import trial
from tests.workers import until


@pytest.fixture
def context() -> Context:
    return fake_context("csv_to_parquet")


def call(context: Context, *keys: str, event: str = "created", **options: Any) -> Converted:
    objects = [ObjectEvent("tables", key, event) for key in keys]  # type: ignore[arg-type]
    return csv_to_parquet(objects, context=context, **options)


def read(data: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return rows


def convert(context: Context, data: str | bytes, key: str = "a.csv", **options: Any) -> list[dict[str, Any]]:
    context.store.put("tables", key, data.encode() if isinstance(data, str) else data)
    done = call(context, key, **options)
    assert not done.failed
    return read(context.store.get("tables", done.written[0].key).data)


def test_the_values_tell_the_types(context: Context) -> None:
    text = 'id,price,day,paid,name\n1,2.5,2026-11-21,true,"Ann, ""A."""\n2,,2026-11-22,false,\n'
    assert convert(context, text) == [
        {"id": 1, "price": 2.5, "day": date(2026, 11, 21), "paid": True, "name": 'Ann, "A."'},
        {"id": 2, "price": None, "day": date(2026, 11, 22), "paid": False, "name": ""},
    ]


def test_columns_that_are_text_keep_their_zeros(context: Context) -> None:
    assert convert(context, "sku\n00123\n") == [{"sku": 123}]
    assert convert(context, "sku\n00123\n", text=["sku"]) == [{"sku": "00123"}]


@pytest.mark.parametrize(
    ("late", "kept"),
    [
        ("1.5", 1.5),
        ("word", "word"),
        ("99999999999999999999", 1e20),
    ],
)
def test_a_late_value_of_another_type_widens_its_column_only(context: Context, late: str, kept: object) -> None:
    many = 700_000  # more than a block
    rows = convert(context, "id,n,empty\n" + "1,2,\n" * many + f"1,{late},\n")
    assert len(rows) == many + 1
    assert rows[-1] == {"id": 1, "n": kept, "empty": None}
    assert rows[0]["n"] == ("2" if kept == "word" else 2)


def test_a_column_that_begins_empty_may_become_text(context: Context) -> None:
    rows = convert(context, "id,note\n" + "1,\n" * 1_500_000 + "2,hello\n")
    assert rows[-1] == {"id": 2, "note": "hello"}
    assert rows[0] == {"id": 1, "note": ""}


def test_other_delimiters_encodings_line_breaks_and_packed_files(context: Context) -> None:
    assert convert(context, "a;b\n1;2\n", delimiter=";") == [{"a": 1, "b": 2}]
    assert convert(context, "a\nü\n".encode("latin-1"), encoding="latin-1") == [{"a": "ü"}]
    assert convert(context, "a\nü\n".encode("utf-16"), encoding="utf-16") == [{"a": "ü"}]
    assert convert(context, 'a,b\r\n"two\nlines",1\r\n') == [{"a": "two\nlines", "b": 1}]
    assert convert(context, gzip.compress(b"a\n1\n"), "a.CSV.gz") == [{"a": 1}]
    assert convert(context, "a,b\n") == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Empty CSV file"),
        (b"a,b\n1\n", "Expected 2 columns, got 1"),
        (b"a,a\n1,2\n", "Two columns have the name 'a'. Rename one of them."),
        ("a\nü\n".encode("latin-1"), "not in utf-8. Name its encoding"),
        (b"a\n" + b"words\n" * 1_000_000 + b"\xfc\n", "invalid UTF8"),
        (b"\x00\xff" * 500, "cannot be read as CSV"),
    ],
)
def test_what_cannot_be_read_says_why_and_holds_up_no_other(context: Context, data: bytes, reason: str) -> None:
    context.store.put("tables", "bad.csv", data)
    context.store.put("tables", "good.csv", b"a\n1\n")
    done = call(
        context,
        "bad.csv",
        "gone.csv",
        "good.csv",
    )
    assert [table.key for table in done.written] == ["parquet/good.csv.parquet"]
    [failed] = done.failed
    assert failed.reason.startswith("bad.csv: ")
    assert reason in failed.reason


def test_what_is_asked_for_and_is_not_there_says_so(context: Context) -> None:
    context.store.put("tables", "a.csv", b"a\n1\n")
    context.store.put("tables", "b.csv.gz", b"a\n1\n")
    [text] = call(context, "a.csv", text=["sku"]).failed
    assert "There is no column 'sku', which `text` names; there are a." in text.reason
    [encoding] = call(context, "a.csv", encoding="latin-99").failed
    assert "unknown encoding: latin-99" in encoding.reason
    [packed] = call(context, "b.csv.gz").failed
    assert "cannot be read as CSV" in packed.reason


def test_a_full_disk_is_no_fault_of_the_file(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    context.store.put("tables", "a.csv", b"a\n1\n")
    monkeypatch.setattr("functions.csv_to_parquet._write", full)
    with pytest.raises(OSError, match="No space"):
        call(context, "a.csv")


def test_a_removal_and_a_file_that_becomes_unreadable_take_the_table_along(context: Context) -> None:
    convert(context, "a\n1\n")
    assert call(context, "a.csv", event="removed").removed == ["parquet/a.csv.parquet"]
    assert not list(context.store.list("tables", "parquet/"))
    convert(context, "a\n1\n")
    context.store.put("tables", "a.csv", b"")
    call(context, "a.csv")
    assert not list(context.store.list("tables", "parquet/"))


MEASURE = r"""
import re, sys
from pathlib import Path
from functions.csv_to_parquet import Converter
from runtime.testing import fake_context

with open(sys.argv[1], "rb") as source, open(sys.argv[2], "w+b") as target:
    rows, _ = Converter(source, False, ",", "utf-8", []).write(target, fake_context())
print(rows, int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file larger than what the conversion takes of memory, in a process of its own."""
    source, target = tmp_path / "big.csv", tmp_path / "big.parquet"
    block = "".join(f"{n},2026-01-01 10:00:00,{n / 7:.6f},some words that fill this line {n}\n" for n in range(20_000))
    with source.open("w") as file:
        file.write("id,at,value,words\n")
        file.writelines(block for _ in range(500))
    command = [sys.executable, "-P", "-c", MEASURE, str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, megabytes = map(int, done.stdout.split())
    assert rows == 20_000 * 500 == parquet.read_metadata(target).num_rows
    assert megabytes < 500 < source.stat().st_size / 2**20


def test_through_a_real_trigger(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    function = {"handler": "functions.csv_to_parquet:csv_to_parquet"}
    trigger = {"suffix": [".csv", ".csv.gz"], "batch": {"max_items": 1}, "with": {"text": ["sku"]}}
    house = trial(redis_client, broker_url, store_settings, tmp_path, function, trigger)
    store, bucket, table = house.store, house.bucket, "parquet/sales/mai ü.csv.parquet"
    with house.running():
        store.put(bucket, "sales/mai ü.csv", b"sku,price\n007,1.5\n")
        store.put(bucket, "bad.csv", b"")
        [written] = house.result("sales/mai ü.csv")["written"]
        assert written == {"key": table, "rows": 1, "columns": {"sku": "string", "price": "double"}}
        assert read(store.get(bucket, table).data) == [{"sku": "007", "price": 1.5}]
        assert "Empty CSV file" in until(lambda: house.entry("bad.csv", "dead")).reason
        store.delete(bucket, "sales/mai ü.csv")
        house.result("sales/mai ü.csv", "removed")
        assert not list(store.list(bucket, "parquet/"))
