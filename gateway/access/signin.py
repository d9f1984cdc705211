"""`/signin` and `/signout`: a form for people, without script. The key goes into a cookie that no script can read."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import parse_qs, quote, urlsplit

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import credentials
from gateway.web import body, principal
from gateway.web.problems import Refused, refuse

LIMIT = 32 * 2**10


def place(path: str) -> str:
    """Where to sign in, to be brought back to `path` afterwards."""
    return f"/signin?next={quote(path, safe='')}"


async def page(request: Request) -> Response:
    """The form; where nobody has to sign in, the way on."""
    following = _local(request.query_params.get("next", "/"))
    if not state.of(request).auth.required:
        return _on(following)
    return _form(following)


async def enter(request: Request) -> Response:
    """Check the key of the form and keep it in the cookie: 303 to where somebody wanted to go; 401 with the form."""
    gateway = state.of(request)
    if body.media_type(request) != "application/x-www-form-urlencoded":
        refuse(415, "The form is sent as application/x-www-form-urlencoded.")
    given = parse_qs((await body.read(request, LIMIT)).decode("utf-8", "replace"))
    key, following = given.get("key", [""])[0].strip(), _local(given.get("next", ["/"])[0])
    if not gateway.auth.required:
        return _on(following)
    try:
        await gateway.auth.known(request, key)
    except Refused as error:
        why = error.detail.partition(". ")[0] if error.status == 401 else error.detail
        return _form(following, why, error.status, dict(error.headers or {}))
    answer = _on(following)
    public = gateway.settings.access.public_url
    credentials.keep(answer, key, secure=request.url.scheme == "https" or public.startswith("https:"))
    return answer


async def leave(_: Request) -> Response:
    """Forget the key."""
    answer = _on("/signin")
    credentials.forget(answer)
    return answer


async def whoami(request: Request) -> Response:
    """Whose key it is, and what it may. `required` is false where nobody is asked."""
    who = principal.of(request)
    told = {
        "name": who.name,
        "role": who.role,
        "tenant": who.tenant,
        "confined": who.confined,
        "functions": None if who.functions is None else sorted(who.functions),
        "required": state.of(request).auth.required,
    }
    return Response(to_json(told), headers={"Cache-Control": "no-store"}, media_type="application/json")


def _form(following: str, trouble: str = "", status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = (files("gateway") / "static" / "signin.html").read_text(encoding="utf-8")
    told = f'<p class="problem" role="alert">{escape(trouble)}.</p>' if trouble else ""
    filled = Template(text).substitute(next=escape(following, quote=True), problem=told)
    kept = {name: value for name, value in (headers or {}).items() if name.lower() == "retry-after"}
    return Response(filled, status, {"Cache-Control": "no-store", **kept}, "text/html")


def _on(following: str) -> Response:
    return Response(status_code=303, headers={"Location": following, "Cache-Control": "no-store"})


def _local(path: str) -> str:
    """A place of this gateway's own: nobody is sent to another site from here."""
    parts = urlsplit(path)
    own = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc and path.isprintable()
    return quote(path, safe="/?&=#%:@!$'()*+,;~-._[]") if own else "/"
