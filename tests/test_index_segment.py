"""Segments, tables of documents, manifests and batches as files: written, read back, damaged."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import faiss
import msgpack
import numpy as np
import pytest

from runtime.context import Row
from runtime.errors import BadInput, CorruptBatch, CorruptSegment
from runtime.index import batches, included, layout, manifest, npy, segment_write
from runtime.index.batches import Batch
from runtime.index.body import Body
from runtime.index.docs import DOCS, Docs, find, identity, table, winners
from runtime.index.manifest import Manifest, SegmentRef, Skipped
from runtime.index.segment import META, Segment, decode_meta, encode_meta
from runtime.index.segment_write import Part
from runtime.index.spool import Spool
from runtime.index.vector_file import HEADER_BYTES
from runtime.testing import MemoryStore
from tests.indexing import DIMENSIONS, gone, put, rows_of, vector


def commit(store: MemoryStore, *docs: object, batch: str = "b", model: str = "m") -> str:
    rows = rows_of(list(docs))  # type: ignore[arg-type]
    vectors = np.array([vector(row.text) for row in rows if row.op == "put"], np.float32).reshape(-1, DIMENSIONS)
    return batches.write(store, "default", batch, rows, vectors, model)


def spooled(folder: Path, store: MemoryStore) -> tuple[Spool, Docs]:
    spool = Spool(folder)
    for name in sorted(batches.listing(store, "default")):
        spool.add(batches.read(store, "default", name))
    docs = spool.docs()
    return spool, docs[winners(docs)]


def built(folder: Path, store: MemoryStore) -> tuple[str, Segment]:
    spool, docs = spooled(folder, store)
    target = folder / "segment"
    target.mkdir()
    parts = [Part(spool.stored(), docs)]
    sha, meta = segment_write.write(
        target, parts, dimensions=DIMENSIONS, model="m", builder="test", batches=spool.batches
    )
    segment_write.verify(target, sha, meta, parts[0].rows)
    return sha, Segment(target, sha, meta)


def test_a_segment_gives_back_its_rows(tmp_path: Path) -> None:
    store = MemoryStore()
    commit(store, put("ä b", 1, "one", "two", "three"), put("c", 2, "four"), gone("d", 3))
    _, segment = built(tmp_path, store)
    assert (len(segment), len(segment.docs), segment.meta.max_seq) == (4, 3, 3)
    for text in ("one", "two", "three", "four"):
        ((scores, found),) = segment.search(vector(text).reshape(1, -1), 2)
        fields = segment.fields(int(found[0]))
        assert fields["text"] == text
        assert scores[0] == pytest.approx(1, abs=1e-5)
    rows = [segment.fields(number) for number in range(4)]
    assert [row["chunk"] for row in rows if row["key"] == "ä b"] == [0, 1, 2], "chunks of a document are neighbours"
    at = find(segment.docs, table([(*identity("documents", "ä b"), 0, 0, 0, 0, 0, 0)]))
    assert segment.docs[at[0]]["count"] == 3


def test_a_segment_without_vectors(tmp_path: Path) -> None:
    store = MemoryStore()
    commit(store, gone("a", 1))
    _, segment = built(tmp_path, store)
    assert (len(segment), len(segment.docs)) == (0, 1)


def test_a_segment_is_named_by_its_content(tmp_path: Path) -> None:
    store = MemoryStore()
    commit(store, put("a", 1))
    sha, segment = built(tmp_path, store)
    data = (tmp_path / "segment" / META).read_bytes()
    assert decode_meta(sha, data) == segment.meta
    with pytest.raises(CorruptSegment, match="hash"):
        decode_meta(sha, data.replace(b'"m"', b'"n"'))


def test_another_release_of_faiss_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    commit(store, put("a", 1))
    sha, segment = built(tmp_path, store)
    meta = dataclasses.replace(segment.meta, faiss="1.7.4")
    with pytest.raises(CorruptSegment, match=r"written by FAISS 1\.7\.4.*Run build_index"):
        Segment(tmp_path / "segment", sha, meta)


def test_a_truncated_index_file_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    commit(store, put("a", 1, "x", "y"))
    sha, segment = built(tmp_path, store)
    path = tmp_path / "copy"
    path.mkdir()
    for name in segment.meta.files:
        (path / name).write_bytes((tmp_path / "segment" / name).read_bytes())
    (path / "index.faiss").write_bytes((path / "index.faiss").read_bytes()[:50])
    with pytest.raises(CorruptSegment, match=r"index\.faiss"):
        Segment(path, sha, segment.meta)


def test_meta_of_a_later_release_is_read(tmp_path: Path) -> None:
    store = MemoryStore()
    commit(store, put("a", 1))
    _, segment = built(tmp_path, store)
    later = {**json.loads(encode_meta(segment.meta)), "something_new": 1}
    data = json.dumps(later).encode()
    assert decode_meta(hashlib.sha256(data).hexdigest(), data) == segment.meta


def test_winners_take_the_highest_seq_then_the_tie() -> None:
    records = [(1, 1, 5, 0, 1, 0, 9, 0), (1, 1, 7, 1, 1, 0, 1, 0), (1, 2, 1, 2, 1, 0, 3, 0), (1, 2, 1, 3, 1, 0, 4, 0)]
    docs = table(records)
    assert winners(docs).tolist() == [1, 3]
    assert winners(table([])).tolist() == []


def test_find_tells_documents_apart_that_share_the_first_half() -> None:
    docs = table([(7, second, 0, 0, 0, 0, 0, 0) for second in (1, 2, 3)])
    wanted = table([(7, 3, 0, 0, 0, 0, 0, 0), (7, 4, 0, 0, 0, 0, 0, 0), (8, 1, 0, 0, 0, 0, 0, 0)])
    assert find(docs, wanted).tolist() == [2, -1, -1]


def sample() -> Manifest:
    ref = SegmentRef("s" * 64, None, 10, 8, 5, 1000)
    return Manifest(
        index="default",
        generation=3,
        created=1.5,
        builder="b",
        dimensions=4,
        model="m",
        faiss="1.15.1",
        max_seq=9,
        segments=(ref,),
        skipped=(Skipped("x", "e f", "because"),),
    )


def test_a_manifest_round_trips() -> None:
    made = sample()
    read = manifest.decode("p", manifest.encode(made))
    assert read == dataclasses.replace(made, digest=read.digest)
    assert (read.version, read.vectors, read.documents) == (made.sha256[:8], 8, 5)
    later = json.dumps({**json.loads(manifest.encode(made)), "new_field": [1]}).encode()
    assert manifest.decode("p", later).segments == made.segments


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b'{"format": 2}', b"\xff", b'{"format": 1, "segments": 3}']
)
def test_a_damaged_manifest_is_named(data: bytes) -> None:
    with pytest.raises(CorruptSegment, match="some/path"):
        manifest.decode("some/path", data)


def test_the_highest_manifest_is_the_truth_whatever_the_hint_says() -> None:
    store = MemoryStore()
    for generation in (1, 2, 11):
        manifest.commit(store, dataclasses.replace(sample(), generation=generation))
    for hint in (b"", b"{}", b'{"generation": 1}', b'{"generation": 99}', b'{"generation": "x"}', b"null"):
        store.put(store.bucket, layout.latest("default"), hint)
        found = manifest.newest(store, "default")
        assert found is not None and found.generation == 11


def test_a_batch_round_trips() -> None:
    store = MemoryStore()
    path = commit(store, put("a", 4, "x", "y"), gone("b", 5))
    assert path == "embeddings/default/batches/b/"
    batch = batches.read(store, "default", "b")
    assert [(row.key, row.op, row.seq, row.text) for row in batch.rows] == [
        ("a", "put", 4, "x"),
        ("a", "put", 4, "y"),
        ("b", "delete", 5, ""),
    ]
    assert batch.vectors.tolist() == [vector("x").tolist(), vector("y").tolist()]
    assert (batch.model, batch.dimensions) == ("m", DIMENSIONS)


def npy_bytes(array: object) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"not an npy file", "hash"),
        (npy_bytes(np.zeros((2, 4), np.float32))[:-3], "hash"),
    ],
)
def test_vectors_that_are_not_those_of_the_commit(damage: bytes, reason: str) -> None:
    store = MemoryStore()
    commit(store, put("a", 1, "x", "y"))
    store.put(store.bucket, "embeddings/default/batches/b/vectors.npy", damage)
    with pytest.raises(CorruptBatch, match=f"embeddings/default/batches/b/.*{reason}"):
        batches.read(store, "default", "b")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x93NUMPY junk", "cannot be read"),
        (npy_bytes(np.array([{"a": 1}], object)), "cannot be read"),
        (npy_bytes(np.ones((2, 4), np.float64)), "float32"),
        (npy_bytes(np.ones(4, np.float32)), "two dimensions"),
        (npy_bytes(np.full((2, 4), 0.5, np.float32)[:1]), "1 vectors for 2 rows"),
        (npy_bytes(np.full((2, 4), np.nan, np.float32)), "NaN"),
        (npy_bytes(np.ones((2, 4), np.float32)), "length 2.000"),
    ],
)
def test_vectors_that_cannot_be_used_are_named(raw: bytes, reason: str) -> None:
    store = MemoryStore()
    path = commit(store, put("a", 1, "x", "y"))
    head = msgpack.unpackb(store.get(store.bucket, path + layout.ROWS).data)
    head["vectors"] = hashlib.sha256(raw).hexdigest()
    store.put(store.bucket, path + layout.VECTORS, raw)
    store.put(store.bucket, path + layout.ROWS, msgpack.packb(head))
    with pytest.raises(CorruptBatch, match=reason):
        batches.read(store, "default", "b")


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x80", msgpack.packb([1]), msgpack.packb({"format": 1, "rows": [[1]]})]
)
def test_rows_that_are_not_rows(data: bytes) -> None:
    store = MemoryStore()
    path = commit(store, put("a", 1))
    store.put(store.bucket, path + layout.ROWS, data)
    with pytest.raises(CorruptBatch, match=r"rows\.msgpack"):
        batches.read(store, "default", "b")


@pytest.mark.parametrize(("rows", "dimensions"), [(3, 4), (0, 4), (0, 0), (5, 384)])
def test_the_file_of_vectors_is_the_one_that_faiss_writes(tmp_path: Path, rows: int, dimensions: int) -> None:
    vectors = np.arange(rows * dimensions, dtype=np.float32).reshape(rows, dimensions)
    with Body(tmp_path / "body") as body:
        body.append(vectors[:1], b"a" * min(rows, 1), np.ones(min(rows, 1), np.uint32))
        body.append(vectors[1:], b"bb" * max(rows - 1, 0), np.full(max(rows - 1, 0), 2, np.uint32))
        stored = body.close(dimensions)
    index = faiss.IndexFlatIP(dimensions)
    index.add(vectors)
    assert (stored.folder / "index.faiss").read_bytes() == faiss.serialize_index(index).tobytes()
    offsets = npy.mapped(stored.folder / "offsets.npy", np.dtype(np.uint64))
    assert offsets.tolist() == [0, *(2 * row + 1 for row in range(rows))]


@pytest.mark.parametrize("block", [1, 2, 4096])
def test_rows_are_copied_from_other_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("runtime.index.body.BLOCK", block)
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    texts = [b"", b"b", b"cc", b"ddd", b"", b"f"]
    with Body(tmp_path / "source") as body:
        body.append(vectors, b"".join(texts), np.array([len(text) for text in texts], np.uint32))
        source = body.close(2)
    with Body(tmp_path / "copy") as body:
        body.copy(source, np.array([1, 2, 5]))
        body.copy(source, np.arange(0))
        body.copy(source, np.arange(6))
        copy = body.close(2)
    assert copy.rows == 9
    numbers = np.fromfile(copy.folder / "index.faiss", np.float32, offset=HEADER_BYTES).reshape(-1, 2)
    assert numbers.tolist() == [*vectors[[1, 2, 5]].tolist(), *vectors.tolist()]
    assert (copy.folder / "rows.bin").read_bytes() == b"bccf" + b"".join(texts)
    assert np.diff(npy.mapped(copy.folder / "offsets.npy", np.dtype(np.uint64))).tolist() == [1, 2, 1, 0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize("ordered", [True, False])
def test_batches_are_told_by_id_and_etag(ordered: bool) -> None:
    known = [("b1", "x"), ("b1-3", "long etag"), ("b10", "x"), ("a", "y")]
    names = included.packed(sorted(known) if ordered else known)
    found = included.Included(names, ordered=ordered)
    asked = [("b1", "x"), ("b1", "y"), ("b", "x"), ("b1-3", "long etag"), ("b1-3", "long etag and more"), ("a", "y")]
    assert found.holds(asked).tolist() == [True, False, False, True, False, True]
    assert [found.has(name) for name in ("b1", "b", "b10", "b1-3", "a", "c" * 100)] == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]
    assert list(found) == [found[place] for place in range(4)] == found[:]
    empty = included.Included(included.packed([]))
    assert not empty.holds(asked).any() and not empty.has("a") and not len(empty)


def first_format(store: MemoryStore, path: str) -> None:
    """Write the commit of a batch anew, as earlier releases wrote it."""
    batch = batches.read(store, "default", path.split("/")[-2])
    head = msgpack.unpackb(store.get(store.bucket, path + layout.ROWS).data)
    rows = [list(dataclasses.astuple(row)) for row in batch.rows]
    old = {"format": 1, "model": batch.model, "vectors": head["vectors"], "fields": head["fields"], "rows": rows}
    store.put(store.bucket, path + layout.ROWS, msgpack.packb(old))


def test_a_batch_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    store = MemoryStore()
    path = commit(store, put("a", 4, "x", "y"), gone("b", 5), put("c", 6, "z"))
    new = batches.read(store, "default", "b")
    first_format(store, path)
    old = batches.read(store, "default", "b")
    assert (old.rows, old.model, old.packed.rows) == (new.rows, new.model, new.packed.rows)
    assert old.vectors.tolist() == new.vectors.tolist()
    assert batches.read_rows(store, "default", "b") == new.rows
    _, segment = built(tmp_path, store)
    assert sorted(segment.fields(row)["text"] for row in range(3)) == ["x", "y", "z"]


@pytest.mark.parametrize("part", ["rows", "lengths", "docs", "digest", "gone"])
def test_a_commit_that_was_changed_is_named(part: str) -> None:
    store = MemoryStore()
    path = commit(store, put("a", 4, "x", "y"), gone("b", 5))
    head = msgpack.unpackb(store.get(store.bucket, path + layout.ROWS).data)
    head[part] = head[part][:-1]
    if part == "gone":
        head[part] = [["b"]]
    store.put(store.bucket, path + layout.ROWS, msgpack.packb(head))
    with pytest.raises(CorruptBatch, match=r"rows\.msgpack (does not match|has)"):
        batches.read(store, "default", "b")
    del head[part]
    store.put(store.bucket, path + layout.ROWS, msgpack.packb(head))
    with pytest.raises(CorruptBatch, match="not all parts"):
        batches.read(store, "default", "b")


def test_chunks_that_come_in_any_order_stand_together(tmp_path: Path) -> None:
    store = MemoryStore()
    rows = [
        Row("documents", "a", "e", 1, chunk=1, text="a1"),
        Row("documents", "b", "e", 2, chunk=0, text="b0"),
        Row("documents", "gone", "", 3, "delete"),
        Row("documents", "a", "e", 1, chunk=0, text="a0"),
    ]
    vectors = np.array([vector(row.text) for row in rows if row.op == "put"], np.float32)
    batches.write(store, "default", "b", rows, vectors, "m")
    _, segment = built(tmp_path, store)
    stored = [(segment.fields(row)["text"], segment.vectors(np.array([row]))[0].tolist()) for row in range(3)]
    assert [text for text, _ in stored if text[0] == "a"] == ["a0", "a1"]
    assert all(numbers == vector(text).tolist() for text, numbers in stored)
    at = find(segment.docs, table([(*identity("documents", "gone"), 0, 0, 0, 0, 0, 0)]))
    assert segment.docs[at[0]]["op"] == 1


def test_a_damaged_batch_is_written_again() -> None:
    store = MemoryStore()
    path = commit(store, put("a", 1))
    store.put(store.bucket, path + layout.VECTORS, b"damage")
    commit(store, put("a", 1))
    assert isinstance(batches.read(store, "default", "b"), Batch)


def test_a_batch_is_written_once() -> None:
    store = MemoryStore()
    path = commit(store, put("a", 1))
    etag = store.head(store.bucket, path + layout.ROWS).etag
    assert commit(store, put("a", 1)) == path
    assert store.head(store.bucket, path + layout.ROWS).etag == etag


def test_the_same_content_with_a_newer_seq_is_committed_beside_it() -> None:
    store = MemoryStore()
    first = commit(store, put("a", 1, "x"))
    assert commit(store, put("a", 3, "x")) == "embeddings/default/batches/b-3/"
    assert commit(store, put("a", 3, "x")) == "embeddings/default/batches/b-3/"
    assert commit(store, put("a", 1, "x")) == first


def test_vectors_left_by_a_crash_are_adopted() -> None:
    store = MemoryStore()
    path = commit(store, put("a", 1, "x"))
    store.delete(store.bucket, path + layout.ROWS)
    left = npy_bytes(-vector("x").reshape(1, -1))
    store.put(store.bucket, path + layout.VECTORS, left)
    commit(store, put("a", 1, "x"))
    assert batches.read(store, "default", "b").vectors.tolist() == (-vector("x").reshape(1, -1)).tolist()
    store.delete(store.bucket, path + layout.ROWS)
    store.put(store.bucket, path + layout.VECTORS, b"half a file")
    commit(store, put("a", 1, "x"))
    assert batches.read(store, "default", "b").vectors.tolist() == vector("x").reshape(1, -1).tolist()


def test_a_function_that_hands_in_nonsense_is_told() -> None:
    row = [Row("b", "k", "e", 1, text="t")]
    for vectors, reason in [
        (np.ones((2, 4), np.float32), "one vector for each row"),
        (np.full((1, 4), np.inf, np.float32), "infinity"),
        (np.ones((1, 4), np.float32), "length"),
    ]:
        with pytest.raises(BadInput, match=reason):
            batches.write(MemoryStore(), "default", "b", row, vectors, "m")
    bad = [Row("b", "k", "e", 1, text="t", meta={"x": object()})]
    with pytest.raises(BadInput, match="plain data"):
        batches.write(MemoryStore(), "default", "b", bad, np.eye(1, 4, dtype=np.float32), "m")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "1a", "ä", "x" * 101])
def test_a_name_that_would_be_another_path(name: str) -> None:
    with pytest.raises(BadInput, match="name of an index"):
        layout.batches(name)


@pytest.mark.parametrize("shape", [(0,), (3,), (0, 4), (2, 4)])
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.uint64), DOCS])
def test_npy_files_of_numpy_are_read(tmp_path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    array = np.zeros(shape, dtype)
    array.view(np.uint8)[...] = 7
    np.save(tmp_path / "a.npy", array)
    for found in (npy.read(npy_bytes(array), dtype), npy.mapped(tmp_path / "a.npy", dtype)):
        assert (found.shape, found.dtype, found.tobytes()) == (shape, dtype, array.tobytes())
    for damage in (npy_bytes(array)[:-1], npy_bytes(array) + b"x", b"", npy_bytes(array)[:9]):
        with pytest.raises(ValueError, match="it"):
            npy.read(damage, dtype)


def test_an_npy_file_in_the_order_of_columns_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not one that numpy\.save writes"):
        npy.read(npy_bytes(np.asfortranarray(np.ones((2, 3), np.float32))), np.dtype(np.float32))
