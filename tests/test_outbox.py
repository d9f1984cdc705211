"""The outbox on disk: what was promised survives a crash, a full disk and the death of its process."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.config.load import load
from runtime.errors import ConfigError
from runtime.invocations.submit import Call
from runtime.outbox import journal
from runtime.outbox.journal import Journal
from runtime.outbox.kept_call import Kept, unpack
from runtime.outbox.outbox import Outbox


def kept(number: int) -> tuple[str, bytes]:
    call = Call("add", {"a": number}, id=f"id-{number}", priority=9)
    return f"id-{number}", Kept(call, 1.5, "light", 9).pack()


def drain(outbox: Outbox) -> list[int]:
    found = []
    while waiting := outbox.oldest():
        found.append(waiting.kept.call.arguments["a"])
        outbox.done(waiting)
    return found


def records(folder: Path) -> list[bytes]:
    return [record for _, record in Journal(folder).scan()]


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: a write takes what fits, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_torn_end_costs_only_what_was_not_finished(tmp_path: Path) -> None:
    written = Journal(tmp_path)
    written.append([b"first", b"second"])
    written.append([b"third"])
    written.close()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    assert records(tmp_path) == [b"first", b"second", b"third"]
    for cut in range(1, journal.framed(len(b"third")) + 1):
        file.write_bytes(whole[:-cut])
        assert records(tmp_path) == [b"first", b"second"]
    for torn in (whole[:-1] + b"x", whole[:-5] + bytes(5), whole[: -journal.framed(5)] + bytes(4096)):
        file.write_bytes(torn)
        assert records(tmp_path) == [b"first", b"second"]


def test_a_full_disk_keeps_nothing_of_a_failed_write(tmp_path: Path) -> None:
    written = Journal(tmp_path)
    written.append([b"first"])
    size = written.size
    with small_disk(size + 20), pytest.raises(OSError):
        written.append([b"short", b"much longer than the disk has room for"])
    assert written.size == size == sum(path.stat().st_size for path in tmp_path.iterdir())
    with small_disk(3), pytest.raises(OSError):
        written.append([b"not even the beginning"])
    written.append([b"after"])
    written.close()
    assert records(tmp_path) == [b"first", b"after"]


def test_a_write_that_is_not_synced_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Journal(tmp_path)
    written.append([b"first"])

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError):
            written.append([b"second"])
    written.append([b"third"])
    assert records(tmp_path) == [b"first", b"third"]


def test_a_call_comes_back_as_it_was() -> None:
    arguments = {"a": 2**63, "text": "ä", "list": [1.5, None]}
    call = Call("add", arguments, id="x", tenant="t", parent="p", parents=[{"id": "q"}], retry=False)
    found = unpack(Kept(call, 12.5, "light", 3).pack())
    assert (found.accepted, found.queue, found.priority) == (12.5, "light", 3)
    assert found.call == call


def test_the_order_holds_over_segments_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 200)
    first = Outbox(tmp_path / "outbox")
    for number in range(20):
        first.add([kept(number)])
    whole = first.size
    for number in range(10):
        waiting = first.oldest()
        assert waiting is not None
        assert waiting.kept.id == f"id-{number}"
        first.done(waiting)
    assert first.calls == 10
    assert first.size < whole * 0.7, "segments that are delivered are deleted"
    first.close()

    second = Outbox(tmp_path / "outbox")
    # What stands in a segment that is not done yet is delivered again; delivery knows better.
    left = second.adopt()
    assert 10 <= left < 20
    second.add([kept(20)])
    assert "id-15" in second
    assert drain(second) == list(range(20 - left, 21))
    second.close()
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["lock"]


def test_the_box_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    first, second = Outbox(tmp_path), Outbox(tmp_path)
    first.add([kept(1)])
    second.add([kept(2)])
    assert first.adopt() == second.adopt() == 0
    second.close()
    assert first.adopt() == 1
    assert drain(first) == [2, 1]
    first.close()


def test_positions_grow_within_a_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 200)
    outbox = Outbox(tmp_path)
    positions = []
    for number in range(12):
        outbox.add([kept(number)])
        if number % 3:  # some wait while others are delivered, so that segments come and go
            waiting = outbox.oldest()
            assert waiting is not None
            positions.append(waiting.position)
            outbox.done(waiting)
    assert positions == sorted(set(positions))


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "state" / "outbox")
    usual = os.umask(0)
    try:
        outbox.add([kept(1)])
    finally:
        os.umask(usual)
    for path in (tmp_path / "state").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


YAML = "version: 1\nfunctions: {a: {handler: shop.py:sell}}\n"


@pytest.mark.parametrize(
    ("written", "said", "enabled", "source"),
    [
        ("", None, False, None),
        ("", "auto", True, "TUNDISH_OUTBOX"),
        ("", "true", True, "TUNDISH_OUTBOX"),
        ("outbox: false", "auto", False, "functions.yaml:3"),
        ("outbox: true", None, True, "functions.yaml:3"),
        ("outbox: true", "false", False, "TUNDISH_OUTBOX"),
        ("outbox: {max_bytes: 1MiB}", None, True, "functions.yaml:3"),
        ("outbox: {enabled: false, max_calls: 5}", "1", True, "TUNDISH_OUTBOX"),
    ],
)
def test_who_switches_it_on(tmp_path: Path, written: str, said: str | None, enabled: bool, source: str | None) -> None:
    (tmp_path / "shop.py").write_text("def sell(): ...\n")
    file = tmp_path / "functions.yaml"
    file.write_text(YAML + written)
    loaded = load({} if said is None else {"TUNDISH_OUTBOX": said}, file=file)
    assert loaded.settings.project.outbox.enabled is enabled
    assert loaded.sources.get(("outbox", "enabled")) == source


def test_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def sell(): ...\n")
    file = tmp_path / "functions.yaml"
    file.write_text(YAML + "outbox: {max_byte: 1}")
    with pytest.raises(ConfigError, match="did you mean max_bytes"):
        load({}, file=file)
    file.write_text(YAML)
    with pytest.raises(ConfigError, match="TUNDISH_OUTBOX: 'perhaps' is not one of"):
        load({"TUNDISH_OUTBOX": "perhaps"}, file=file)
