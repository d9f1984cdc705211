"""`GET /documents/BUCKET/KEY` of a document that was processed: its call, its chunks and its text."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from functions._chunk import chunk, sections
from gateway.app import create_app
from runtime.buckets.entry import Entry
from runtime.buckets.watch import watches
from runtime.config.settings import BucketTrigger, Function, Project, Queue, Settings, StoreSettings
from runtime.context import Row
from runtime.deployment.deployment import Deployed, Deployment
from runtime.index.held import Held
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from runtime.testing import FakeModels
from tests.gatewaying import ORIGIN, problem
from tests.indexing import vector
from tests.workers import until

TEXT = "It was a bright cold day in April.\n\n  And the clocks were striking thirteen."


@dataclass
class House:
    """A gateway over one bucket whose objects one function puts into the index `default`."""

    web: TestClient
    client: redis.Redis
    settings: Settings
    bucket: str

    @property
    def store(self) -> MinioStore:
        return MinioStore(self.settings.store)

    def put(self, key: str) -> str:
        self.store.ensure_bucket(self.bucket)
        return self.store.put(self.bucket, key, key.encode())

    def note(self, key: str, entry: Entry) -> None:
        """What the triggers have written about it."""
        (watch,) = watches(self.settings.project)
        self.client.hset(watch.ledger, key, entry.encode())

    def index(self, key: str, etag: str, seq: int, *pieces: tuple[int, int], text: str = TEXT) -> None:
        """Publish rows of these ranges of the text; none: it is gone."""
        rows = [
            Row(self.bucket, key, etag, seq, chunk=number, start=start, end=end, text=text[start:end])
            for number, (start, end) in enumerate(pieces)
        ] or [Row(self.bucket, key, etag, seq, "delete")]
        vectors = np.array([vector(row.text) for row in rows if row.op == "put"], np.float32).reshape(-1, 16)
        index = FaissIndex(self.store, self.client)
        index.write_batch("default", uuid.uuid4().hex, rows, vectors, "model")
        index.build("default")

    def status(self, key: str, **query: str) -> dict[str, Any]:
        told: dict[str, Any] = self.web.get(f"/documents/{self.bucket}/{key}", params=query).json()
        return told

    def searchable(self, key: str, **query: str) -> dict[str, Any]:
        """The status once the version that answers has it."""
        until(lambda: self.status(key).get("searchable"))
        return self.status(key, **query)


@pytest.fixture
def house(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> Iterator[House]:
    bucket = f"docs-{uuid.uuid4().hex[:12]}"
    own = store_settings.model_copy(update={"bucket": f"own-{bucket}"})
    MinioStore(own).ensure_bucket(own.bucket)
    embed = Function(name="embed", handler="f.py:embed", buckets=(BucketTrigger(bucket=bucket, index="default"),))
    project = Project(queues={"default": Queue()}, functions={"embed": embed})
    made = Settings(project=project, file=tmp_path / "functions.yaml", home=tmp_path, broker_url=broker_url, store=own)
    app = create_app(made, Deployment(made, {"embed": Deployed(spec=embed)}))
    with TestClient(app, ORIGIN, client=("127.0.0.1", 1)) as web:
        yield House(web, redis_client, made, bucket)


def test_a_document_that_nobody_has_looked_at(house: House) -> None:
    etag = house.put("a.txt")
    told = house.status("a.txt", text="1")
    assert told == {
        "bucket": house.bucket,
        "key": "a.txt",
        "status": "pending",
        "reason": None,
        "notes": [],
        "triggers": [],
        "etag": etag,
        "size": 5,
        "invocation": None,
        "processed_at": None,
        "chunks": None,
        "text": None,
        "text_truncated": False,
    }


def test_a_document_that_is_searchable(house: House) -> None:
    etag = house.put("a.txt")
    house.note("a.txt", Entry("done", etag, 3, invocation="call-1", at=1234.5))
    told = house.status("a.txt", text="1")
    assert (told["status"], told["searchable"], told["chunks"], told["text"]) == ("completed", False, None, None)
    house.index("a.txt", etag, 3, (0, 34), (25, 50), (38, len(TEXT)))
    told = house.searchable("a.txt", text="1")
    assert (told["invocation"], told["processed_at"], told["reason"]) == ("call-1", 1234.5, None)
    assert (told["chunks"], told["triggers"][0]["chunks"]) == (3, 3)
    assert told["text"].split() == TEXT.split() and not told["text_truncated"]
    assert "text" not in house.status("a.txt")


def test_the_chunks_and_the_text_of_a_version_that_was_replaced_are_not_shown(house: House) -> None:
    house.note("a.txt", Entry("done", house.put("a.txt"), 3, invocation="call-1", at=1.0))
    house.index("a.txt", "old", 2, (0, 10), (10, 20))
    house.index("other", "other", 9, (0, 5))
    told = house.status("a.txt", text="1")
    assert (told["status"], told["chunks"], told["text"]) == ("completed", None, None)
    house.index("a.txt", "new", 4, (0, 5))
    told = house.searchable("a.txt", text="1")
    assert (told["chunks"], told["text"]) == (1, TEXT[:5])


@pytest.mark.parametrize(("state", "status"), [("dead", "failed"), ("removed", "removed"), ("pending", "pending")])
def test_what_is_not_in_the_index_has_no_chunks(house: House, state: Any, status: str) -> None:
    etag = house.put("a.txt")
    house.index("a.txt", etag, 2, (0, 5))
    house.note("a.txt", Entry("done", etag, 2, at=1.0))
    assert house.searchable("a.txt")["chunks"] == 1
    house.note("a.txt", Entry(state, "newer", 3, invocation="call-2", reason="it is encrypted", at=2.0))
    if state == "removed":
        house.store.delete(house.bucket, "a.txt")
    told = house.status("a.txt", text="1")
    assert (told["status"], told["searchable"], told["chunks"], told["text"]) == (status, False, None, None)
    assert told["invocation"] == "call-2"
    assert (told["processed_at"] == 2.0) == (state != "pending")
    if state == "dead":
        assert told["reason"] == "it is encrypted"


def test_an_object_that_came_back_is_not_removed(house: House) -> None:
    etag = house.put("a.txt")
    house.note("a.txt", Entry("removed", etag, 3, "removed", invocation="call-1", at=2.0))
    told = house.status("a.txt")
    assert (told["status"], told["etag"], told["invocation"], told["processed_at"]) == ("pending", etag, None, None)
    house.store.delete(house.bucket, "a.txt")
    told = house.status("a.txt")
    assert (told["status"], told["invocation"], told["processed_at"]) == ("removed", "call-1", 2.0)
    problem(house.web.get(f"/documents/{house.bucket}/b.txt"), 404)


def test_a_folder_marker_is_called_one(house: House) -> None:
    house.put("notes/")
    told = house.status("notes/")
    assert (told["status"], told["reason"]) == (
        "unwatched",
        "'notes/' is a folder marker, and no document: no trigger takes such keys.",
    )


@pytest.mark.parametrize("key", ["notes//a.txt", "notes%5Ca.txt", "/notes/a.txt"])
def test_an_object_that_has_another_name_in_the_store_is_not_pending(house: House, key: str) -> None:
    house.put("notes/a.txt")  # SeaweedFS answers for all of these names with this one
    told = problem(house.web.get(f"/documents/{house.bucket}/{key}"), 404)
    assert house.status("notes/a.txt")["status"] == "pending"
    assert "by another name" in told["detail"] and "Rename it" in told["detail"]


def test_where_a_store_has_such_a_name_what_the_ledger_says_of_it_counts(house: House) -> None:
    house.note("notes//a.txt", Entry("done", "e", 3, invocation="call-1", at=2.0))
    assert house.status("notes//a.txt")["status"] == "completed"


def test_an_object_that_a_filter_refused(house: House) -> None:
    etag = house.put("a.txt")
    house.note("a.txt", Entry("skipped", etag, reason="it has 5 B, less than min_size 1KiB", at=2.0))
    told = house.status("a.txt")
    assert (told["status"], told["etag"], told["chunks"], told["searchable"]) == ("unwatched", etag, None, False)
    assert "min_size" in told["reason"]


def test_a_long_text_is_cut(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.objects.document.MOST_CHARACTERS", 20)
    etag = house.put("a.txt")
    house.note("a.txt", Entry("done", etag, 3, at=1.0))
    house.index("a.txt", etag, 3, (0, 15), (10, 25), (20, 34))
    told = house.searchable("a.txt", text="true")
    assert (told["text"], told["text_truncated"]) == (TEXT[:20], True)


def test_what_is_asked_for_in_other_words_is_refused(house: House) -> None:
    house.put("a.txt")
    told = problem(house.web.get(f"/documents/{house.bucket}/a.txt", params={"text": "please"}), 422)
    assert told["errors"][0]["field"] == "text"
    told = problem(house.web.get(f"/documents/{house.bucket}/a.txt", params={"txt": "1"}), 422)
    assert "did you mean text" in told["errors"][0]["message"]


@dataclass
class Rows:
    """As much of a segment as a text is read from."""

    pieces: list[tuple[int, int, str]]

    def fields(self, row: int) -> dict[str, Any]:
        start, end, text = self.pieces[row]
        return {"start": start, "end": end, "text": text}


def text_of(*pieces: tuple[int, int, str], limit: int = 10_000) -> tuple[str, bool]:
    return Held(1, "e", cast(Any, Rows(list(pieces))), tuple(range(len(pieces)))).text(limit)


@given(st.text(st.sampled_from("ab .\n語"), max_size=300))
def test_the_text_comes_back_from_its_chunks(text: str) -> None:
    ranges = [
        (first + start, first + end)
        for first, last in sections(text)
        for start, end in chunk(text[first:last], FakeModels().tokenize(text[first:last]), limit=7, overlap=3)
    ]
    found, whole = text_of(*((start, end, text[start:end]) for start, end in ranges))
    assert whole and found.split() == text.split()


def test_rows_that_know_no_offsets_are_put_one_under_the_other() -> None:
    """A function of one's own may write rows as it likes."""
    assert text_of((0, 3, "one"), (0, 3, "two"), (0, 5, "three")) == ("one\ntwo\nthree", True)
    assert text_of((0, 0, "one"), (0, 0, "two")) == ("onetwo", True)
    assert text_of() == ("", True)
