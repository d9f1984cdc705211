"""`POST /events/SOURCE`: bucket notifications in. They are hints: kept raw, never understood here.

They carry the token, or are signed with it as Standard Webhooks describes it.
"""

from __future__ import annotations

import hmac
import time
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.web import body
from gateway.web.problems import refuse
from runtime import keys
from runtime.buckets import event_letters
from runtime.security import callback_sign

SOURCES = ("seaweedfs", "minio")
LIMIT = 2**20
SIGNED_SECONDS = 300.0
"""How old a signed notification may be: an older one may be a copy that somebody kept."""


async def receive(request: Request) -> Response:
    """204 for everything that carries the token: a store would send again, or hold up others, what is refused.

    401 without it, 429 where too many wrong ones came from an address.
    """
    gateway, source = state.of(request), request.path_params["source"]
    if source not in SOURCES:
        refuse(404, f"There is no source of events called {source}; there is {', '.join(SOURCES)}.")
    signed = _check(request, gateway)
    try:
        raw = await body.read_up_to(request, LIMIT)
    except body.Oversized:  # no notification is this large; the listing finds what it was about
        if signed:
            _refuse(request, gateway, "it is too large to check its signature")
        await event_letters.keep_async(gateway.redis, source, b"", f"It has more than {LIMIT} bytes.")
        raw = b""
    if signed and not _fits(request, gateway.settings.event_token, raw):
        _refuse(request, gateway, "its signature or its time is wrong")
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


def _check(request: Request, gateway: state.Gateway) -> bool:
    """Whether it says that it is signed, which can be checked when all of it is here. 401 without a token."""
    token = gateway.settings.event_token
    if token and "webhook-signature" in request.headers:
        return True
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    fits = hmac.compare_digest(given.strip().encode(), token.encode())
    if not token or scheme.lower() != "bearer" or not fits:
        _refuse(request, gateway, "it has no token, or a wrong one")
    return False


def _fits(request: Request, token: str, raw: bytes) -> bool:
    """Whether one of its signatures is right, and of now."""
    message, told = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
    if not told.isdecimal() or len(told) > 12 or abs(time.time() - int(told)) > SIGNED_SECONDS:
        return False
    expected = callback_sign.headers(callback_sign.key_of(token), message, int(told), raw)["webhook-signature"]
    given = request.headers["webhook-signature"].split()
    return any(hmac.compare_digest(one.encode(), expected.encode()) for one in given)


def _refuse(request: Request, gateway: state.Gateway, why: str) -> NoReturn:
    gateway.auth.hold_back(request)  # only now: who has the token is heard, whoever else fails at its address
    gateway.auth.failed(request, f"a notification: {why}")
    known = "" if gateway.settings.event_token else " This gateway has none: set TUNDISH_EVENT_TOKEN."
    refuse(
        401,
        "Notifications need the header `Authorization: Bearer TOKEN` with the token of `tundish env`, or a signature "
        f"that is made with it; {why}.{known}",
        headers={"WWW-Authenticate": 'Bearer realm="tundish events"'},
    )
