"""SeaweedFS's filer webhook: its own JSON, about the filer's entries and not only about objects.

`{"event_type": "create|update|delete|rename", "key": "/buckets/BUCKET/KEY", "message": {"old_entry", "new_entry",
"new_parent_path", …}}`. Folders are entries too; multipart uploads and versions show their inner files.
"""

from __future__ import annotations

from typing import Any

from triggers.sources.base import Hint
from triggers.sources.reading import document, take

_ROOT = "/buckets/"
_UPLOADS = ".uploads"
_VERSIONS = ".versions"
_EVENTS = ("create", "update", "delete", "rename")


def parse(body: bytes) -> list[Hint]:
    told = document(body)
    event, key = take(told, "event_type", kind=str), take(told, "key", kind=str)
    if event not in _EVENTS:
        raise ValueError(f"`event_type` is {event[:80]!r}; one of {', '.join(_EVENTS)} was expected")
    message = _entry(told, "message")
    old, new = _entry(message, "old_entry"), _entry(message, "new_entry")
    hints = _about(key, old or new, event)
    if event == "rename":  # `key` is where it was; where it went stands in the message
        parent = take(message, "new_parent_path", kind=str, of="`message`")
        name = take(new, "name", kind=str, of="`new_entry`")
        hints += _about(f"{parent}/{name}", new, event)
    return hints


def _entry(found: dict[str, Any], name: str) -> dict[str, Any]:
    """An object that may be left out, or null."""
    entry: dict[str, Any] = take(found, name, kind=dict) if found.get(name) is not None else {}
    return entry


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
