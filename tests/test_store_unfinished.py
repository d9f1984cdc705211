"""Uploads in parts that nobody completed: what a killed process leaves, and pages of them as servers write these."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from runtime.config.settings import StoreSettings
from runtime.errors import ObjectMissing, StoreDown
from runtime.store.unfinished import Unfinished, unfinished
from runtime.testing import MemoryStore
from tests.indexing import fresh_store
from tests.test_store_port import uploads
from tests.workers import until

UPLOAD = """
import sys
from runtime.config.settings import StoreSettings
from runtime.store.port import MinioStore
store = MinioStore(StoreSettings.model_validate_json(sys.argv[1]))
store.put_stream(store.bucket, sys.argv[2], sys.stdin.buffer)
"""


@pytest.mark.parametrize("key", ["k", "ö/k +&<%2F.bin"])
def test_what_a_killed_upload_left_is_removed(store_settings: StoreSettings, key: str) -> None:
    store = fresh_store(store_settings)
    settings = store_settings.model_copy(update={"bucket": store.bucket}).model_dump_json()
    with subprocess.Popen([sys.executable, "-c", UPLOAD, settings, key], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(40 * 2**20))
        process.stdin.flush()
        until(lambda: bool(uploads(store)))
        process.kill()
    assert uploads(store) and not list(store.list(store.bucket)), "only a list of uploads shows it"
    assert store.abort_uploads(store.bucket, 3600) == 0 and uploads(store), "it may still be going on"
    assert store.abort_uploads(store.bucket, 0) == 1
    assert not uploads(store) and store.abort_uploads(store.bucket, 0) == 0


def test_a_completed_object_stays(store_settings: StoreSettings) -> None:
    store = fresh_store(store_settings)
    store.put(store.bucket, "k", b"x")
    store._client._create_multipart_upload(store.bucket, "k", {})
    assert store.abort_uploads(store.bucket, 0) == 1
    assert store.get(store.bucket, "k").data == b"x"
    with pytest.raises(ObjectMissing, match="no-such-bucket"):
        store.abort_uploads("no-such-bucket", 0)
    assert MemoryStore().abort_uploads("b", 0) == 0


def test_every_page_of_the_real_store(store_settings: StoreSettings) -> None:
    store = fresh_store(store_settings)
    names = sorted(f"d{number % 3}/k{number}" for number in range(11))
    for name in names:
        store._client._create_multipart_upload(store.bucket, name, {})
    found = unfinished(lambda query: store._ask(store.bucket, {**query, "max-uploads": "3"}), store.bucket)
    assert sorted(one.key for one in found) == names


def answer(body: str) -> bytes:
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ListMultipartUploadsResult xmlns="{space}">{body}</ListMultipartUploadsResult>'.encode()


def upload(key: str) -> str:
    return (
        f"<Upload><Key>{key}</Key><UploadId>{key}1</UploadId><Initiated>1970-01-01T00:01:00.000Z</Initiated></Upload>"
    )


def test_pages_as_s3_gives_them() -> None:
    """SeaweedFS goes on by the upload alone, S3 by the key and the upload."""
    asked: list[dict[str, str]] = []
    more = "<NextKeyMarker>a</NextKeyMarker><NextUploadIdMarker>a1</NextUploadIdMarker><IsTruncated>true</IsTruncated>"

    def fetch(query: Mapping[str, str]) -> bytes:
        asked.append(dict(query))
        return answer(upload("b&amp;c")) if "key-marker" in query else answer(upload("a") + more)

    assert list(unfinished(fetch, "b")) == [Unfinished("a", "a1", 60.0), Unfinished("b&c", "b&c1", 60.0)]
    assert asked == [{"uploads": ""}, {"uploads": "", "key-marker": "a", "upload-id-marker": "a1"}]


def test_a_server_that_goes_in_circles_or_gives_no_list() -> None:
    truncated = upload("a") + "<NextKeyMarker>a</NextKeyMarker><IsTruncated>true</IsTruncated>"
    assert len(list(unfinished(lambda _: answer(truncated), "b"))) == 2
    with pytest.raises(StoreDown, match="not XML"):
        list(unfinished(lambda _: b"<html>", "b"))
