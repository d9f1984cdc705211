"""Raw Starlette, for `uvicorn bench.peers.with_starlette:app`: HTTP and nothing behind it."""

from __future__ import annotations

import json

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.peers import work


async def call(request: Request) -> JSONResponse:
    """The functions that do nothing run in place, as one would write them; the others in a thread."""
    name, given = request.path_params["name"], json.loads(await request.body())
    function = getattr(work, name)
    if name in ("noop", "size"):
        return JSONResponse(function(**given))
    return JSONResponse(await run_in_threadpool(function, **given))


app = Starlette(routes=[Route("/{name}", call, methods=["POST"])])
