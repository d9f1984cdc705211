"""`POST /events/SOURCE`: bucket notifications in. They are hints: kept raw, never understood here."""

from __future__ import annotations

import hmac
import time

from starlette.requests import Request
from starlette.responses import Response

from gateway import body, state
from gateway.problems import refuse
from runtime import event_letters, keys

SOURCES = ("seaweedfs", "minio")
LIMIT = 2**20


async def receive(request: Request) -> Response:
    """204 for everything that carries the token: a store would send again, or hold up others, what is refused."""
    gateway, source = state.of(request), request.path_params["source"]
    if source not in SOURCES:
        refuse(404, f"There is no source of events called {source}; there is {', '.join(SOURCES)}.")
    _check(request, gateway.settings.event_token)
    try:
        raw = await body.read_up_to(request, LIMIT)
    except body.Oversized:  # no notification is this large; the listing finds what it was about
        await event_letters.keep_async(gateway.redis, source, b"", f"It has more than {LIMIT} bytes.")
        raw = b""
    if raw and not (source == "seaweedfs" and _is_own(gateway, raw)):
        await hint(gateway, source, raw)
    return Response(status_code=204)


async def hint(gateway: state.Gateway, source: str, raw: bytes) -> None:
    """Put a hint into the stream that the bucket triggers read."""
    fields = {"source": source, "body": raw, "at": int(time.time())}
    await gateway.redis.xadd(keys.EVENTS, fields, maxlen=keys.EVENTS_CAP, approximate=True)  # type: ignore[arg-type]


def _is_own(gateway: state.Gateway, raw: bytes) -> bool:
    """Whether SeaweedFS tells of our own bucket. It is written ten times for one document, and mostly unwatched."""
    own = gateway.settings.store.bucket
    return f'"key":"/buckets/{own}/'.encode() in raw and own not in gateway.project.buckets()


def _check(request: Request, token: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    fits = hmac.compare_digest(given.strip().encode(), token.encode())
    if not token or scheme.lower() != "bearer" or not fits:
        known = "" if token else " This gateway has none: set TUNDISH_EVENT_TOKEN."
        refuse(
            401,
            f"Notifications need the header `Authorization: Bearer TOKEN` with the token of `tundish env`.{known}",
            headers={"WWW-Authenticate": 'Bearer realm="tundish events"'},
        )
