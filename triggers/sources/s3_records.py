"""S3 event records, which MinIO, Silo, RustFS and AWS send in envelopes of their own."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from triggers.sources.base import Hint
from triggers.sources.reading import take


def hints(records: Any, *, escaped: bool | None) -> list[Hint]:
    """One hint for each record `{"eventName", "s3": {"bucket": {"name"}, "object": {"key"}}}`; null: there are none.

    `escaped` says whether keys are query-escaped (a space is `+`). None: unknown, then both readings of a key that
    has two are hinted; the store knows which one there is. Raises ValueError.
    """
    if not isinstance(records, list | None):
        raise ValueError("`Records` is no list of records")
    found = []
    for record in records or ():
        # Reading an object is no change, and a function that reads its object would wake itself for ever.
        if isinstance(record, dict) and "ObjectAccessed" in str(record.get("eventName", "")):
            continue
        bucket = take(record, "s3", "bucket", "name", kind=str, of="a record")
        key = take(record, "s3", "object", "key", kind=str, of="a record")
        plain = key if escaped is False else unquote_plus(key)
        found.append(Hint(bucket, plain))
        if escaped is None and plain != key:
            found.append(Hint(bucket, key))
    return found
