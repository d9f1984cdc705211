"""Segments whose vectors stay in the batches: which pieces they are of, and what is put together from these."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import CorruptSegment
from runtime.index import batches, layout, pieces
from runtime.index.assemble import assemble
from runtime.index.batches import Batch
from runtime.index.body import Body
from runtime.index.local import digest
from runtime.index.pieces import OWN, PIECES, Piece
from runtime.index.segment import digests
from runtime.index.vector_file import INDEX
from runtime.testing import MemoryStore
from tests.indexing import DIMENSIONS, put, rows_of, vector

Sizes = list[tuple[int, bool, list[bool]]]
"""Of batches: rows, whether its object is known, which of the rows are kept."""

WIDTH = DIMENSIONS * 4


@pytest.fixture(autouse=True)
def all_refer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LEAST_BYTES", WIDTH)
    monkeypatch.setattr(pieces, "LEAST_SEGMENT", 1)


def stored(store: MemoryStore, name: str, rows: int) -> Batch:
    docs = [put(f"{name}-{row}", row) for row in range(rows)]
    vectors = np.array([vector(doc.contents[0]) for doc in docs], np.float32)
    batches.write(store, "default", name, rows_of(docs), vectors, "model")
    return batches.read(store, "default", name)


def made(store: MemoryStore, folder: Path, sizes: Sizes) -> list[Piece]:
    """index.faiss in `folder`, with what belongs to it where it refers to batches."""
    listed: list[Piece] = []
    with Body(folder) as body:
        for number, (rows, known, kept) in enumerate(sizes):
            batch, keep = stored(store, f"b{number}", rows), np.resize(np.array(kept), rows)
            listed += pieces.kept([pieces.whole(batch.id if known else "", batch.digest, rows)], keep)
            count = int(keep.sum())
            body.append(batch.vectors[keep], b"", np.zeros(count, np.uint32))
        body.close(DIMENSIONS)
    if listed := pieces.chosen(listed, DIMENSIONS):
        pieces.write(folder, listed, DIMENSIONS)
    return listed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.booleans(), st.lists(st.booleans(), min_size=1, max_size=9)),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_what_is_put_together_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: Sizes, data: st.DataObject
) -> None:
    store, here, there = MemoryStore(), tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    listed = made(store, here, sizes)
    if not listed:
        return
    whole = (here / INDEX).read_bytes()
    for name in (PIECES, OWN):
        if (here / name).exists():
            (there / name).write_bytes((here / name).read_bytes())
    assemble(store, "default", there, len(whole))
    assert (there / INDEX).read_bytes() == whole
    told = sha256((here / PIECES).read_bytes()).hexdigest()
    assert digests(there, [INDEX]) == {INDEX: (told, len(whole))}
    assert (here / OWN).exists() == any(not piece.batch for piece in listed)

    # Whatever byte is another one, missing or too many, the hash shows it.
    at = data.draw(st.integers(0, len(whole) - 1))
    for damaged in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at], whole + b"x"):
        (there / INDEX).write_bytes(damaged)
        assert digest(there / INDEX) != told

    # An object that is all there gives itself back; part of one does not.
    dimensions, listed = pieces.load(here)
    for (batch, wanted), some in pieces.objects(listed).items():
        again = pieces.rebuilt(here, dimensions, listed, batch)
        assert (sha256(again).hexdigest() == wanted) == (sum(piece.rows for piece in some) == some[0].of)


def test_what_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*listed: Piece) -> list[tuple[str, int]]:
        return [(piece.batch, piece.rows) for piece in pieces.chosen(listed, DIMENSIONS)]

    large, other = pieces.whole("large", "1", 100), pieces.whole("other", "2", 100)
    small, unknown = pieces.whole("small", "3", 9), pieces.whole("none", "", 1)
    monkeypatch.setattr(pieces, "LEAST_BYTES", 10 * WIDTH)
    assert told(large, other) == [("large", 100), ("other", 100)]
    assert told(large, small, unknown, other) == [("large", 100), ("", 10), ("other", 100)]
    keep = np.ones(100, bool)
    keep[50] = False
    assert told(*pieces.kept([large], keep)) == [("large", 50), ("large", 49)]
    keep[::5] = False  # pieces of four rows
    assert told(other, *pieces.kept([large], keep)) == [("other", 100), ("", 80)]
    assert told(large, pieces.whole("", "", 101)) == [], "most of it is in no batch"
    monkeypatch.setattr(pieces, "LEAST_SEGMENT", 201 * WIDTH)
    assert told(large, other) == [], "so few vectors are one object with all else"
    monkeypatch.setattr(pieces, "LEAST_SEGMENT", 1)
    monkeypatch.setattr(pieces, "MOST", 1)
    assert told(large, other) == []


@pytest.mark.parametrize("how", ["gone", "cut", "flipped", "list", "own"])
def test_a_damaged_object_is_named(tmp_path: Path, how: str) -> None:
    store = MemoryStore()
    made(store, tmp_path, [(8, True, [True]), (3, False, [True])])
    key = layout.batch("default", "b0") + layout.VECTORS
    data, size = store.get(store.bucket, key).data, (tmp_path / INDEX).stat().st_size
    (tmp_path / INDEX).unlink()
    wrong = f"{key} in the store does not match its hash"
    if how == "gone":
        store.delete(store.bucket, key)
        wrong = key
    elif how == "list":
        (tmp_path / PIECES).write_bytes(msgpack.packb({"format": 2}))
        wrong = "pieces.msgpack cannot be read: it has format 2"
    elif how == "own":
        (tmp_path / OWN).write_bytes((tmp_path / OWN).read_bytes()[:-1])
        wrong = f"{INDEX} has other vectors than its segment says"
        size += 1
    else:
        store.put(store.bucket, key, data[:-1] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Exception, match=wrong.replace(".", "[.]")) as found:
        assemble(store, "default", tmp_path, size)
    assert how == "gone" or isinstance(found.value, CorruptSegment)
    assert (tmp_path / INDEX).exists() == (how == "own")


def test_vectors_behind_another_header_than_numpys_own_are_referred_to_by_nobody() -> None:
    store = MemoryStore()
    batch = stored(store, "b", 3)
    key = layout.batch("default", "b") + layout.VECTORS
    assert batch.digest == sha256(store.get(store.bucket, key).data).hexdigest()
    raw = store.get(store.bucket, key).data
    longer = raw[:8] + (len(raw[:128]) - 10 + 64).to_bytes(2, "little") + raw[10:127] + b" " * 64 + raw[127:]
    told = msgpack.unpackb(store.get(store.bucket, layout.batch("default", "b") + layout.ROWS).data)
    store.put(store.bucket, key, longer)
    told["vectors"] = sha256(longer).hexdigest()
    store.put(store.bucket, layout.batch("default", "b") + layout.ROWS, msgpack.packb(told))
    again = batches.read(store, "default", "b")
    assert np.array_equal(again.vectors, batch.vectors) and again.digest == ""
    assert pieces.whole(again.id, again.digest, 3).batch == ""
