"""A Delta Lake table: all rows once, then what changed since the version that was embedded last."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from functions import _source_delta as delta
from functions import _source_rows
from functions._source import Source
from functions.embed_all import EmbedAllResult, embed_all
from runtime.config.settings import StoreSettings
from runtime.errors import BadInput
from runtime.store.port import MinioStore
from tests.sourcing import Sourcing, again, sourcing

FEED = {"delta.enableChangeDataFeed": "true"}


def write(place: str, rows: dict[str, str], mode: Any = "append", **more: Any) -> DeltaTable:
    table = pa.table({"sku": list(rows), "body": list(rows.values()), "lang": ["en"] * len(rows)})
    write_deltalake(place, table, mode=mode, **more)
    return DeltaTable(place, storage_options=more.get("storage_options"))


def embedded(made: Sourcing, place: str, **arguments: Any) -> EmbedAllResult:
    source = Source(text="body", delta=place, id="sku", metadata=["lang"])
    return embed_all(source=source, context=made.context, **arguments)


@pytest.mark.parametrize("feed", [True, False])
@pytest.mark.parametrize("split", [[], ["lang"]])
def test_only_what_changed_is_read(tmp_path: Path, feed: bool, split: list[str]) -> None:
    place = str(tmp_path / "t")
    first = {"a": "apple", "b": "pear", "c": "plum"}
    table = write(place, first, configuration=FEED if feed else None, partition_by=split)
    made = sourcing()
    assert embedded(made, place).total_docs == 3
    assert sorted(made.ids) == ["a", "b", "c"]
    assert made.parts[0][0][0].meta == {"lang": "en"}

    made = again(made)
    assert (embedded(made, place).unchanged, made.parts) == (3, []), "the same version"

    table.update(predicate="sku = 'b'", updates={"body": "'quince'"})
    table.delete("sku = 'c'")
    write(place, {"d": "fig", "e": "kiwi"})
    DeltaTable(place).delete("sku = 'e'")
    made = again(made)
    result = embedded(made, place)
    changed = {document.id: document.text for documents, _ in made.parts for document in documents}
    assert {"b": "quince", "d": "fig"}.items() <= changed.items()
    assert feed is (set(changed) == {"b", "d"}), "without a feed, rows that are in the same file are looked at, too"
    assert made.removed == ["c"]
    assert (result.total_docs, result.removed, result.failed) == (3, 1, 0)
    assert sorted(set(made.models.embedded)) == ["apple", "fig", "pear", "plum", "quince"]
    assert len(made.models.embedded) == 5, "each once"


def test_the_last_of_several_changes_counts(tmp_path: Path) -> None:
    place = str(tmp_path / "t")
    write(place, {"a": "1", "b": "1", "c": "1"}, configuration=FEED)
    made = sourcing()
    embedded(made, place)
    table = DeltaTable(place)
    table.delete("sku = 'a'")
    write(place, {"a": "2"})
    table = DeltaTable(place)
    table.update(predicate="sku = 'b'", updates={"body": "'2'"})
    table.update(predicate="sku = 'b'", updates={"body": "'3'"})
    table.delete("sku = 'b'")
    made = again(made)
    embedded(made, place)
    assert [(document.id, document.text) for documents, _ in made.parts for document in documents] == [("a", "2")]
    assert made.removed == ["b"]


def test_rewritten_files_hold_nothing_new(tmp_path: Path) -> None:
    place = str(tmp_path / "t")
    for number in range(4):
        write(place, {f"s{number}": f"text {number}"})
    made = sourcing()
    embedded(made, place)
    DeltaTable(place).optimize.compact()
    made = again(made)
    result = embedded(made, place)
    assert (result.total_docs, made.removed, len(made.models.embedded)) == (4, [], 4)


def test_a_version_that_is_gone_costs_a_whole_reading(tmp_path: Path) -> None:
    place = str(tmp_path / "t")
    write(place, {"a": "1", "b": "1"})
    made = sourcing()
    embedded(made, place)
    write(place, {"b": "1", "c": "1"}, "overwrite")
    DeltaTable(place).vacuum(0, dry_run=False, enforce_retention_duration=False)
    made = again(made)
    result = embedded(made, place)
    assert (sorted(made.ids), made.removed, result.total_docs) == (["b", "c"], ["a"], 2)


def test_another_table_in_its_place_is_read_whole(tmp_path: Path) -> None:
    made = sourcing()
    made.store.put("documents", "x", b"")
    write(str(tmp_path / "one"), {"a": "1"})
    embedded(made, str(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "old")
    write(str(tmp_path / "one"), {"b": "1"})
    made = again(made)
    embedded(made, str(tmp_path / "one"))
    assert made.ids == ["b"]


def test_more_changes_than_are_held_are_a_whole_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(tmp_path / "t")
    write(place, {"a": "1"}, configuration=FEED)
    made = sourcing()
    embedded(made, place)
    write(place, {f"n{number}": "1" for number in range(5)})
    monkeypatch.setattr(delta, "CHANGES_LIMIT", 3)
    made = again(made)
    assert embedded(made, place).total_docs == 6
    assert len(made.ids) == 6


Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
B85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def deleted(place: Path, *rows: int) -> None:
    """Delete rows of a table of one file by a deletion vector, as Spark writes it and this library cannot."""
    log = place / "_delta_log"
    newest = max(log.glob("*.json"))
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    [old] = [line["add"] for line in lines if "add" in line]
    bits = struct.pack("<IQIIIHHI", 1681511377, 1, 0, 12346, 1, 0, len(rows) - 1, 16)
    bits += struct.pack(f"<{len(rows)}H", *rows)
    told = base64.b85encode(bits).decode().translate(str.maketrans(B85, Z85))
    vector = {"storageType": "i", "pathOrInlineDv": told, "sizeInBytes": len(bits), "cardinality": len(rows)}
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"],
        "writerFeatures": ["deletionVectors"],
    }
    actions = [
        {"protocol": protocol},
        {"remove": {"path": old["path"], "deletionTimestamp": 1, "dataChange": True}},
        {"add": {**old, "deletionVector": vector}},
    ]
    (log / f"{int(newest.stem) + 1:020}.json").write_text("\n".join(map(json.dumps, actions)))


def test_rows_that_a_deletion_vector_deletes_are_gone(tmp_path: Path) -> None:
    place = tmp_path / "t"
    write(str(place), {name: name for name in "abcdef"})
    made = sourcing()
    embedded(made, str(place))
    deleted(place, 1, 4)
    made = again(made)
    result = embedded(made, str(place))
    assert (result.total_docs, made.removed, result.failed) == (4, ["b", "e"], 0)
    assert sorted(made.ids) == ["a", "c", "d", "f"] and sorted(made.models.embedded) == list("abcdef")
    assert embedded(again(made), str(place)).unchanged == 4


def test_long_texts_are_decoded_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(tmp_path / "t")
    write(place, {f"{number}": "long " * 2000 + str(number) for number in range(50)}, configuration=FEED)
    asked: list[int] = []
    plain = _source_rows.at_once

    def at_once(rows: int, size: int) -> int:
        asked.append(plain(rows, size))
        return asked[-1]

    monkeypatch.setattr(delta, "at_once", at_once)
    monkeypatch.setattr("functions._source_rows.ROWS_BYTES", 1000)
    made = sourcing()
    assert embedded(made, place).total_docs == 50
    assert asked and max(asked) < 50


def test_bad_rows_and_bad_tables_are_named(tmp_path: Path) -> None:
    place = str(tmp_path / "t")
    made = sourcing()
    with pytest.raises(BadInput, match="There is no Delta Lake table at"):
        embedded(made, place)
    write(place, {"a": "1", "b": " ", "": "2"})
    result = embedded(made, place)
    assert (made.ids, result.failed) == (["a"], 2)
    assert any("row 'b' has no text in body" in problem for problem in result.problems)
    with pytest.raises(BadInput, match="has no column 'text'; it has sku, body, lang"):
        embed_all(source=Source("text", delta=place, id="sku"), context=sourcing().context)
    with pytest.raises(BadInput, match="in memory"):
        embedded(sourcing(), "tables/t")


def test_a_table_on_the_store(store_settings: StoreSettings) -> None:
    bucket = f"lake-{uuid4().hex[:8]}"
    store = MinioStore(store_settings.model_copy(update={"bucket": bucket}))
    store.ensure_bucket(bucket)
    found = store.connection()
    options = {
        "AWS_ENDPOINT_URL": found["endpoint"],
        "AWS_ACCESS_KEY_ID": found["access_key"],
        "AWS_SECRET_ACCESS_KEY": found["secret_key"],
        "AWS_REGION": found["region"],
        "AWS_ALLOW_HTTP": "true",
    }
    place = f"s3://{bucket}/tables/t"
    write(place, {"a": "1", "b": "2"}, storage_options=options, configuration=FEED)
    made = sourcing(store)  # type: ignore[arg-type]
    assert embedded(made, "tables/t", bucket=bucket).total_docs == 2
    write(place, {"c": "3"}, storage_options=options)
    DeltaTable(place, storage_options=options).delete("sku = 'a'")
    made = again(made)
    result = embedded(made, "tables/t/", bucket=bucket)
    assert (made.ids, made.removed, result.total_docs) == (["c"], ["a"], 2)
    made = again(made)
    assert embedded(made, place, bucket=bucket).total_docs == 2
