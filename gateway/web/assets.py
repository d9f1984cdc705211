"""The dashboard at `/` and its files: modules, styles and the icon, as they are in this package."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from gateway.web.problems import refuse

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_SERVED = re.compile(r"[a-z]+\.(?:js|css|svg)", re.ASCII)


async def home(request: Request) -> Response:
    """The dashboard's one page. It asks the API for everything else."""
    return _answer(request, "dashboard", "index.html")


async def dashboard(request: Request) -> Response:
    """One of its modules or styles."""
    return _answer(request, "dashboard", _named(request))


async def static(request: Request) -> Response:
    """A file of the pages that need no script, or the icon."""
    return _answer(request, _named(request))


def _named(request: Request) -> str:
    name: str = request.path_params["file"]
    if not _SERVED.fullmatch(name):
        refuse(404, f"There is no file {name}.")
    return name


def _answer(request: Request, *place: str) -> Response:
    """The file, as it is now: browsers ask again, and are told when nothing changed."""
    *_, name = place
    try:
        data = files("gateway").joinpath("static", *place).read_bytes()
    except FileNotFoundError:
        refuse(404, f"There is no file {name}.")
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])
