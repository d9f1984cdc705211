"""Calling a function in a test as a worker does, and the objects that a bucket trigger would hand it."""

from __future__ import annotations

import asyncio
import inspect
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from runtime.context import File, ObjectEvent, Store


def uploaded(
    store: Store, bucket: str, key: str, data: bytes = b"", content_type: str = "application/octet-stream"
) -> ObjectEvent:
    """Put an object into a store; returns what its trigger tells of it. For a function's `objects`."""
    etag = store.put(bucket, key, data, content_type=content_type)
    return ObjectEvent(bucket, key, "created", etag, len(data), time.time_ns())


def removed(store: Store, bucket: str, key: str) -> ObjectEvent:
    """Delete an object, if it is there; returns what its trigger tells of it."""
    store.delete(bucket, key)
    return ObjectEvent(bucket, key, "removed", seq=time.time_ns())


def s3_event(*objects: ObjectEvent) -> dict[str, Any]:
    """The same objects as Amazon S3 tells Lambda of them: `{"Records": [...]}`, for a function's `event`."""
    from runtime.buckets.s3_records import records

    return {"Records": records([asdict(one) for one in objects], "us-east-1", time.time(), "test")}


def run(result: Any) -> Any:
    """What a function gives in the end: coroutines are awaited, what it yields is gathered in a list.

    Raises TypeError for a result that no caller could be sent.
    """
    from runtime.attempts.encode import encode_result
    from runtime.attempts.generators import yields, yields_async

    if inspect.isawaitable(result) or yields_async(result):
        with ThreadPoolExecutor(1) as pool:  # where the test itself is async, a loop runs in this thread already
            result = pool.submit(asyncio.run, _awaited(result)).result()
    if yields(result):
        result = list(result)
    if not isinstance(result, File) and not hasattr(result, "read"):  # a file is not read before the test has it
        encode_result(result)
    return result


async def _awaited(result: Any) -> Any:
    from runtime.attempts.generators import yields_async

    found = await result if inspect.isawaitable(result) else result
    return [item async for item in found] if yields_async(found) else found
