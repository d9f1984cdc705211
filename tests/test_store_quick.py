"""Objects that are read past the client: the same answers, and the client for all that is not ordinary."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.settings import StoreSettings
from runtime.errors import BadInput, ObjectMissing
from runtime.store import line as store_line
from runtime.store.line import MISSING
from runtime.store.port import MinioStore
from runtime.store.quick import QuickReads
from tests.indexing import fresh_store

SETTINGS = StoreSettings(endpoint="store.test:9000", access_key="me", secret_key="secret")
GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "e"\r\nx-amz-meta-Lang: en\r\n\r\nhi'


@given(key=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1), seconds=st.integers(0, 2**32))
def test_the_signature_of_an_object_is_the_clients(key: str, seconds: int) -> None:
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


@given(values=st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))), min_size=2, max_size=2))
def test_a_listing_is_signed_as_well(values: list[str]) -> None:
    from minio.credentials import Credentials
    from minio.helpers import BaseURL
    from minio.signer import sign_v4_s3

    moment = datetime.fromtimestamp(1_000_000_000, UTC)
    parameters = dict(zip(("prefix", "list-type"), values, strict=True))
    url = BaseURL("http://store.test:9000", "us-east-1").build(
        method="GET", region="us-east-1", bucket_name="docs", query_params=parameters
    )
    ours = QuickReads(SETTINGS)._request("/docs", url.query, moment.utctimetuple()).decode()
    digest = QuickReads(SETTINGS).signed("/docs", moment.utctimetuple())["x-amz-content-sha256"]
    plain = {"host": "store.test:9000", "x-amz-content-sha256": digest, "x-amz-date": moment.strftime("%Y%m%dT%H%M%SZ")}
    theirs = sign_v4_s3(
        method="GET",
        url=url,
        region="us-east-1",
        headers=plain,
        credentials=Credentials("me", "secret"),
        content_sha256=digest,
        date=moment,
    )
    assert f"Authorization: {theirs['Authorization']}\r\n" in ours


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
    assert store._quick.get(store.bucket, "k"), "it is not asked over a connection that has ended"
    [another] = store._quick._idle
    assert another is not kept
    another.sock.shutdown(socket.SHUT_WR)  # ends when it is asked
    assert store.get(store.bucket, "k").data == b"1"


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
        GOOD.replace(b"ETag: ", b"Content-Length: 2\r\nETag: "),
        GOOD.replace(b"ETag: ", b" folded: 1\r\nETag: "),
        GOOD.replace(b"ETag: ", b"ETag : "),
        GOOD.replace(b"en\r\n", b"en\n"),
        GOOD.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    ],
)
def test_what_is_not_ordinary_is_left_to_the_client(answer: bytes) -> None:
    with answering(answer) as (quick, asked):
        assert quick.get("docs", "k") is None
        assert len(asked) == 1 and not quick._idle


MISSED = b"HTTP/1.1 404 Not Found\r\nContent-Length: 37\r\n\r\n<Error><Code>NoSuchKey</Code></Error>"


def test_a_key_that_is_not_there_is_asked_for_once() -> None:
    with answering(MISSED) as (quick, asked):
        assert quick.get("docs", "k") is MISSING
        assert len(asked) == 1 and len(quick._idle) == 1, "the connection can be asked again"


@pytest.mark.parametrize(
    "answer",
    [MISSED.replace(b"NoSuchKey", b"NoSuchBkt"), MISSED[:-1], MISSED.replace(b"Length: 37", b"Length: 999999")],
    ids=["another code", "cut", "too long"],
)
def test_what_else_is_not_found_is_left_to_the_client(answer: bytes) -> None:
    with answering(answer) as (quick, _):
        assert quick.get("docs", "k") is None
        assert not quick._idle


def test_what_follows_a_key_that_is_not_there_is_read() -> None:
    with answering(GOOD, MISSED, GOOD) as (quick, _):
        first, second, third = quick.get_many("docs", ["a", "b", "c"])
        assert first and third and second is MISSING


@pytest.mark.parametrize(("answers", "told"), [(3, 3), (2, 2), (1, 1), (0, 0)])
def test_several_are_asked_for_before_the_first_answer(answers: int, told: int) -> None:
    """A server that hangs up in between has answered what came before."""
    with answering(*[GOOD] * answers) as (quick, asked):
        found = quick.get_many("docs", ["a", "b", "c"])
        assert [bool(one) for one in found] == [number < told for number in range(3)]
        assert len(asked) == 1 and asked[0].count(b"GET /docs/") == 3


def test_what_follows_a_strange_answer_is_left_to_the_client() -> None:
    """Whose answer it is cannot be told any more."""
    with answering(GOOD, GOOD.replace(b"200", b"404"), GOOD) as (quick, _):
        found = quick.get_many("docs", ["a", "b", "c"])
        assert [bool(one) for one in found] == [True, False, False]
        assert not quick._idle


@contextmanager
def keeping(*trips: Sequence[bytes]) -> Iterator[QuickReads]:
    """A server that answers each trip of one connection in parts, and hangs up behind the last one."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for parts in trips:
                    if not connection.recv(65_536):
                        return
                    for part in parts:
                        connection.sendall(part)
                        time.sleep(0.005)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        quick = QuickReads(SETTINGS.model_copy(update={"endpoint": f"127.0.0.1:{server.getsockname()[1]}"}))
        try:
            yield quick
        finally:
            quick.close()
            thread.join()


def bodies(quick: QuickReads, count: int) -> list[bytes | None]:
    found = quick.get_many("docs", [f"{number}" for number in range(count)])
    return [one and one[1] for one in found]


def test_small_answers_are_read_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_line, "_PATIENCE", 60_000)
    sizes: list[int] = []
    plain = store_line._Pieces.readinto

    def readinto(pieces: Any, buffer: Any) -> int:
        sizes.append(plain(pieces, buffer))
        return sizes[-1]

    monkeypatch.setattr(store_line._Pieces, "readinto", readinto)
    with keeping([GOOD], [GOOD] * 12, []) as quick:
        assert bodies(quick, 1) == [b"hi"]
        assert bodies(quick, 12) == [b"hi"] * 12
    assert sizes[0] == len(GOOD) and sizes[1] >= 11 * len(GOOD)
    assert sum(sizes) == 13 * len(GOOD) and len(sizes) <= 3


def test_answers_that_are_shorter_than_those_before_are_read_all_the_same() -> None:
    long = GOOD.replace(b"Length: 2", b"Length: 2000").replace(b"hi", b"h" * 2000)
    with keeping([long], [GOOD] * 3, [GOOD, long, MISSED], []) as quick:
        assert bodies(quick, 1) == [b"h" * 2000]
        assert bodies(quick, 3) == [b"hi"] * 3
        assert bodies(quick, 3) == [b"hi", b"h" * 2000, b""]


def test_a_server_that_hangs_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_line, "_PATIENCE", 3_600_000)
    with keeping([GOOD], [GOOD, GOOD[:-1]]) as quick:
        assert bodies(quick, 1) == [b"hi"]
        assert bodies(quick, 3) == [b"hi", None, None]
        assert not quick._idle


def test_a_server_that_does_not_say_how_long_a_listing_is_gets_no_second_one() -> None:
    chunked = GOOD.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")
    with answering(chunked) as (quick, asked):
        assert quick.query("docs", {"list-type": "2"}) is None
        assert quick.query("docs", {"list-type": "2"}) is None
        assert len(asked) == 1
        assert quick.get("docs", "k") is None and len(asked) == 2, "objects are another matter"


def test_a_listing_that_fails_once_is_asked_for_again() -> None:
    with answering(GOOD.replace(b"200", b"503")) as (quick, asked):
        assert quick.query("docs", {"prefix": "a b/+", "list-type": "2"}) is None
        assert quick.query("docs", {"prefix": "a b/+", "list-type": "2"}) is None
        assert len(asked) == 2
        assert asked[0].startswith(b"GET /docs?list-type=2&prefix=a%20b%2F%2B HTTP/1.1")


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
