"""What functions may rely on in `context.store`: the real store and the fake one keep the same promises."""

from __future__ import annotations

import io
import re
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.settings import StoreSettings
from runtime.context import Store
from runtime.errors import BadInput, ObjectMissing, PreconditionFailed, StoreDown
from runtime.store.upload import Uploader, read_parts
from runtime.testing import MemoryStore
from tests.indexing import fresh_store


@pytest.fixture(params=["real", "fake"])
def store(request: pytest.FixtureRequest, store_settings: StoreSettings) -> Store:
    return MemoryStore() if request.param == "fake" else fresh_store(store_settings)


def test_metadata_comes_back_with_a_head_and_not_with_a_listing(store: Store) -> None:
    noted = {"tundish-hops": "3", "tundish-by": "note", "title": "two  spaces; and = signs, %C3%A9"}
    store.put(store.bucket, "k", b"1", metadata=noted)
    assert dict(store.head(store.bucket, "k").metadata) == noted
    store.put_stream(store.bucket, "s", io.BytesIO(b"1"), 1, "text/csv", metadata=noted)
    head = store.head(store.bucket, "s")
    assert dict(head.metadata) == noted and head.content_type == "text/csv"
    assert [(dict(info.metadata), info.content_type) for info in store.list(store.bucket)] == [({}, "")] * 2


def test_several_objects_at_once(store: Store) -> None:
    """Those that are missing or too large are None, wherever they stand; the others are what `get` gives."""
    for number in range(20):
        store.put(store.bucket, f"k/ü {number}", bytes(number), metadata={"number": str(number)})
    names = [f"k/ü {number}" for number in range(20)]
    keys = [names[3], "missing", *names, names[3], "gone"]
    found = store.get_many(store.bucket, keys, limit=15)
    assert [one and len(one.data) for one in found] == [3, None, *range(16), *[None] * 4, 3, None]
    assert found[0] == store.get(store.bucket, names[3]) == found[-2]
    assert store.get_many(store.bucket, [], limit=15) == []
    assert [bool(one) for one in store.get_many(store.bucket, [names[1], "", "a/../b"], limit=15)] == [
        True,
        False,
        False,
    ]


def test_overwriting_takes_the_old_metadata_away(store: Store) -> None:
    store.put(store.bucket, "k", b"1", metadata={"tundish-hops": "3"})
    store.put(store.bucket, "k", b"2")
    assert not store.head(store.bucket, "k").metadata


def test_metadata_goes_with_a_conditional_write_too(store: Store) -> None:
    etag = store.put(store.bucket, "k", b"1", create_only=True, metadata={"a": "1"})
    with pytest.raises(PreconditionFailed):
        store.put(store.bucket, "k", b"2", create_only=True, metadata={"a": "2"})
    store.put(store.bucket, "k", b"3", if_match=etag, metadata={"a": "3"})
    assert dict(store.head(store.bucket, "k").metadata) == {"a": "3"}


@pytest.mark.parametrize(
    "metadata",
    [
        {"Upper": "x"},
        {"": "x"},
        {"a b": "x"},
        {"name": "Grüße"},
        {"name": "line\r\nX-Injected: 1"},
        {"name": ""},
        {"name": " x"},
        {"name": "x" * 2045},
    ],
)
def test_metadata_that_would_not_arrive_as_it_is_is_refused(store: Store, metadata: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="metadata"):
        store.put(store.bucket, "k", b"x", metadata=metadata)
    with pytest.raises(BadInput, match="metadata"):
        store.put_stream(store.bucket, "k", io.BytesIO(b"x"), 1, metadata=metadata)
    assert not list(store.list(store.bucket))


@pytest.mark.parametrize("size", [0, 1, 16 * 2**20, 16 * 2**20 + 1, 40 * 2**20])
def test_streams_of_every_size_make_the_round_trip_in_parts_and_at_once(store: Store, size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    for length in (size, None):
        etag = store.put_stream(store.bucket, "k", io.BytesIO(data), length, metadata={"n": str(size)})
        head = store.head(store.bucket, "k")
        assert (head.etag, head.size, dict(head.metadata)) == (etag, size, {"n": str(size)})
        assert head.content_type == "application/octet-stream"
        out = io.BytesIO()
        store.download(store.bucket, "k", out)
        assert out.getvalue() == data


class Hangup(Exception):
    pass


class Broken(io.BytesIO):
    """A readable that fails after so many bytes."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= size or 0
        if self.left < 0:
            raise Hangup("the client hung up")
        return bytes(size or 0)


@pytest.mark.parametrize("megabytes", [0, 20, 40, 90])
def test_a_stream_that_breaks_leaves_nothing(store_settings: StoreSettings, megabytes: int) -> None:
    store = fresh_store(store_settings)
    threads = threading.active_count()
    with pytest.raises(Hangup):
        store.put_stream(store.bucket, "k", Broken(megabytes * 2**20))
    assert not list(store.list(store.bucket))
    assert threading.active_count() == threads
    assert not uploads(store), "no part of it stays behind"


@pytest.mark.parametrize("size", [0, 100, 17 * 2**20, 40 * 2**20])
def test_fewer_bytes_than_announced_are_refused(store: Store, size: int) -> None:
    with pytest.raises(BadInput, match=f"ended after {size} bytes; 41943041 were announced"):
        store.put_stream(store.bucket, "k", io.BytesIO(bytes(size)), 40 * 2**20 + 1)
    assert not list(store.list(store.bucket))
    assert isinstance(store, MemoryStore) or not uploads(store)


def test_a_readable_that_gives_little_at_a_time(store_settings: StoreSettings) -> None:
    store = fresh_store(store_settings)

    class Drops(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1_000_003))

    data = bytes(range(250)) * 150_000
    etag = store.put_stream(store.bucket, "k", Drops(data), len(data))
    assert store.put_stream(store.bucket, "unknown", Drops(data)) == etag
    assert store.get(store.bucket, "unknown").data == data


def test_an_upload_that_the_store_cannot_complete_is_no_success() -> None:
    """S3 may answer 200 and tell of the failure in the body; minio gives a result without an etag then."""
    called: list[str] = []

    def call(name: str, *_: Any) -> Any:
        called.append(name)
        return SimpleNamespace(etag=None) if name.startswith("_complete") else "x"

    with pytest.raises(StoreDown, match="'k' in bucket 'b'"):
        Uploader(call, "b", "k", {}).send(io.BytesIO(bytes(40 * 2**20)), None)
    assert called[0] == "_create_multipart_upload" and called[-1] == "_abort_multipart_upload"
    assert called.count("_upload_part") == 3


def uploads(store: Any) -> list[str]:
    page = store._execute("GET", store.bucket, query_params={"uploads": ""}).data.decode()
    return re.findall("<UploadId>(.*?)<", page)


def test_downloading_what_is_not_there(store: Store) -> None:
    with pytest.raises(ObjectMissing, match="nobody"):
        store.download(store.bucket, "nobody", io.BytesIO())


def test_the_server_tells_its_name_and_its_time(store_settings: StoreSettings) -> None:
    store: Any = fresh_store(store_settings)
    assert store.server_name(store.bucket)
    before = time.time()
    store.put(store.bucket, "k", b"x")
    assert abs(store.server_time(store.bucket) - before) < 120
    assert store.server_time(store.bucket) >= store.head(store.bucket, "k").modified
    for ask in (store.server_time, store.server_name):
        with pytest.raises(ObjectMissing, match="no-such-bucket"):
            ask("no-such-bucket")


def test_more_bytes_than_ten_thousand_parts_hold_take_larger_parts() -> None:
    class Endless(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.asked = size or 0
            return b""

    data = Endless()
    with pytest.raises(BadInput):
        next(read_parts(data, 10**12))
    assert 9_900 < 10**12 / data.asked <= 10_000
