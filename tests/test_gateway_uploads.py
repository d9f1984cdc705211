"""Objects and documents through the gateway, with a real store."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import redis
from starlette.testclient import TestClient

from runtime import keys
from runtime.buckets.entry import Entry
from runtime.buckets.watch import watches
from runtime.config.settings import Settings, StoreSettings
from runtime.context import Row
from runtime.errors import ObjectMissing
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.gatewaying import problem, serving, settings
from tests.workers import until


@pytest.fixture
def bucket() -> str:
    return f"docs-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def made(
    broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path, bucket: str
) -> Settings:
    own = store_settings.model_copy(update={"bucket": f"own-{bucket}"})
    MinioStore(own).ensure_bucket(own.bucket)
    return settings(broker_url, own, tmp_path, bucket=bucket)


@pytest.fixture
def store(made: Settings) -> MinioStore:
    return MinioStore(made.store)


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with serving(made) as client:
        yield client


def hints(client: redis.Redis) -> list[dict[str, Any]]:
    entries: Any = client.xrange(keys.EVENTS)
    return [{"source": fields[b"source"].decode(), **json.loads(fields[b"body"])} for _, fields in entries]


def test_put_get_delete(web: TestClient, store: MinioStore, redis_client: redis.Redis, bucket: str) -> None:
    answer = web.put(f"/buckets/{bucket}/notes/a.txt", content=b"hello", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 200
    told = answer.json()
    assert told == {
        "bucket": bucket,
        "key": "notes/a.txt",
        "etag": store.head(bucket, "notes/a.txt").etag,
        "size": 5,
        "status_url": f"/documents/{bucket}/notes/a.txt",
        "watched_by": ["embed"],
    }
    assert answer.headers["etag"] == f'"{told["etag"]}"'
    answer = web.get(f"/buckets/{bucket}/notes/a.txt")
    assert (answer.content, answer.headers["content-length"]) == (b"hello", "5")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"] == "attachment"
    assert "sandbox" in answer.headers["content-security-policy"]
    answer = web.head(f"/buckets/{bucket}/notes/a.txt")
    assert (answer.content, answer.headers["content-length"], answer.headers["etag"]) == (b"", "5", f'"{told["etag"]}"')
    for _ in range(2):  # removing what is gone is no error
        assert web.delete(f"/buckets/{bucket}/notes/a.txt").status_code == 204
    problem(web.get(f"/buckets/{bucket}/notes/a.txt"), 404)
    assert web.head(f"/buckets/{bucket}/notes/a.txt").status_code == 404
    assert [(hint["source"], hint["key"], hint["event"]) for hint in hints(redis_client)] == [
        ("gateway", "notes/a.txt", "created"),
        ("gateway", "notes/a.txt", "removed"),
        ("gateway", "notes/a.txt", "removed"),
    ]


@pytest.mark.parametrize(
    "key",
    [
        "a b.txt",
        "Größe.txt",
        "Gro\u0308ße.txt",
        "a+b.txt",
        "100%20.txt",
        "%2F.txt",
        "a?b#c.txt",
        "😀.md",
        "tab\tline\n.txt",
        "'\"&<>.txt",
        "~.txt",
    ],
)
def test_keys_are_decoded_once(web: TestClient, store: MinioStore, bucket: str, key: str) -> None:
    place = f"/buckets/{bucket}/{quote(key, safe='')}"
    told = web.put(place, content=key.encode()).json()
    assert told["key"] == key
    assert [item.key for item in store.list(bucket)] == [key]
    assert web.get(place).content == key.encode()
    assert web.get(f"/documents/{bucket}/{quote(key, safe='')}").json()["key"] == key


@pytest.mark.parametrize(
    "path",
    ["a//b.txt", "/a.txt", "a%2F%2Fb.txt", "a/%2E%2E/b.txt", "%2E/b.txt", "a%5Cb.txt", "x" * 1100, "a/" + "x" * 256],
)
def test_names_that_a_store_would_change_are_refused(
    web: TestClient, store: MinioStore, bucket: str, path: str
) -> None:
    told = problem(web.put(f"/buckets/{bucket}/{path}", content=b"x"), 422)
    assert told["detail"]
    assert list(store.list(bucket)) == []


@pytest.mark.parametrize("path", ["%FF.txt", "a%00b.txt"])
def test_paths_that_are_no_text(web: TestClient, bucket: str, path: str) -> None:
    problem(web.put(f"/buckets/{bucket}/{path}", content=b"x"), 400)


def test_what_nobody_watches_is_stored_with_a_warning(web: TestClient, store: MinioStore, bucket: str) -> None:
    told = web.put(f"/buckets/{bucket}/a.exe", content=b"x").json()
    assert told["watched_by"] == []
    assert ".txt|.md" in told["warning"]
    assert web.get(f"/documents/{bucket}/a.exe").json()["status"] == "unwatched"
    store.ensure_bucket(f"side-{bucket}")
    told = web.put(f"/buckets/side-{bucket}/a.txt", content=b"x").json()
    assert "no function watches the bucket" in told["warning"]


def test_buckets_that_are_not_there_or_not_yours(web: TestClient, made: Settings, bucket: str) -> None:
    assert bucket in problem(web.put("/buckets/nowhere-at-all/a.txt", content=b"x"), 404)["detail"]
    problem(web.put("/buckets/No_Bucket/a.txt", content=b"x"), 404)
    for method in ("PUT", "DELETE"):
        problem(web.request(method, f"/buckets/{made.store.bucket}/indexes/x"), 403)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_over_the_limit_leaves_nothing(made: Settings, store: MinioStore, bucket: str, chunked: bool) -> None:
    limits = made.project.limits.model_copy(update={"upload": 1000})
    with serving(made.model_copy(update={"project": made.project.model_copy(update={"limits": limits})})) as web:
        body = b"x" * 1001
        told = problem(web.put(f"/buckets/{bucket}/a.txt", content=iter([body]) if chunked else body), 413)
    assert "1000B" in told["detail"]
    store.ensure_bucket(bucket)
    assert list(store.list(bucket)) == []


def test_a_large_upload_of_unknown_length(web: TestClient, store: MinioStore, bucket: str) -> None:
    part = bytes(range(256)) * 4096
    answer = web.put(f"/buckets/{bucket}/big.txt", content=iter([part] * 40))
    assert answer.json()["size"] == 40 * len(part)
    assert store.head(bucket, "big.txt").size == 40 * len(part)
    assert web.get(f"/buckets/{bucket}/big.txt").content == part * 40


def test_an_empty_upload(web: TestClient, store: MinioStore, bucket: str) -> None:
    assert web.put(f"/buckets/{bucket}/empty.txt", content=b"").json()["size"] == 0
    assert store.get(bucket, "empty.txt").data == b""


def test_a_store_that_is_away(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    away = StoreSettings(endpoint="127.0.0.1:9", access_key="a", secret_key="b")
    with serving(settings(broker_url, away, tmp_path)) as web:
        answer = web.put("/buckets/documents/a.txt", content=b"x")
        assert "MINIO_ENDPOINT" in problem(answer, 503)["detail"]
        assert answer.headers["retry-after"]


def test_a_document_from_unknown_to_searchable(
    made: Settings, web: TestClient, store: MinioStore, redis_client: redis.Redis, bucket: str
) -> None:
    place = f"/documents/{bucket}/a.txt"
    problem(web.get(place), 404)
    etag = web.put(f"/buckets/{bucket}/a.txt", content=b"x").json()["etag"]
    told = web.get(place).json()
    assert (told["status"], told["etag"]) == ("pending", etag)
    assert "searchable" not in told  # this trigger names no index

    project = made.project.model_copy(deep=True)
    embed = project.functions["embed"]
    trigger = embed.buckets[0].model_copy(update={"index": "default"})
    functions = {**project.functions, "embed": embed.model_copy(update={"buckets": (trigger,)})}
    indexed = made.model_copy(update={"project": project.model_copy(update={"functions": functions})})
    watch = watches(indexed.project)[0]
    index = FaissIndex(store, redis_client)
    seq = index.next_seq("default")
    entry = Entry("done", etag=etag, seq=seq, invocation="i", at=1.0)
    redis_client.hset(watch.ledger, "a.txt", entry.encode())
    with serving(indexed) as other:
        told = other.get(place).json()
        assert (told["status"], told["searchable"]) == ("completed", False)
        row = Row(bucket, "a.txt", etag, seq, text="x", end=1)
        index.write_batch("default", "b" * 64, [row], np.eye(1, 4, dtype=np.float32), "test")
        index.build("default")
        until(lambda: other.get(place).json()["searchable"])


def test_deleting_an_object_of_another_client(web: TestClient, store: MinioStore, bucket: str) -> None:
    store.ensure_bucket(bucket)
    store.put(bucket, "theirs.txt", b"x")
    assert web.delete(f"/buckets/{bucket}/theirs.txt").status_code == 204
    with pytest.raises(ObjectMissing):
        store.head(bucket, "theirs.txt")
