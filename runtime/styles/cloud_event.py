"""functions-framework: `fn(cloud_event)`. A call that came as no CloudEvent becomes one."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from runtime.context import Context

STORAGE = "google.cloud.storage.object.v1"
CALL = "tundish.call"


class CloudEvent:
    """Attributes by `event["type"]` and `event.get("subject")`, the content by `event.data`."""

    def __init__(self, attributes: Mapping[str, Any], data: Any = None) -> None:
        self._attributes = dict(attributes)
        self.data = data

    def __getitem__(self, name: str) -> Any:
        return self._attributes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._attributes

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)

    def __repr__(self) -> str:
        return f"CloudEvent({self._attributes!r}, {self.data!r})"

    def get(self, name: str, default: Any = None) -> Any:
        return self._attributes.get(name, default)

    def get_attributes(self) -> Mapping[str, Any]:
        return dict(self._attributes)

    def get_data(self) -> Any:
        return self.data


def call(handler: Callable[..., Any], arguments: dict[str, Any], context: Context) -> Any:
    """One event; of a bucket trigger one for each object, one after the other, as Cloud Storage sends them."""
    if context.trigger == "bucket" and isinstance(arguments.get("objects"), list):
        events = [_stored(found, context) for found in arguments["objects"]]
        return _one_by_one(handler, events)
    return handler(CloudEvent(*_content(arguments, context)))


def _one_by_one(handler: Callable[..., Any], events: list[CloudEvent]) -> Any:
    if not inspect.iscoroutinefunction(handler):
        return [handler(event) for event in events]

    async def every() -> list[Any]:
        return [await handler(event) for event in events]

    return every()


def _content(arguments: dict[str, Any], context: Context) -> tuple[Mapping[str, Any], Any]:
    """Attributes and data: those of the event that the call came as, else such as say what the call is."""
    if context.event is None:
        attributes = {"specversion": "1.0", "id": context.id, "source": f"/functions/{context.function}", "type": CALL}
        return {**attributes, "time": _instant(context.accepted)}, arguments
    if set(arguments) == {"data_base64"}:
        return context.event, base64.b64decode(arguments["data_base64"])
    if set(arguments) == {"data"} and str(context.event.get("datacontenttype", "")).startswith("text/"):
        return context.event, arguments["data"]
    return context.event, arguments


def _stored(found: Mapping[str, Any], context: Context) -> CloudEvent:
    """What Cloud Storage says of an object that came or went. Numbers are texts there."""
    bucket, key, created = found["bucket"], found["key"], found["event"] == "created"
    time = _instant(context.accepted)
    attributes = {
        "specversion": "1.0",
        "id": f"{context.id}-{found['seq']}",
        "source": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        "type": f"{STORAGE}.{'finalized' if created else 'deleted'}",
        "subject": f"objects/{key}",
        "time": time,
        "datacontenttype": "application/json",
    }
    data = {
        "kind": "storage#object",
        "id": f"{bucket}/{key}/{found['seq']}",
        "bucket": bucket,
        "name": key,
        "generation": str(found["seq"]),
        "metageneration": "1",
        "size": str(found["size"] or 0),
        "etag": found["etag"] or "",
        "timeCreated": time,
        "updated": time,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket}/o/{quote(key, safe='')}",
    }
    return CloudEvent(attributes, data)


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
