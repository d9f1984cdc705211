"""What a request brings to say who it is: a bearer token in its header, or the cookie of the dashboard."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "tundish_session"


def of(request: Request) -> str | None:
    """The key or token; "" for an Authorization that is none of ours, None where there is nothing."""
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        return ""
    if given:
        scheme, _, token = given[0].partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    cookie = request.cookies.get(COOKIE)
    if cookie:
        return unquote(cookie)
    return "" if given else None


def keep(response: Response, credential: str, *, secure: bool) -> None:
    """Have the browser send it from now on, until it is closed. No script can read it, no other site can use it."""
    response.set_cookie(COOKIE, quote(credential, safe=""), path="/", httponly=True, samesite="strict", secure=secure)


def forget(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
