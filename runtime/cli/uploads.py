"""Uploading files and following each document until its fate is known."""

from __future__ import annotations

import mimetypes
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from runtime.cli.client import Client, Refused, object_path

PATIENCE_SECONDS = 300.0
"""Without any news of any document for this long, waiting ends."""

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


class Uploads:
    """Uploads to one bucket; `tell` hears of every document whose fate is known."""

    def __init__(self, client: Client, bucket: str, tell: Callable[[Told], None]) -> None:
        self._client, self._bucket, self._tell = client, bucket, tell

    def run(self, files: Sequence[tuple[Path, str]], *, wait: bool) -> list[Told]:
        """Upload all, then (with `wait`) follow them; one dictionary per file: key, status, ok, reason."""
        results: dict[str, Told] = {}
        waiting: dict[str, str] = {}
        for path, key in files:
            try:
                etag = self._upload(path, key)
            except (Refused, OSError) as error:
                self._settle(results, key, "refused", ok=False, reason=f"{path}: {error}")
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
        with path.open("rb") as file:
            headers = {"Content-Type": kind, "Content-Length": str(os.fstat(file.fileno()).st_size)}
            answer = self._client.call(
                "PUT", object_path("buckets", self._bucket, key), body=file, headers=headers, timeout=300.0
            )
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
                if status is None or not fate_known(status, etag):
                    continue
                del waiting[key]
                until = time.monotonic() + PATIENCE_SECONDS
                failed = status["status"] in ("failed", "removed")
                word = status["status"] if failed else "searchable" if status.get("searchable") else "done"
                self._settle(results, key, word, ok=not failed, reason=status.get("reason"))
            if waiting:
                time.sleep(_POLL_SECONDS)
        for key in waiting:
            reason = "stored, but not processed yet; look again with: tundish functions, or at the log of `tundish up`"
            self._settle(results, key, "late", ok=False, reason=reason)

    def _settle(self, results: dict[str, Told], key: str, status: str, *, ok: bool, reason: str | None = None) -> None:
        results[key] = {"bucket": self._bucket, "key": key, "status": status, "ok": ok, "reason": reason}
        self._tell(results[key])


def fate_known(status: Mapping[str, Any], etag: str) -> bool:
    """Whether a document's status is the last word on the object with this etag."""
    if status.get("etag") and etag and status["etag"].strip('"') != etag:
        return False  # of the object that was there before
    if status["status"] == "completed":
        return bool(status.get("searchable", True))
    return status["status"] in ("failed", "removed", "unwatched")
