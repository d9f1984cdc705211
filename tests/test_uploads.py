"""What `tundish put` says of progress and of each file, over a gateway that is played here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from runtime.cli import client as cli_client
from runtime.cli import uploads
from runtime.cli.client import Client, Refused
from runtime.cli.main import cli
from runtime.cli.uploads import Uploads, fate_known


class Gateway:
    """Takes what is put, and tells the statuses of each key one after the other; the last one stays."""

    def __init__(self, **statuses: list[dict[str, Any] | None]) -> None:
        self.statuses, self.taken = statuses, dict[str, bytes]()
        self.headers = {"ETag": '"e"'}

    def call(self, method: str, path: str, *, body: Any, headers: dict[str, str], timeout: float) -> Gateway:
        assert (method, timeout) == ("PUT", 300.0)
        data = b""
        while part := body.read(2**20):
            data += part
        assert headers["Content-Length"] == str(len(data))
        self.taken[path] = data
        return self

    def get(self, path: str, **fields: str) -> Any:
        if path == "/admin/index-version":
            return {"newest": {"held": fields["index"] == "old"}}
        found = self.statuses[path.removeprefix("/documents/docs/")]
        told = found.pop(0) if len(found) > 1 else found[0]
        if told is None:
            raise Refused(404, {})
        return told


def status(word: str, **more: Any) -> dict[str, Any]:
    return {"status": word, "etag": "e", "reason": None, **more}


def run(
    folder: Path, gateway: Gateway, sizes: dict[str, int], *, wait: bool = True
) -> tuple[list[tuple[str, str, bool]], list[tuple[float, float, str]]]:
    """(key, word, ok) of each file in the order in which they were told, and what a bar was shown."""
    told: list[tuple[str, str, bool]] = []
    shown: list[tuple[float, float, str]] = []
    for name, size in sizes.items():
        (folder / name).write_bytes(b"x" * size)
    client = Uploads(
        cast(Client, gateway),
        "docs",
        lambda one: told.append((one["key"], one["status"], one["ok"])),
        lambda done, total, message: shown.append((done, total, message)),
    )
    client.run([(folder / name, name) for name in sizes], wait=wait)
    return told, shown


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_POLL_SECONDS", 0)


def test_bytes_are_counted_while_they_go(tmp_path: Path) -> None:
    gateway = Gateway(a=[status("unwatched", reason="no trigger")], b=[status("unwatched", reason="no trigger")])
    told, shown = run(tmp_path, gateway, {"a": 3 * 2**20, "b": 2**20}, wait=False)
    assert [len(data) for data in gateway.taken.values()] == [3 * 2**20, 2**20]
    assert told == [("a", "stored", True), ("b", "stored", True)]
    assert [one for one in shown if one[2].endswith("a")][:3] == [
        (1.0, 4.0, "MiB uploaded: a"),
        (2.0, 4.0, "MiB uploaded: a"),
        (3.0, 4.0, "MiB uploaded: a"),
    ]
    assert shown[-1] == (4.0, 4.0, "MiB uploaded: b")


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    told: list[Any] = []
    gateway = Gateway(a=[status("completed", searchable=True, notes=["page 2 is damaged"])])
    client = Uploads(cast(Client, gateway), "docs", told.append, lambda *_: None)
    assert client.run([(tmp_path / "a", "a")], wait=True) == told
    assert [(one["status"], one["notes"]) for one in told] == [("searchable", ["page 2 is damaged"])]


def test_documents_are_counted_until_each_is_searchable(tmp_path: Path) -> None:
    pending, done = status("pending"), status("completed", searchable=True)
    gateway = Gateway(
        a=[None, None, pending, status("processing"), status("completed", searchable=False), done],
        b=[None, pending, done],
    )
    told, shown = run(tmp_path, gateway, {"a": 1, "b": 1})
    assert told == [("b", "searchable", True), ("a", "searchable", True)]
    assert [one for one in shown if "uploaded" not in one[2]] == [
        (0, 2, "a: pending"),
        (0, 2, "b: pending"),
        (0, 2, "a: pending"),
        (1, 2, "a: processing"),
        (1, 2, "a: indexing"),
    ]


def test_each_fate_has_its_word(tmp_path: Path) -> None:
    gateway = Gateway(
        ended=[None, status("completed")],
        bad=[None, status("failed", reason="it is encrypted")],
        gone=[None, status("removed")],
        large=[None, status("unwatched", reason="it has 9 GiB, more than max_size 1GiB")],
    )
    told, _ = run(tmp_path, gateway, dict.fromkeys(gateway.statuses, 1))
    assert {key: (word, ok) for key, word, ok in told} == {
        "ended": ("done", True),
        "bad": ("failed", False),
        "gone": ("removed", False),
        "large": ("stored", True),
    }


def test_news_of_older_bytes_is_none(tmp_path: Path) -> None:
    assert not fate_known({**status("failed"), "etag": "older"}, "e")
    assert fate_known(status("failed"), "e")


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_name_that_is_not_utf8_is_refused_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a.txt", b"b\xff.txt", b"c\\d.txt", b"z.txt"):
        (folder / os.fsdecode(name)).write_bytes(b"x")
    gateway = Gateway()
    gateway.statuses = {f"odd/{name}.txt": [status("completed", searchable=True)] for name in "az"}
    monkeypatch.setattr(cli_client, "find", lambda _: gateway)
    done = CliRunner().invoke(cli, ["put", str(folder), "--bucket", "docs", *words], obj={})
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1, done.exception
    assert list(gateway.taken) == ["/buckets/docs/odd/a.txt", "/buckets/docs/odd/z.txt"]
    if words:
        told = {one["key"]: one for one in json.loads(done.stdout)}
        assert told["odd/b\\xff.txt"]["status"] == "refused" and told["odd/z.txt"]["status"] == "searchable"
    else:
        assert "2 of 4 files" in done.stdout
        line = next(line for line in done.stderr.splitlines() if "xff" in line)
        assert line.startswith("refused    docs/odd/b\\xff.txt: ") and "it is not valid Unicode" in line


def test_what_a_rollback_holds_back_is_not_waited_for(tmp_path: Path) -> None:
    """Nothing more would happen before somebody releases the index; one that is not held is waited for."""
    done = status("completed", searchable=False)
    free = done | {"triggers": [{"index": "new"}]}
    gateway = Gateway(
        a=[done | {"triggers": [{"index": "old"}]}],
        b=[free, free, status("completed", searchable=True)],
        c=[status("completed", etag="older", searchable=False, triggers=[{"index": "old"}]), status("failed")],
    )
    for name, word, ok in (("a", "embedded", True), ("b", "searchable", True), ("c", "failed", False)):
        assert run(tmp_path, gateway, {name: 1})[0] == [(name, word, ok)]
