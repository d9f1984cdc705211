"""SeaweedFS's filer webhook: its own JSON, about the filer's entries and not only about objects.

`{"event_type": "create|update|delete|rename", "key": "/buckets/BUCKET/KEY", "message": {"old_entry", "new_entry",
"new_parent_path", …}}`. Folders are entries too; multipart uploads and versions show their inner files.
"""

from __future__ import annotations

import json
from typing import Any

from triggers.sources.base import Hint

_ROOT = "/buckets/"
_UPLOADS = ".uploads"
_VERSIONS = ".versions"
_EVENTS = ("create", "update", "delete", "rename")


def parse(body: bytes) -> list[Hint]:
    told = json.loads(body)
    event, message = told["event_type"], told.get("message") or {}
    if event not in _EVENTS:
        raise ValueError(f"unknown event_type {event!r}")
    old, new = message.get("old_entry") or {}, message.get("new_entry") or {}
    hints = _about(told["key"], old or new, event)
    if event == "rename":  # `key` is where it was; where it went stands in the message
        hints += _about(f"{message['new_parent_path']}/{new['name']}", new, event)
    return hints


def _about(path: str, entry: dict[str, Any], event: str) -> list[Hint]:
    if not path.startswith(_ROOT):
        return []
    bucket, _, key = path.removeprefix(_ROOT).partition("/")
    parts = key.split("/")
    if parts[0] == _UPLOADS:
        return []  # an upload that is not complete; the finished object has an event of its own
    for number, part in enumerate(parts):
        if part.endswith(_VERSIONS) and part != _VERSIONS:
            # KEY.versions/ holds the versions of KEY; which one is current only the store knows.
            return [Hint(bucket, "/".join([*parts[:number], part.removesuffix(_VERSIONS)]))]
    if entry.get("is_directory"):
        # A new folder is empty. One that went or moved may have taken objects along without a word about them.
        return [Hint(bucket, f"{key}/" if key else "", "folder")] if event in ("delete", "rename") else []
    return [Hint(bucket, key)] if key else []
