"""The compact form of a segment: answers as exact as those of an exact scan."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import faiss
import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.errors import CorruptSegment
from runtime.index import rabitq, segment_write
from runtime.index.body import Body
from runtime.index.docs import DOCS, Bits, Vectors
from runtime.index.kinds import COMPACT_FROM, Compact, CompactWriter
from runtime.index.scan_write import write_scan
from runtime.index.segment import INDEX, SCAN, Segment
from runtime.index.segment_write import Part

DIMENSIONS, ROWS = 96, 20_000


def unit(vectors: np.ndarray) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Vectors = (vectors / lengths).astype(np.float32)
    return result


def clustered(rows: int, dimensions: int = DIMENSIONS) -> Vectors:
    """Like texts: themes of different breadth around a common direction, and some near duplicates."""
    dice = np.random.default_rng(5)
    centres = dice.standard_normal((200, dimensions)) + 0.7
    breadth = dice.uniform(0.2, 1.0, 200)
    theme = dice.integers(0, 200, rows)
    made = centres[theme] + breadth[theme, None] * dice.standard_normal((rows, dimensions))
    made[: rows // 10] = made[rows // 10 : rows // 10 * 2] + 0.01 * dice.standard_normal((rows // 10, dimensions))
    return unit(made)


def segment(folder: Path, vectors: Vectors) -> Segment:
    """A segment of these vectors; all rows are of one document and say the same."""
    row = msgpack.packb(["b", "k", "e", 1, "", 0, 0, 0, "", {}])
    with Body(folder.with_suffix(".rows")) as body:
        body.append(vectors, row * len(vectors), np.full(len(vectors), len(row), np.uint32))
        stored = body.close(vectors.shape[1])
    docs = np.zeros(1, DOCS)
    docs["count"] = len(vectors)
    folder.mkdir()
    sha, meta = segment_write.write(
        folder,
        [Part(stored, docs)],
        dimensions=vectors.shape[1],
        model="m",
        builder="b",
        batches=[("b" * 64, "e" * 32)],
    )
    return Segment(folder, sha, meta)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(ROWS)


@pytest.fixture(scope="module")
def compact(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Segment:
    return segment(tmp_path_factory.mktemp("compact") / "segment", vectors)


def bits(chosen: np.ndarray) -> Bits:
    return np.packbits(chosen, bitorder="little")


def test_the_kind_is_chosen_by_size(compact: Segment, vectors: Vectors, tmp_path: Path) -> None:
    small = segment(tmp_path / "small", vectors[: COMPACT_FROM - 1])
    assert (small.meta.kind, SCAN in small.meta.files) == ("flat", False)
    assert compact.meta.kind == "compact"
    exact, scan = compact.meta.files["index.faiss"][1], compact.meta.files[SCAN][1]
    assert scan < exact / 15  # a bit for each number of four bytes, and eight bytes a row


@pytest.mark.parametrize("share", [None, 0.9, 0.5, 0.25, 0.01, 0.0])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_results_are_those_of_an_exact_scan(compact: Segment, vectors: Vectors, share: float | None, k: int) -> None:
    dice = np.random.default_rng(6)
    chosen = np.ones(ROWS, bool) if share is None else dice.random(ROWS) < share
    queries = unit(vectors[dice.integers(0, ROWS, 100)] + 0.05 * dice.standard_normal((100, DIMENSIONS)))
    found = compact.search(queries, k, None if share is None else bits(chosen))
    places = np.flatnonzero(chosen)
    right = 0
    for query, (scores, rows) in zip(queries, found, strict=True):
        truth = vectors[places] @ query
        best = places[np.argsort(-truth, kind="stable")[:k]]
        assert len(rows) == len(best) == len(set(rows.tolist()))
        assert chosen[rows].all()
        assert (np.diff(scores) <= 0).all()
        assert np.allclose(scores, vectors[rows] @ query, atol=1e-5)
        right += len(np.intersect1d(rows, best))
    assert right >= 0.999 * 100 * min(k, len(places))


def test_exact_is_exact(compact: Segment, vectors: Vectors) -> None:
    ((scores, rows),) = compact.search(vectors[:1], 5, exact=True)
    truth = vectors @ vectors[0]
    assert np.allclose(scores, np.sort(truth)[::-1][:5], atol=1e-5)
    assert rows[0] in np.flatnonzero(truth > 0.999)


def test_where_all_rows_are_alike_there_are_still_k_results(tmp_path: Path) -> None:
    """No candidate is better than what was left out: the answer comes from an exact scan."""
    same = segment(tmp_path / "same", np.repeat(clustered(1), COMPACT_FROM, axis=0))
    ((scores, rows),) = same.search(clustered(1), 10)
    assert len(set(rows.tolist())) == 10
    assert np.allclose(scores, 1, atol=1e-5)


def test_one_query_that_is_unsure_does_not_disturb_the_others(tmp_path: Path) -> None:
    """Half of the rows are one vector: a query for it ends in an exact scan, the ones beside it do not."""
    made = clustered(2 * COMPACT_FROM)
    made[:COMPACT_FROM] = made[0]
    both = segment(tmp_path / "both", made)
    queries = np.stack([made[0], made[-1], made[0], made[-2]])
    found = both.search(queries, 3)
    assert [int(rows[0]) for _, rows in (found[1], found[3])] == [len(made) - 1, len(made) - 2]
    for scores, rows in (found[0], found[2]):
        assert np.allclose(scores, 1, atol=1e-5)
        assert (rows < COMPACT_FROM).all()


def test_a_compact_form_of_other_vectors_is_refused(tmp_path: Path) -> None:
    index = faiss.IndexRaBitQ(8, faiss.METRIC_INNER_PRODUCT, 1)
    index.train(clustered(100, 8))
    index.add(clustered(100, 8))
    faiss.write_index(index, str(tmp_path / SCAN))
    Compact(tmp_path / SCAN, 100, 8)
    with pytest.raises(CorruptSegment, match=r"scan.faiss is for 100 vectors of 8 dimensions"):
        Compact(tmp_path / SCAN, 101, 8)
    (tmp_path / SCAN).write_bytes((tmp_path / SCAN).read_bytes()[:-10])
    with pytest.raises(CorruptSegment, match=r"cannot read scan.faiss"):
        Compact(tmp_path / SCAN, 100, 8)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(1, 130), st.integers(0, 2**32 - 1))
@example(436, 1, 0)
@example(253, 129, 269430)
def test_codes_are_those_of_faiss(rows: int, dimensions: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    vectors = dice.standard_normal((rows, dimensions)).astype(np.float32)
    index: Any = faiss.IndexRaBitQ(dimensions, faiss.METRIC_INNER_PRODUCT, 1)
    index.train(vectors)
    centre = faiss.vector_to_array(index.center)
    vectors[:: rows // 2 + 1] = centre  # nothing is left of it around the centre
    index.add(vectors)
    theirs = faiss.vector_to_array(index.codes).reshape(rows, -1)
    ours = rabitq.encoded(vectors, centre)
    bits = (dimensions + 7) // 8
    assert (ours[:, :bits] == theirs[:, :bits]).all()
    mine, expected = (codes[:, bits:].copy().view(np.float32) for codes in (ours, theirs))
    length = ((vectors - centre) ** 2).sum(1)
    # FAISS takes a row for the centre's own where less than this is left of it; ours goes on reckoning.
    near = (length > 0) & (length < 2 * np.finfo(np.float32).eps)
    # The first is a difference of squares, each of which either of us rounds in its own order.
    rounding = 1e-4 + 4e-6 * (vectors**2).sum(1)
    assert (np.abs(mine[:, 0] - expected[:, 0]) <= rounding).all()
    assert np.allclose(mine[~near, 1], expected[~near, 1], rtol=1e-4, atol=1e-4)


def test_a_compact_form_is_read_as_that_of_faiss(vectors: Vectors, tmp_path: Path) -> None:
    files = []
    for by_faiss in (False, True):
        writer = CompactWriter(vectors[:1000], by_faiss=by_faiss)
        for start in range(0, len(vectors), 3000):
            writer.add(vectors[start : start + 3000])
        writer.write(path := tmp_path / str(by_faiss))
        files.append(path)
    assert files[0].stat().st_size == files[1].stat().st_size
    ours, theirs = (faiss.read_index(str(path)).search(vectors[:20], 10)[0] for path in files)
    assert np.allclose(ours, theirs, atol=1e-4)


def test_the_scan_of_a_file_that_is_cut_short_is_not_made(vectors: Vectors, tmp_path: Path) -> None:
    with Body(tmp_path / "body") as body:
        body.append(vectors[:100], b"", np.zeros(100, np.uint32))
        stored = body.close(DIMENSIONS)
    whole = (stored.folder / INDEX).read_bytes()
    assert write_scan(stored) == sha256(whole).hexdigest()
    (stored.folder / INDEX).write_bytes(whole[:-1])
    with pytest.raises(CorruptSegment, match="shorter than its 100 vectors"):
        write_scan(stored)
