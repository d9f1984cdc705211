"""The store port on a real SeaweedFS."""

from __future__ import annotations

import importlib.metadata
import io
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runtime.config.settings import StoreSettings
from runtime.errors import BadInput, ObjectMissing, PreconditionFailed, StoreDenied, StoreDown
from runtime.store.page import parse
from runtime.store.port import MinioStore
from tests.indexing import fresh_store

ODD_KEYS = [
    "plain.txt",
    "with space and +plus.txt",
    "a+b/c d+e",
    "Grüße/Ärger ß.txt",
    "new\nline",
    "control\x01\x7f",
    "tab\tand\rreturn",
    "literal%20percent",
    "%",
    " ",
    "quote\"'<&>",
    "q?x=1&y#z",
    "😀/漢字",
    "..hidden",
    "e\u0301 decomposed",
]


@pytest.fixture
def store(store_settings: StoreSettings) -> MinioStore:
    return fresh_store(store_settings)


def test_the_client_whose_internals_are_used_is_the_pinned_one() -> None:
    assert importlib.metadata.version("minio") == "7.2.20", "look at _execute of the new version, then change this"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_key_makes_the_round_trip(store: MinioStore, key: str) -> None:
    data = f"content of {key!r}".encode()
    etag = store.put(store.bucket, key, data, content_type="text/plain")
    assert [(item.key, item.etag, item.size) for item in store.list(store.bucket)] == [(key, etag, len(data))]
    found = store.get(store.bucket, key)
    assert (found.data, found.etag, found.content_type) == (data, etag, "text/plain")
    head = store.head(store.bucket, key)
    listed = next(store.list(store.bucket))
    assert (head.etag, head.size, head.content_type) == (etag, len(data), "text/plain")
    assert head.modified == listed.modified > 1_600_000_000
    assert '"' not in etag
    store.delete(store.bucket, key)
    assert not list(store.list(store.bucket))
    store.delete(store.bucket, key)


def test_an_empty_object(store: MinioStore) -> None:
    etag = store.put(store.bucket, "empty", b"")
    assert (store.get(store.bucket, "empty", limit=0).data, store.head(store.bucket, "empty").etag) == (b"", etag)


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../x", "a/../b", ".", "a/./b", "a\\b", "a/..", "//"])
def test_a_key_that_the_store_would_change_is_refused(store: MinioStore, key: str) -> None:
    with pytest.raises(BadInput, match="Rename it"):
        store.put(store.bucket, key, b"x")
    with pytest.raises(BadInput, match="Rename it"):
        store.put_stream(store.bucket, key, io.BytesIO(b"x"), 1)
    assert not list(store.list(store.bucket))


@pytest.mark.parametrize("key", ["../x", "a/../b", ".", ""])
def test_reading_a_key_that_no_request_can_name(store: MinioStore, key: str) -> None:
    with pytest.raises(ObjectMissing):
        store.get(store.bucket, key)


def test_a_folder_marker(store: MinioStore) -> None:
    store.put(store.bucket, "folder/", b"")
    assert [item.key for item in store.list(store.bucket)] == ["folder/"]


@pytest.mark.parametrize("key", ["x" * 256, "a/" * 600 + "b"])
def test_a_name_that_is_too_long(store: MinioStore, key: str) -> None:
    with pytest.raises(BadInput):
        store.put(store.bucket, key, b"x")


def test_create_only_has_one_winner_of_sixteen(store: MinioStore) -> None:
    def create(number: int) -> bool:
        try:
            store.put(store.bucket, "race", str(number).encode(), create_only=True)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert store.get(store.bucket, "race").data == str(won.index(True)).encode()


def test_if_match(store: MinioStore) -> None:
    first = store.put(store.bucket, "k", b"1")
    second = store.put(store.bucket, "k", b"2", if_match=first)
    with pytest.raises(PreconditionFailed, match="'k'"):
        store.put(store.bucket, "k", b"3", if_match=first)
    assert store.get(store.bucket, "k").etag == second
    with pytest.raises((PreconditionFailed, ObjectMissing)):
        store.put(store.bucket, "not there", b"3", if_match=first)


def test_a_limit_is_not_read_past(store: MinioStore) -> None:
    store.put(store.bucket, "k", b"x" * 1000)
    assert len(store.get(store.bucket, "k", limit=1000).data) == 1000
    with pytest.raises(BadInput, match="1000 bytes"):
        store.get(store.bucket, "k", limit=999)
    assert store.get(store.bucket, "k").data == b"x" * 1000, "the connection is still in step"


def test_what_is_missing_is_named(store: MinioStore) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: store.get(store.bucket, "nobody"),
        lambda: store.head(store.bucket, "nobody"),
    ]
    for call in calls:
        with pytest.raises(ObjectMissing, match=f"nobody.*{store.bucket}"):
            call()
    absent: list[Callable[[], Any]] = [
        lambda: store.get("no-such-bucket", "k"),
        lambda: store.put("no-such-bucket", "k", b""),
        lambda: list(store.list("no-such-bucket")),
    ]
    for call in absent:
        with pytest.raises(ObjectMissing, match="no-such-bucket"):
            call()
    assert not store.bucket_exists("no-such-bucket")
    store.ensure_bucket(store.bucket)


def test_a_listing_of_many_pages_has_every_key_once(store: MinioStore) -> None:
    keys = {f"{folder}/{number:02d} ä+\n" for folder in ("a", "a-b", "a b", "c+") for number in range(9)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(store.bucket, key, b"x"), keys))
    for page in (1, 7, 1000):
        assert sorted(item.key for item in store.list(store.bucket, page=page)) == sorted(keys)
    assert {item.key for item in store.list(store.bucket, "a b/")} == {key for key in keys if key.startswith("a b/")}
    after = [item.key for item in store.list(store.bucket, "c+/", start_after="c+/05 ä+\n", page=2)]
    assert after == [f"c+/0{number} ä+\n" for number in (6, 7, 8)]


def test_a_page_of_another_dialect_is_read() -> None:
    page = b"""<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
    <NextContinuationToken>t+1</NextContinuationToken>
    <Contents><Size>3</Size><Key>a%20b%2Bc+d</Key><LastModified>2026-11-21T11:00:00.123Z</LastModified>
    <ETag>"e"</ETag><Owner><ID>x</ID></Owner></Contents></ListBucketResult>"""
    objects, token = parse("b", page)
    assert [(item.key, item.size, item.etag) for item in objects] == [("a b+c d", 3, "e")]
    assert token == "t+1"
    with pytest.raises(StoreDown):
        parse("b", b"not XML")


def test_streams(store: MinioStore) -> None:
    data = bytes(range(256)) * 150_000
    etag = store.put_stream(store.bucket, "big", io.BytesIO(data), len(data), "application/pdf")
    assert store.put_stream(store.bucket, "unknown length", io.BytesIO(data)) == etag
    response = store.stream(store.bucket, "big")
    assert response.headers["Content-Length"] == str(len(data))
    assert b"".join(response.stream(65_536, decode_content=False)) == data
    response.release_conn()
    out = io.BytesIO()
    store.download(store.bucket, "big", out)
    assert out.getvalue() == data
    assert store.head(store.bucket, "big").content_type == "application/pdf"


def test_wrong_credentials(store_settings: StoreSettings) -> None:
    wrong = MinioStore(store_settings.model_copy(update={"secret_key": "wrong-secret-of-ours"}))
    calls: list[Callable[[], Any]] = [
        lambda: wrong.get("documents", "k"),
        lambda: wrong.head("documents", "k"),
        lambda: wrong.put("documents", "k", b""),
        lambda: list(wrong.list("documents")),
        wrong.ping,
    ]
    for call in calls:
        with pytest.raises(StoreDenied, match="MINIO_SECRET_KEY") as caught:
            call()
        assert "wrong-secret-of-ours" not in str(caught.value)


def test_a_store_that_is_down(store_settings: StoreSettings) -> None:
    with socket.socket() as reserved:  # bound, never listening: nobody else gets this port
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{reserved.getsockname()[1]}"
        store = MinioStore(store_settings.model_copy(update={"endpoint": endpoint}))
        with pytest.raises(StoreDown, match=f"{endpoint}.*refused.*MINIO_ENDPOINT") as caught:
            store.ping()
    assert store_settings.secret_key not in str(caught.value)


def test_an_endpoint_that_is_none(store_settings: StoreSettings) -> None:
    with pytest.raises(StoreDown, match="host:port"):
        MinioStore(store_settings.model_copy(update={"endpoint": "host:1/path"})).ping()


def test_a_fork_makes_connections_of_its_own(store: MinioStore) -> None:
    store.put(store.bucket, "k", b"parent")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if store.get(store.bucket, "k").data == b"parent" else 1)
        finally:
            os._exit(2)
    assert store.get(store.bucket, "k").data == b"parent"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_share_a_store(store: MinioStore) -> None:
    def round_trip(number: int) -> bool:
        key, data = f"k{number}", str(number).encode() * 100
        etag = store.put(store.bucket, key, data)
        found = store.get(store.bucket, key)
        return (found.data, found.etag) == (data, etag)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(round_trip, range(200)))
