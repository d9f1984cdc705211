"""What every engine of an index does alike: put, overwrite, delete, filters, grouping, snippets, versions, rollback.

Local mode, or the server that the environment names, and Qdrant's own engine. `verify` asks for a bucket as well:
tests/test_index_verify.py, for FAISS and Qdrant.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.context import Row
from runtime.errors import BadInput, NoWords, OtherModel, StoreDown
from runtime.index.filters import Filters, Range
from runtime.index.lease import BuildLease
from runtime.index.search import Search
from tests.engines import ENGINES, Place, a_qdrant
from tests.indexing import Doc, fresh_store, gone, put, vector, write


@pytest.fixture(params=ENGINES)
def place(
    request: pytest.FixtureRequest, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Place]:
    with a_qdrant(request.param) as served:
        engine = "faiss" if request.param == "faiss" else "qdrant"
        made = Place(engine, fresh_store(store_settings), redis_client, tmp_path, served)
        yield made
        made.drop()


def build(place: Place, *batches: tuple[str, *tuple[Doc, ...]]) -> int:
    """Write batches and publish them; the generation."""
    index = place.index()
    for name, *docs in batches:
        write(index, name, *docs)
    return index.build("default").generation


def test_put_overwrite_delete(place: Place) -> None:
    assert build(place, ("one", put("a", 1, "first", "second"), put("b", 2, "third"))) == 1
    assert place.contents() == {"a": ["first", "second"], "b": ["third"]}
    build(place, ("two", put("a", 3, "changed")))
    assert place.contents() == {"a": ["changed"], "b": ["third"]}, "of an older version no chunk is left"
    build(place, ("three", gone("b", 4), gone("never was there", 5)))
    assert place.contents() == {"a": ["changed"]}
    current = place.index().current("default")
    assert current and (current.vectors, current.documents, current.dimensions) == (1, 1, 16)


def test_an_older_version_never_wins(place: Place) -> None:
    build(place, ("new", put("a", 9, "newest"), gone("b", 9)))
    build(place, ("old", put("a", 3, "older", "and more"), put("b", 4, "was deleted since")))
    assert place.contents() == {"a": ["newest"]}


def test_the_newest_wins_in_any_order_within_one_build(place: Place) -> None:
    build(
        place, ("3", put("a", 3, "three")), ("1", put("a", 1, "one")), ("2", gone("a", 2)), ("4", put("b", 4, "four"))
    )
    assert place.contents() == {"a": ["three"], "b": ["four"]}


def test_twice_is_once(place: Place) -> None:
    build(place, ("one", put("a", 1, "first")))
    index = place.index()
    write(index, "again", put("a", 1, "first"))
    index.build("default")
    assert not place.index().build("default").published
    assert place.contents() == {"a": ["first"]}
    current = place.index().current("default")
    assert current and current.vectors == 1


def test_named_batches_are_published_at_once(place: Place) -> None:
    build(place, ("one", put("a", 1, "first")))
    index = place.index()
    write(index, "two", put("b", 2, "second"))
    report = index.build("default", ["two"])
    assert (report.published, report.vectors, report.documents, report.batches) == (True, 2, 2, 1)
    assert set(place.contents()) == {"a", "b"}


def test_what_a_build_could_not_publish_is_looked_for_by_the_next_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that was away for longer than a build has retries: the call is dead, and with it what it was told of."""
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default", ["one"])
    write(index, "two", put("b", 2, "second"))

    def away(_: BuildLease) -> None:
        raise StoreDown("The store did not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(BuildLease, "__enter__", away)
        with pytest.raises(StoreDown):
            index.build("default", ["two"])
    write(index, "three", put("c", 3, "third"))
    assert index.build("default", ["three"]).documents == 3
    assert set(place.contents()) == {"a", "b", "c"}


def test_an_empty_index(place: Place) -> None:
    report = place.index().build("default")
    assert (report.generation, report.published) == (0, False)
    assert place.search(Search(vector("x"))).hits == []
    build(place, ("only a delete", gone("a", 1)))
    build(place, ("late", put("a", 0, "older than its delete"), put("b", 2, "b")))
    assert place.contents() == {"b": ["b"]}


def test_snippets_and_scores(place: Place) -> None:
    build(place, ("one", put("a", 1, "first", "second")))
    (hit,) = place.search(Search(vector("second") * 3, 1)).hits
    assert (hit.bucket, hit.key, hit.text, hit.chunk, hit.end, hit.etag) == (
        "documents",
        "a",
        "second",
        1,
        len("second"),
        "first|second",
    )
    assert hit.score == pytest.approx(1, abs=1e-5), "the query's length does not matter"
    assert not place.search(Search(-vector("second"), 10, min_score=0.9)).hits


def test_what_cannot_be_asked(place: Place) -> None:
    build(place, ("one", put("a", 1, "first")))
    for search, error in (
        (Search(vector("x", 8)), BadInput),
        (Search(vector("x") * 0), BadInput),
        (Search(vector("x"), 0), BadInput),
        (Search(vector("x"), model="another"), OtherModel),
        (Search(vector("x"), text="words", mode="text"), NoWords),
    ):
        with pytest.raises(error):
            place.search(search)


META = [
    {"content_type": "text/plain", "modified": 100.0, "metadata": {"colour": "red", "size": "12"}},
    {"content_type": "text/html", "modified": 200.0, "metadata": {"colour": ["green", "red"], "size": 7.5}},
    {"content_type": "application/pdf", "modified": 300.0, "lang": "de", "odd name.[0]": "x"},
]


def filtered(place: Place, filters: Filters) -> list[str]:
    return sorted(hit.key for hit in place.search(Search(vector("x"), 10, filters)).hits)


def test_filters(place: Place) -> None:
    rows = [
        Row(bucket, key, "e", seq, "put", tenant, text=key, meta=meta)
        for seq, (bucket, key, tenant, meta) in enumerate(
            zip(("bin", "bin", "box"), ("a/1.txt", "a/2.html", "b/ü.pdf"), ("acme", "acme", "other"), META, strict=True)
        )
    ]
    index = place.index()
    index.write_batch("default", "one", rows, np.stack([vector(row.key) for row in rows]), "model")
    index.build("default")
    one, two, three = (row.key for row in rows)
    for filters, expected in (
        (Filters(buckets=("bin",)), [one, two]),
        (Filters(buckets=("bin", "box"), tenants=("other",)), [three]),
        (Filters(tenants=("nobody",)), []),
        (Filters(prefixes=("a/",)), [one, two]),
        (Filters(prefixes=("a/2", "b/ü")), [two, three]),
        (Filters(types=("text/*",)), [one, two]),
        (Filters(types=("TEXT/HTML; charset=utf-8", "application/pdf")), [two, three]),
        (Filters(modified=Range(150.0, 300.0)), [two, three]),
        (Filters(modified=Range(None, 100.0)), [one]),
        (Filters(meta=(("colour", ("red",)),)), [one, two]),
        (Filters(meta=(("colour", ("green", "blue")),)), [two]),
        (Filters(meta=(("size", (12.0,)),)), [one]),
        (Filters(meta=(("size", ("12",)),)), [one]),
        (Filters(meta=(("size", (Range(7, 8),)),)), [two]),
        (Filters(meta=(("size", (Range(7, None),)), ("colour", ("green",)))), [two]),
        (Filters(meta=(("lang", ("de",)),)), [three]),
        (Filters(meta=(("odd name.[0]", ("x",)),)), [three]),
        (Filters(meta=(("lang", ("DE",)),)), []),
        (Filters(meta=(("metadata", ("x",)),)), []),
    ):
        assert filtered(place, filters) == expected, filters
    meta = place.search(Search(vector(two), 1)).hits[0].meta
    assert meta == META[1]


def test_documents(place: Place) -> None:
    build(place, ("one", put("a", 1, "x", "y", "z"), put("b", 2, "v"), put("c", 3, "w", "u")))
    hits = place.search(Search(vector("y"), 2, group=True)).hits
    assert (hits[0].key, hits[0].text, hits[0].further) == ("a", "y", 2)
    assert len({hit.key for hit in hits}) == 2
    everything = place.search(Search(vector("y"), 10, group=True)).hits
    assert {hit.key: hit.further for hit in everything} == {"a": 2, "b": 0, "c": 1}
    (best,) = place.search(Search(vector("y"), 10, min_score=0.9, group=True)).hits
    assert (best.key, best.further) == ("a", 0), "those with less than the least score do not count"


def test_versions_and_rollback(place: Place) -> None:
    first = build(place, ("one", put("a", 1, "first")))
    second = build(place, ("two", put("a", 2, "second"), put("b", 3, "b")))
    index = place.index()
    back = index.rollback("default", first)
    assert (back.held, back.restores, back.vectors) == (True, first, 1)
    assert place.contents() == {"a": ["first"]}
    build(place, ("three", put("c", 4, "c")))
    assert place.contents() == {"a": ["first"]}, "held: nothing is built on it"
    index.rollback("default", second)
    assert place.contents() == {"a": ["second"], "b": ["b"]}, "forward again"
    index.rollback("default", first)
    index.release("default")
    assert place.contents() == {"a": ["first"]}
    assert place.index().build("default").published
    assert place.contents() == {"a": ["second"], "b": ["b"], "c": ["c"]}, "what was held back is there"
    generations = [version.generation for version in index.versions("default")]
    assert generations == sorted(generations, reverse=True)
    with pytest.raises(BadInput):
        index.rollback("default", 99)


def test_built_anew(place: Place) -> None:
    build(place, ("one", put("a", 1, "first"), put("b", 2, "b")))
    build(place, ("two", put("a", 3, "second"), gone("b", 4)))
    report = place.index().rebuild("default", "for a test")
    assert report.published and report.warnings[0] == "for a test"
    assert place.contents() == {"a": ["second"]}
    place.index().rollback("default", 1)
    assert place.contents() == {"a": ["first"], "b": ["b"]}


def test_a_damaged_batch_is_left_out(place: Place) -> None:
    build(place, ("good", put("a", 1, "a")))
    index = place.index()
    path = write(index, "bad", put("b", 2, "b"))
    write(index, "strange", put("c", 3, "c"), dimensions=8)
    place.store.put(place.store.bucket, f"{path}vectors.npy", b"nothing")
    report = index.build("default")
    assert place.contents() == {"a": ["a"]}
    assert len(report.warnings) == 2 and not index.build("default").published


def test_what_is_kept_is_offered(place: Place) -> None:
    """A document that was embedded before: its rows and vectors, whatever its etag is now."""
    build(place, ("one", put("a", 1, "first", "second"), put("b", 2, "b")))
    build(place, ("two", put("a", 3, "third")))
    index = place.index()
    offers = list(index.kept("default", [("documents", "a", "new"), ("documents", "x", "e")], "model"))
    (offer,) = [one for one in offers if any(row.key == "a" for row in one.rows)]
    assert [(row.key, row.text, row.seq) for row in offer.rows] == [("a", "third", 3)]
    assert np.allclose(offer.vectors, [vector("third")])
    assert not list(index.kept("default", [("documents", "a", "new")], "another model"))
