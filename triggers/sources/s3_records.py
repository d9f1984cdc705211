"""S3 event records, which MinIO, Silo, RustFS and AWS send in envelopes of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from triggers.sources.base import Hint


def hints(records: Iterable[Mapping[str, Any]], *, escaped: bool | None) -> list[Hint]:
    """One hint for each record `{"eventName", "s3": {"bucket": {"name"}, "object": {"key"}}}`.

    `escaped` says whether keys are query-escaped (a space is `+`). None: unknown, then both readings of a key that
    has two are hinted; the store knows which one there is.
    """
    found = []
    for record in records:
        # Reading an object is no change, and a function that reads its object would wake itself for ever.
        if "ObjectAccessed" in record.get("eventName", ""):
            continue
        bucket, key = record["s3"]["bucket"]["name"], record["s3"]["object"]["key"]
        plain = key if escaped is False else unquote_plus(key)
        found.append(Hint(bucket, plain))
        if escaped is None and plain != key:
            found.append(Hint(bucket, key))
    return found
