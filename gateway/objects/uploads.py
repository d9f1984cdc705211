"""`PUT|GET|DELETE /buckets/BUCKET/KEY`: the store through the gateway, streamed both ways."""

from __future__ import annotations

import contextlib
import json
import logging
from urllib.parse import quote

import redis
from pydantic_core import to_json
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway import state
from gateway.access import tenancy
from gateway.access.permission import beyond
from gateway.calls.incoming import Incoming, too_large
from gateway.objects import charging, events
from gateway.web import principal, streamed
from gateway.web.call_headers import trace_of
from gateway.web.keypath import bucket_and_key
from gateway.web.problems import refuse
from runtime.buckets.watch import watches
from runtime.store.stamped import STATE, TRACE
from runtime.values.trace_context import headers

# What somebody uploaded must not run as a page of this gateway's own origin.
_SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'", "Content-Disposition": "attachment"}
log = logging.getLogger("tundish.gateway")


async def put(request: Request) -> Response:
    """Store an object and say who will process it. A known `Content-Length` saves a multipart upload."""
    gateway = state.of(request)
    bucket, key = bucket_and_key(request)
    tenancy.check_new_object(request, bucket, key)
    _writable(gateway, bucket)
    _callable(request, gateway, bucket, key, "created")
    limit = gateway.project.limits.upload
    declared = request.headers.get("content-length", "")
    length = int(declared) if declared.isdecimal() else None
    if length is not None and length > limit:
        too_large(limit)
    await _ensure_bucket(gateway, bucket)
    data = Incoming(request.stream(), limit)
    content_type = request.headers.get("content-type", "")
    owner, caller = gateway.owners.of(bucket, key), principal.of(request).name
    async with charging.charged(gateway, owner, f"{bucket}/{key}", length, caller) as came:
        send, trace = gateway.store.put_stream, written_in(request.headers)
        etag = await gateway.in_thread(send, bucket, key, data, length, content_type, trace)
        came(data.size)
    await _hint(gateway, bucket, key, "created")
    place = f"/documents/{bucket}/{quote(key)}"
    watching = _watching(gateway, bucket, key, "created")
    told = {
        "bucket": bucket,
        "key": key,
        "etag": etag,
        "size": data.size,
        "status_url": place,
        "watched_by": watching,
    }
    if not watching:
        told["warning"] = _unwatched(gateway, bucket, key)
    return Response(to_json(told), headers={"ETag": f'"{etag}"', "Location": place}, media_type="application/json")


async def get(request: Request) -> Response:
    """The object's bytes, always as a download. `HEAD` asks the store for the headers only."""
    gateway = state.of(request)
    bucket, key = bucket_and_key(request)
    tenancy.check_object(request, bucket, key)
    if request.method == "HEAD":
        info = await gateway.in_thread(gateway.store.head, bucket, key)
        headers = {"ETag": f'"{info.etag}"', "Content-Length": str(info.size), **_SANDBOX}
        return Response(headers=headers, media_type=info.content_type or "application/octet-stream")
    upstream = await gateway.in_thread(gateway.store.stream, bucket, key)
    passed = {name: upstream.headers[name] for name in ("ETag", "Content-Length") if name in upstream.headers}
    content_type = upstream.headers.get("Content-Type", "application/octet-stream")
    stream = streamed.chunks(gateway, upstream)
    return StreamingResponse(stream, headers={**passed, **_SANDBOX}, media_type=content_type)


async def delete(request: Request) -> Response:
    """Remove an object; removing what is not there is no error. Its rows leave the index soon after."""
    gateway = state.of(request)
    bucket, key = bucket_and_key(request)
    tenancy.check_new_object(request, bucket, key)
    _writable(gateway, bucket)
    _callable(request, gateway, bucket, key, "removed")
    await gateway.in_thread(gateway.store.delete, bucket, key)
    await _hint(gateway, bucket, key, "removed")
    return Response(status_code=204)


def written_in(given: Headers) -> dict[str, str]:
    """The metadata of an upload: the trace that what comes of it goes on in, where its request has one."""
    return headers(trace_of(given.getlist(TRACE), given.getlist(STATE)))


def _writable(gateway: state.Gateway, bucket: str) -> None:
    if bucket == gateway.settings.store.bucket:
        refuse(403, f"The bucket {bucket} holds Tundish's own objects and is not written through the gateway.")


def _callable(request: Request, gateway: state.Gateway, bucket: str, key: str, event: str) -> None:
    """403 where the object would call a function that this key may not call."""
    if told := beyond(request, _watching(gateway, bucket, key, event)):
        refuse(403, f"{bucket}/{key} {told}")


async def _ensure_bucket(gateway: state.Gateway, bucket: str) -> None:
    """A watched bucket is made when it is missing; any other has to be there."""
    if bucket in gateway.buckets:
        return
    watched = gateway.project.buckets()
    if bucket in watched:
        await gateway.in_thread(gateway.store.ensure_bucket, bucket)
    elif not await gateway.in_thread(gateway.store.bucket_exists, bucket):
        named = ", ".join(watched) or "none yet"
        refuse(
            404,
            f"There is no bucket {bucket}. Buckets with a trigger: {named}. To watch another one, add a trigger "
            f"`bucket: {bucket}` in functions.yaml.",
        )
    gateway.buckets.add(bucket)


async def _hint(gateway: state.Gateway, bucket: str, key: str, event: str) -> None:
    """Wake the triggers, whatever the store can do. When the broker is away their listing finds the object."""
    note = json.dumps({"bucket": bucket, "key": key, "event": event}).encode()
    with contextlib.suppress(redis.RedisError, OSError):
        await events.hint(gateway, "gateway", note)


def _watching(gateway: state.Gateway, bucket: str, key: str, event: str) -> list[str]:
    found = [
        watch.function.name
        for watch in watches(gateway.project)
        if watch.trigger.bucket == bucket and event in watch.trigger.events and watch.wants(key)
    ]
    return list(dict.fromkeys(found))


def _unwatched(gateway: state.Gateway, bucket: str, key: str) -> str:
    mine = [trigger for _, trigger in gateway.project.bucket_triggers() if trigger.bucket == bucket]
    if not mine:
        return f"stored, but no function watches the bucket {bucket}; see triggers in functions.yaml"
    wanted = "; ".join(f"{trigger.prefix}*{'|'.join(trigger.suffix)}" for trigger in mine)
    return f"stored, but no function takes {key!r}: the triggers of {bucket} take {wanted}; see functions.yaml"
