"""A result that is a file: its bytes as the body of an answer, and what the task API tells of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from gateway.web import streamed
from runtime.file_document import file_of, shown

if TYPE_CHECKING:
    from gateway.state import Gateway
    from runtime.invocations.invocation import Invocation

# What a function returned must not run as a page of this gateway's own origin.
_SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
# The connection's own, and those that would let a function speak for the gateway.
_NOT_ITS = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "keep-alive",
        "server",
        "date",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-security-policy",
        "x-content-type-options",
        "x-call-id",
    }
)


async def respond(gateway: Gateway, record: Invocation, more: Mapping[str, str]) -> Response:
    """The body of a result that is a file. Raises ObjectMissing, StoreDown, StoreDenied."""
    told: dict[str, Any] = json.loads(record.result_json or b"{}")
    status = int(told.get("status", 200))
    headers = {**_named(told.get("name")), **_SANDBOX, **more}
    kind = str(told["content_type"])
    if reference := told.get("ref"):
        upstream = await gateway.in_thread(gateway.store.stream, gateway.store.bucket, reference)
        if "Content-Length" in upstream.headers:
            headers["Content-Length"] = upstream.headers["Content-Length"]
        made: Response = StreamingResponse(streamed.chunks(gateway, upstream), status)
    else:
        data = await run_in_threadpool(file_of(told, None).read)
        made = Response(b"" if status in (204, 304) else data, status)
    for name, text in told.get("headers") or ():
        if name.lower() not in _NOT_ITS:
            made.headers.append(name, text)
    made.headers.update(headers)
    made.headers["Content-Type"] = kind  # as it was given: no charset is added
    return made


def described(record: Invocation, place: str) -> bytes:
    """What the task API shows for the result: which file it is, and where it can be had."""
    told = shown(json.loads(record.result_json or b"{}"))
    return json.dumps({**told, "url": f"{place}/result"}).encode()


def _named(name: str | None) -> dict[str, str]:
    if not name:
        return {}
    plain = name.encode("ascii", "replace").decode().replace('"', "'").replace("\\", "_")
    plain = "".join(letter if letter.isprintable() else "_" for letter in plain)
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}
