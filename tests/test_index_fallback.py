"""A gateway that starts while the newest version cannot be read answers from the newest one that is whole."""

from __future__ import annotations

from pathlib import Path

import faiss
import pytest
import redis

from runtime.config.settings import StoreSettings
from runtime.errors import CorruptSegment
from runtime.index import layout, manifest
from runtime.index.reader import IndexReader
from tests.indexing import House, fresh_store, house, put, write

pytestmark = pytest.mark.usefixtures("in_files")


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    """Three versions, each with one document more; the third replaces one. The reader has none yet."""
    made = house(fresh_store(store_settings), redis_client, tmp_path)
    for number in (1, 2, 3):
        write(made.index, f"b{number}", put(f"k{number}", number), *([put("k1", 9)] if number == 3 else []))
        made.index.build("default")
    return made


def segment(home: House, generation: int) -> str:
    return manifest.read(home.store, "default", generation).segments[-1].segment


def lose(home: House, generation: int) -> None:
    home.store.delete(home.store.bucket, layout.segment("default", segment(home, generation)) + "rows.bin")


def place(home: House, what: str) -> str:
    """Of an object that only the newest version has."""
    if what == "manifest":
        return layout.manifest("default", 3)
    if what == "tombstones":
        (name,) = (ref.tombstones for ref in manifest.read(home.store, "default", 3).segments if ref.tombstones)
        return f"{layout.tombstones('default')}{name}"
    return layout.segment("default", segment(home, 3)) + what


@pytest.mark.parametrize("how", ["gone", "cut", "flipped"])
@pytest.mark.parametrize("what", ["index.faiss", "meta.json", "tombstones", "manifest"])
def test_the_newest_older_version_that_is_whole(
    home: House, what: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = place(home, what)
    data = home.store.get(home.store.bucket, key).data
    home.store.delete(home.store.bucket, key)
    if how != "gone":
        home.store.put(home.store.bucket, key, data[:-1] if how == "cut" else bytes([data[0] ^ 1]) + data[1:])
    if (what, how) == ("manifest", "gone"):  # then it is as if it had never been published
        home.reader.refresh("default")
        assert set(home.contents()) == {"k1", "k2"}
        return
    for _ in range(2):  # it is tried again with each look
        with pytest.raises(CorruptSegment):
            home.reader.refresh("default")
        assert set(home.contents()) == {"k1", "k2"}
    assert "could not be loaded; generation 2 answers" in caplog.text


@pytest.mark.parametrize("hint", [None, b"{", b'{"generation": 99}'])
def test_the_pointer_is_only_a_hint(home: House, hint: bytes | None) -> None:
    home.store.delete(home.store.bucket, layout.latest("default"))
    if hint is not None:
        home.store.put(home.store.bucket, layout.latest("default"), hint)
    home.reader.refresh("default")
    assert set(home.contents()) == {"k1", "k2", "k3"}


def test_a_part_that_many_versions_have_is_looked_at_once(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lose(home, 2)
    asked: list[str] = []
    download = home.store.download

    def counted(bucket: str, key: str, file: object) -> None:
        asked.append(key)
        download(bucket, key, file)  # type: ignore[arg-type]

    monkeypatch.setattr(home.store, "download", counted)
    with pytest.raises(CorruptSegment):
        home.reader.refresh("default")
    assert set(home.contents()) == {"k1"}
    lost = layout.segment("default", segment(home, 2)) + "rows.bin"
    assert asked.count(lost) <= 2, "once for the newest version, once for all that are older"


def test_nothing_is_whole(home: House) -> None:
    lose(home, 1)
    with pytest.raises(CorruptSegment):
        home.reader.refresh("default")
    assert home.reader.version("default") is None and home.contents() == {}


def test_what_is_mended_is_loaded(home: House, redis_client: redis.Redis, tmp_path: Path) -> None:
    lose(home, 3)
    with pytest.raises(CorruptSegment):
        home.reader.refresh("default")
    home.index.rebuild("default", "It is damaged.")
    assert home.reader.refresh("default")
    assert set(home.contents()) == {"k1", "k2", "k3"}


def test_a_version_of_another_faiss(home: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with a clear sentence, and the next build makes it anew from the batches."""
    home.reader.refresh("default")
    monkeypatch.setattr(faiss, "__version__", "99.1.0")
    fresh = House(home.store, home.index, IndexReader(home.store, tmp_path / "fresh"), tmp_path / "fresh")
    with pytest.raises(CorruptSegment, match=r"was written by FAISS .*; this is 99\.1\.0\. Run build_index"):
        fresh.reader.refresh("default")
    assert fresh.reader.version("default") is None
    report = home.index.build("default")
    assert report.published and "is built anew from the stored batches" in report.warnings[0]
    assert fresh.reader.refresh("default") and home.reader.refresh("default")
    assert set(fresh.contents()) == set(home.contents()) == {"k1", "k2", "k3"}
    assert not home.index.build("default").published
