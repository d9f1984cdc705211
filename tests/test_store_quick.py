"""Objects that are read past the client: the same answers, and the client for all that is not ordinary."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config import StoreSettings
from runtime.errors import BadInput, ObjectMissing
from runtime.store import MinioStore
from runtime.store_quick import QuickReads
from tests.indexing import fresh_store

SETTINGS = StoreSettings(endpoint="store.test:9000", access_key="me", secret_key="secret")
GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "e"\r\nx-amz-meta-Lang: en\r\n\r\nhi'


@given(key=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1), seconds=st.integers(0, 2**32))
def test_the_signature_is_the_clients(key: str, seconds: int) -> None:
    from minio.credentials import Credentials
    from minio.helpers import BaseURL
    from minio.signer import sign_v4_s3

    base, region = BaseURL("http://store.test:9000", "us-east-1"), "us-east-1"
    url = base.build(method="GET", region=region, bucket_name="docs", object_name=key)
    moment = datetime.fromtimestamp(seconds, UTC)
    ours = QuickReads(SETTINGS).signed(url.path, moment.utctimetuple())
    plain = {name: value for name, value in ours.items() if name != "Authorization"}
    credentials = Credentials("me", "secret")
    digest = plain["x-amz-content-sha256"]
    theirs = sign_v4_s3(
        method="GET",
        url=url,
        region=region,
        headers={**plain},
        credentials=credentials,
        content_sha256=digest,
        date=moment,
    )
    assert ours["Authorization"] == theirs["Authorization"]


@pytest.fixture
def store(store_settings: StoreSettings) -> MinioStore:
    return fresh_store(store_settings)


@pytest.mark.parametrize("key", ["a.txt", "größe + 1/ä%20~.txt", "a/b?c=d&e#f", "日本"])
def test_both_ways_give_the_same(store: MinioStore, key: str) -> None:
    store.put(store.bucket, key, b"one\r\n\r\ntwo", content_type="text/plain", metadata={"lang": "en"})
    quick = store._quick.get(store.bucket, key)
    assert quick is not None and quick[1] == b"one\r\n\r\ntwo"
    assert store.get(store.bucket, key) == store._read(store.bucket, key, None)


def test_large_and_empty_objects_and_limits(store: MinioStore) -> None:
    for size in (0, 1, 65_537, 5_000_001):
        data = os.urandom(size)
        store.put(store.bucket, "k", data)
        assert store.get(store.bucket, "k", limit=size).data == data
        if size:
            with pytest.raises(BadInput, match="the limit is"):
                store.get(store.bucket, "k", limit=size - 1)
    with pytest.raises(ObjectMissing):
        store.get(store.bucket, "missing")


def test_connections_are_kept_and_survive_their_end(store: MinioStore) -> None:
    store.put(store.bucket, "k", b"1")
    for _ in range(3):
        store.get(store.bucket, "k")
    [kept] = store._quick._idle
    kept.sock.shutdown(socket.SHUT_RDWR)  # as a server does that was restarted
    assert store.get(store.bucket, "k").data == b"1"
    assert not store._quick._idle
    assert store.get(store.bucket, "k").data == b"1"
    assert len(store._quick._idle) == 1


def test_a_fork_has_connections_of_its_own(store: MinioStore) -> None:
    store.put(store.bucket, "k", b"1")
    store.get(store.bucket, "k")
    [kept] = store._quick._idle
    name = kept.sock.getsockname()
    pid = os.fork()
    if not pid:
        found = b""
        with suppress(BaseException):
            found = store.get(store.bucket, "k").data
        os._exit(0 if found == b"1" and store._quick._idle[0].sock.getsockname() != name else 1)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert store.get(store.bucket, "k").data == b"1"
    assert list(store._quick._idle) == [kept], "the parent's connection still answers"


@contextmanager
def answering(*parts: bytes) -> Iterator[tuple[QuickReads, list[bytes]]]:
    """A server that gives one answer, in parts, to every request, and hangs up behind it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        asked.append(connection.recv(65_536))
                        for part in parts:
                            connection.sendall(part)
                            time.sleep(0.01)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        yield QuickReads(SETTINGS.model_copy(update={"endpoint": f"127.0.0.1:{port}"})), asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_an_answer_in_small_parts() -> None:
    with answering(*(GOOD[place : place + 7] for place in range(0, len(GOOD), 7))) as (quick, asked):
        found = quick.get("docs", "a b", 2)
        assert found
        headers, data = found
        assert (data, headers["etag"], headers["X-Amz-Meta-lang"]) == (b"hi", '"e"', "en")
        assert asked[0].startswith(b"GET /docs/a%20b HTTP/1.1\r\nhost: 127.0.0.1:")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1",
        b"\x00\xff\r\n\r\n",
        GOOD[:-1],
        GOOD.replace(b"200", b"404"),
        GOOD.replace(b"200", b"206"),
        GOOD.replace(b"1.1", b"1.0"),
        GOOD.replace(b"Content-Length: 2\r\n", b""),
        GOOD.replace(b"Length: 2", b"Length: two"),
        GOOD.replace(b"Length: 2", b"Length: -2"),
        GOOD.replace(b"Length: 2", b"Length: 3"),
        GOOD.replace(b"ETag", b"Transfer-Encoding: chunked\r\nETag"),
        GOOD.replace(b"ETag: ", b"no colon\r\nETag: "),
        GOOD.replace(b"ETag", b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"ETag"),
        GOOD[: GOOD.index(b"ETag")],
    ],
)
def test_what_is_not_ordinary_is_left_to_the_client(answer: bytes) -> None:
    with answering(answer) as (quick, asked):
        assert quick.get("docs", "k") is None
        assert len(asked) == 1 and not quick._idle


@pytest.mark.parametrize(
    ("changed", "bucket"),
    [
        ({"secure": True}, "docs"),
        ({"region": ""}, "docs"),
        ({"endpoint": "s3.eu-west-1.amazonaws.com"}, "docs"),
        ({"endpoint": "store.test:nine"}, "docs"),
        ({"endpoint": ""}, "docs"),
        ({}, "docs.example"),
        ({}, "Docs"),
    ],
)
def test_stores_that_are_not_asked_this_way(
    changed: dict[str, Any], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> socket.socket:
        raise AssertionError

    monkeypatch.setattr(socket, "create_connection", connect)
    assert QuickReads(SETTINGS.model_copy(update=changed)).get(bucket, "k") is None
