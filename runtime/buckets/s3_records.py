"""Amazon S3's notification records, made of the objects that a bucket trigger hands out, and read back.

For functions that were written for another runner. What nobody here knows (who wrote, from where, under which
request) is there with a neutral value, so that code which reads every field finds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, unquote_plus

VERSION = "2.1"


def records(objects: Sequence[Mapping[str, Any]], region: str, at: float, source: str) -> list[dict[str, Any]]:
    """One record of version 2.1 for each of `objects` (`{bucket, key, event, etag, size, seq}`).

    `at` (seconds since the epoch) becomes `eventTime`, `source` the `configurationId`. As S3 sends them: keys are
    query-escaped, a removal has neither size nor etag, and of two records of one key the one with the greater
    `sequencer` is the newer.
    """
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [_record(one, region, time, source) for one in objects]


def _record(one: Mapping[str, Any], region: str, time: str, source: str) -> dict[str, Any]:
    created = one["event"] == "created"
    about: dict[str, Any] = {"key": quote_plus(one["key"], safe="/")}
    if created:
        about |= {"size": one["size"], "eTag": one["etag"] or ""}
    return {
        "eventVersion": VERSION,
        "eventSource": "aws:s3",
        "awsRegion": region,
        "eventTime": time,
        "eventName": "ObjectCreated:Put" if created else "ObjectRemoved:Delete",
        "userIdentity": {"principalId": "tundish"},
        "requestParameters": {"sourceIPAddress": "0.0.0.0"},  # noqa: S104  # not an address to listen on
        "responseElements": {"x-amz-request-id": "", "x-amz-id-2": ""},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": source,
            "bucket": {
                "name": one["bucket"],
                "ownerIdentity": {"principalId": "tundish"},
                "arn": f"arn:aws:s3:::{one['bucket']}",
            },
            "object": {**about, "sequencer": f"{one['seq']:016X}"},
        },
    }


def keys_in(arguments: Mapping[str, Any], bucket: str) -> list[str]:
    """The keys of a bucket that a trigger handed out with these arguments, in whichever shape."""
    return [key for place, key in _places(arguments) if place == bucket and isinstance(key, str)]


def _places(arguments: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    for item in _mappings(arguments.get("objects")):
        yield item.get("bucket"), item.get("key")
    event = arguments.get("event")
    listed = event.get("Records") if isinstance(event, dict) else arguments.get("Records")
    for item in _mappings(listed):
        try:
            yield item["s3"]["bucket"]["name"], unquote_plus(item["s3"]["object"]["key"])
        except (KeyError, TypeError, AttributeError):
            continue  # somebody else's idea of a record


def _mappings(listed: Any) -> list[dict[str, Any]]:
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
