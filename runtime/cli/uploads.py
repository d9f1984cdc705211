"""Uploading files and following each document until its fate is known."""

from __future__ import annotations

import mimetypes
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from runtime.cli.client import Client, Refused, object_path
from runtime.errors import BadInput
from runtime.store.names import check_new_key

PATIENCE_SECONDS = 300.0
"""Without any news of any document for this long, waiting ends."""

_HELD_SECONDS = 1.0
_POLL_SECONDS = 0.1
Told = dict[str, Any]


def collect(files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Files with their keys: a file's name; for a folder, its name and the path below it. Hidden files are left out.

    Raises click.UsageError for what does not exist.
    """
    for path in files:
        if path.is_dir():
            base = path.parent if path.name not in ("", "..") else path
            for folder, below, names in os.walk(path):
                below[:] = sorted(name for name in below if not name.startswith("."))
                for name in sorted(names):
                    found = Path(folder) / name
                    if not name.startswith(".") and found.is_file():
                        yield found, found.relative_to(base).as_posix()
        elif path.is_file():
            yield path, path.name
        else:
            raise click.UsageError(f"{path}: there is no such file or folder.")


class Counted:
    """A file that is read once, from the start to the end; `count` hears of the bytes of each part."""

    def __init__(self, file: BinaryIO, count: Callable[[int], None]) -> None:
        self._file, self._count = file, count

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._count(len(part))
        return part


class Uploads:
    """Uploads to one bucket.

    `tell` hears of every document whose fate is known, `show` of progress: how much is done, of how much, and of what.
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        tell: Callable[[Told], None],
        show: Callable[[float, float, str], None] = lambda *_: None,
    ) -> None:
        self._client, self._bucket, self._tell, self._show = client, bucket, tell, show
        self._sent = self._size = 0
        self._ask_at = 0.0

    def run(self, files: Sequence[tuple[Path, str]], *, wait: bool) -> list[Told]:
        """Upload all, then (with `wait`) follow them; one dictionary per file: key, status, ok, reason."""
        results: dict[str, Told] = {}
        waiting: dict[str, str] = {}
        self._sent, self._size = 0, sum(path.stat().st_size for path, _ in files if path.is_file())
        for path, key in files:
            try:
                check_new_key(key)
                etag = self._upload(path, key)
            except (BadInput, Refused, OSError) as error:
                self._settle(results, key, "refused", ok=False, reason=f"{_shown(str(path))}: {error}")
                continue
            status = self._status(key)
            if status and status["status"] == "unwatched":
                self._settle(results, key, "stored", ok=True, reason=f"not indexed. {status['reason']}")
            elif wait:
                waiting[key] = etag
            else:
                self._settle(results, key, "stored", ok=True)
        self._follow(waiting, results)
        return [results[key] for _, key in files]

    def _upload(self, path: Path, key: str) -> str:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"

        def count(size: int) -> None:
            self._sent += size
            self._show(_mebibytes(self._sent), _mebibytes(self._size), f"MiB uploaded: {key}")

        with path.open("rb") as file:
            headers = {"Content-Type": kind, "Content-Length": str(os.fstat(file.fileno()).st_size)}
            place, body = object_path("buckets", self._bucket, key), Counted(file, count)
            answer = self._client.call("PUT", place, body=body, headers=headers, timeout=300.0)
        return answer.headers.get("ETag", "").strip('"')

    def _status(self, key: str) -> Told | None:
        try:
            found: Told = self._client.get(object_path("documents", self._bucket, key))
        except Refused as error:
            if error.status == 404:  # the trigger has not looked yet
                return None
            raise
        return found

    def _follow(self, waiting: dict[str, str], results: dict[str, Told]) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while waiting and time.monotonic() < until:
            for key, etag in list(waiting.items()):
                status = self._status(key)
                if status and (reason := self._held_back(status, etag)):
                    del waiting[key]
                    self._settle(results, key, "embedded", ok=True, reason=reason)
                    continue
                if status is None or not fate_known(status, etag):
                    word = status["status"] if status else "pending"
                    done = len(results)
                    self._show(done, done + len(waiting), f"{key}: {'indexing' if word == 'completed' else word}")
                    continue
                del waiting[key]
                until = time.monotonic() + PATIENCE_SECONDS
                failed = status["status"] in ("failed", "removed")
                notes = status.get("notes") or ()
                self._settle(results, key, _word(status), ok=not failed, reason=status.get("reason"), notes=notes)
            if waiting:
                time.sleep(_POLL_SECONDS)
        for key in waiting:
            reason = "stored, but not processed yet; `tundish buckets` and `tundish doctor` say more"
            self._settle(results, key, "late", ok=False, reason=reason)

    def _held_back(self, status: Told, etag: str) -> str | None:
        """Why a document that is embedded will not be searchable until somebody says so; asked now and then."""
        if status["status"] != "completed" or status.get("searchable", True) or time.monotonic() < self._ask_at:
            return None
        self._ask_at = time.monotonic() + _HELD_SECONDS
        if (status.get("etag") or etag).strip('"') != etag:
            return None
        for name in {trigger["index"] for trigger in status.get("triggers", ()) if trigger["index"]}:
            newest = self._client.get("/admin/index-version", index=name)["newest"]
            if newest and newest["held"]:
                return f"a rollback holds the index {name}; `tundish index release --index {name}` publishes it"
        return None

    def _settle(
        self,
        results: dict[str, Told],
        key: str,
        status: str,
        *,
        ok: bool,
        reason: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        told = {"bucket": self._bucket, "key": _shown(key), "status": status, "ok": ok, "reason": reason}
        results[key] = told | {"notes": list(notes)}
        self._tell(results[key])


def fate_known(status: Mapping[str, Any], etag: str) -> bool:
    """Whether a document's status is the last word on the object with this etag."""
    if status.get("etag") and etag and status["etag"].strip('"') != etag:
        return False  # of the object that was there before
    if status["status"] == "completed":
        return bool(status.get("searchable", True))
    return status["status"] in ("failed", "removed", "unwatched")


def _word(status: Mapping[str, Any]) -> str:
    """A fate in the words of somebody who put a file there."""
    done = "searchable" if status.get("searchable") else "done"
    words: dict[str, str] = {"completed": done, "unwatched": "stored"}
    return words.get(status["status"], str(status["status"]))


def _shown(name: str) -> str:
    """A name that can be printed: bytes that are not UTF-8 as `\\xff`."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _mebibytes(size: int) -> float:
    return round(size / 2**20, 1)
