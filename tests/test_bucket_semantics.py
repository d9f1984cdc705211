"""What a bucket trigger makes of everything that can happen to an object, as real stores do it.

Each test runs twice: told by the store's own webhooks alone (no listing but the first), and by listings alone.
"""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis
from minio.commonconfig import ENABLED, REPLACE, CopySource
from minio.datatypes import Part
from minio.versioningconfig import VersioningConfig

from runtime.config.settings import Batch
from tests.agreeing import Build, about, agree, etags, quiet
from tests.telling_store import TellingStore
from tests.triggering import House, until


def versioned(house: House) -> House:
    house.s3.set_bucket_versioning(house.bucket, VersioningConfig(ENABLED))
    return house


def test_created_overwritten_and_removed(woken: Build) -> None:
    house = woken()
    with house.running():
        for data in (b"one", b"two"):
            house.put("a/b.txt", data)
            agree(house)
        house.remove("a/b.txt")
        agree(house)
        quiet(house)
    assert about(house, "a/b.txt") == ["created", "created", "removed"]
    one, two, gone = etags(house, "a/b.txt")
    assert one != two == gone


def test_a_versioned_bucket_and_a_delete_marker_that_is_removed(woken: Build) -> None:
    house = versioned(woken())
    with house.running():
        for data in (b"one", b"two"):
            house.put("a/k.txt", data)
            agree(house)
        current = house.s3.stat_object(house.bucket, "a/k.txt").etag
        house.remove("a/k.txt")
        house.finish("a/k.txt", state="removed")
        (marker,) = [
            one
            for one in house.s3.list_objects(house.bucket, recursive=True, include_version=True)
            if one.is_delete_marker
        ]
        house.s3.remove_object(house.bucket, "a/k.txt", version_id=marker.version_id)
        house.finish("a/k.txt")
        quiet(house)
    assert about(house, "a/k.txt") == ["created", "created", "removed", "created"]
    assert etags(house, "a/k.txt")[-1] == current


def test_the_version_before_is_back_when_the_newest_is_removed(woken: Build) -> None:
    house = versioned(woken())
    with house.running():
        versions = []
        for data in (b"one", b"two", b"three"):
            versions.append(house.s3.put_object(house.bucket, "k.txt", io.BytesIO(data), len(data)))
            agree(house)
        house.s3.remove_object(house.bucket, "k.txt", version_id=versions[0].version_id)
        quiet(house)
        assert len(about(house, "k.txt")) == 3, "an old version is nobody's business"
        house.s3.remove_object(house.bucket, "k.txt", version_id=versions[2].version_id)
        until(lambda: len(about(house, "k.txt")) == 4)
        agree(house)
    assert etags(house, "k.txt")[-1] == versions[1].etag
    assert about(house, "k.txt") == ["created"] * 4


def test_an_upload_in_parts_counts_when_it_is_complete(woken: Build) -> None:
    house = woken()
    part = b"x" * 5 * 2**20
    with house.running():
        left, done = (house.s3._create_multipart_upload(house.bucket, name, {}) for name in ("left.bin", "big.bin"))
        house.s3._upload_part(house.bucket, "left.bin", part, None, left, 1)
        sent = [
            Part(n, house.s3._upload_part(house.bucket, "big.bin", data, None, done, n))
            for n, data in enumerate((part, b"y"), 1)
        ]
        quiet(house)
        assert {key for _, key in house.changes()} == {"control-0"}
        result = house.s3._complete_multipart_upload(house.bucket, "big.bin", done, sent)
        house.s3._abort_multipart_upload(house.bucket, "left.bin", left)
        house.finish("big.bin")
        quiet(house)
    assert about(house, "big.bin") == ["created"] and etags(house, "big.bin") == [result.etag]
    (told,) = [one for call in house.calls() for one in call.arguments["objects"] if one["key"] == "big.bin"]
    assert told["size"] == len(part) + 1
    assert not about(house, "left.bin")


def test_a_copy_is_an_object_and_one_onto_itself_is_no_change(woken: Build) -> None:
    house = woken()
    with house.running():
        house.put("a.txt")
        agree(house)
        house.s3.copy_object(house.bucket, "sub/copy.txt", CopySource(house.bucket, "a.txt"))
        agree(house)
        itself = CopySource(house.bucket, "a.txt")
        house.s3.copy_object(house.bucket, "a.txt", itself, metadata={"x": "y"}, metadata_directive=REPLACE)
        quiet(house)
    assert about(house, "a.txt") == ["created"] and about(house, "sub/copy.txt") == ["created"]
    assert etags(house, "a.txt") == etags(house, "sub/copy.txt")


def test_an_object_without_bytes(woken: Build) -> None:
    house = woken()
    with house.running():
        house.put("empty.txt", b"")
        agree(house)
        house.put("empty.txt", b"full")
        agree(house)
        house.put("empty.txt", b"")
        agree(house)
    sizes = [one["size"] for call in house.calls() for one in call.arguments["objects"]]
    assert sizes == [0, 4, 0]


def test_folder_markers_are_no_objects(woken: Build) -> None:
    house = woken()
    with house.running():
        house.put("folder/", b"")
        house.put("folder/sub/", b"")
        house.put("folder/file.txt")
        agree(house)
        house.remove("folder/sub/")
        quiet(house)
        house.remove("folder/file.txt")
        house.remove("folder/")
        agree(house)
    assert {key for _, key in house.changes()} == {"folder/file.txt", "control-1"}
    assert about(house, "folder/file.txt") == ["created", "removed"]


def test_many_objects_at_once(woken: Build) -> None:
    house = woken(batch=Batch(max_items=64, window=0.05))
    names = [f"{number % 7}/{number:04}.txt" for number in range(600)]
    with house.running():
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(house.put, names))
        agree(house)
    assert sorted(house.changes()) == sorted(("created", name) for name in names)


def test_a_hundred_overwrites_end_on_the_last_one(woken: Build) -> None:
    house = woken()
    with house.running():
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.01):
                house.end_all()

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for number in range(100):
                house.put("hot.txt", b"%d" % number)
            last = house.s3.stat_object(house.bucket, "hot.txt").etag
            until(lambda: (found := house.entry("hot.txt")) and (found.state, found.etag) == ("done", last))
        finally:
            stop.set()
            worker.join()
        quiet(house)
    seen = etags(house, "hot.txt")
    assert seen[-1] == last and len(seen) == len(set(seen)) <= 100


def test_a_rename_is_a_removal_and_a_new_object(
    telling: TellingStore, redis_client: redis.Redis, broker_url: str, tmp_path: Path
) -> None:
    """SeaweedFS only; of a renamed folder it tells nothing but the folder itself."""
    house = House.build(redis_client, broker_url, telling.settings, tmp_path)
    inside = [f"{number}.txt" for number in range(3)]
    with house.running():
        house.put("old.txt")
        for name in inside:
            house.put(f"here/sub/{name}")
        agree(house)
        telling.move(f"{house.bucket}/old.txt", f"{house.bucket}/there/new.txt")
        house.finish("there/new.txt")
        house.finish("old.txt", state="removed")
        telling.move(f"{house.bucket}/here", f"{house.bucket}/elsewhere")
        house.finish(*(f"elsewhere/sub/{name}" for name in inside))
        house.finish(*(f"here/sub/{name}" for name in inside), state="removed")
        agree(house)
    assert about(house, "old.txt") == ["created", "removed"] and about(house, "there/new.txt") == ["created"]
