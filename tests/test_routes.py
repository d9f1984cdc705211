"""The shorter way to a route leads where Starlette's router leads, and an error is always answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match, Route, Router
from starlette.types import Message, Receive, Scope, Send

from gateway import routes
from gateway.web.errors import Errors
from gateway.web.problems import Refused

PARTS = st.sampled_from(
    ["function", "async-function", "functions", "search", "api", "x", "x y", "a\n", "", "é", "{name}"]
)
PATHS = st.lists(PARTS, max_size=4).map(lambda parts: "/" + "/".join(parts))
ROUTES = routes.build()


def run(app: Any, **told: Any) -> tuple[Scope, list[Message]]:
    """A request, and what is sent."""
    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "root_path": "", **told}
    sent = list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    asyncio.run(app(scope, receive, send))
    return scope, sent


@given(path=PATHS, method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"]))
def test_both_ways_lead_to_one_place(path: str, method: str) -> None:
    async def here(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "here", "route": scope["route"], "params": scope["path_params"]})

    found = [Route(one.path, here, methods=list(one.methods or ()), name=one.name) for one in ROUTES]
    for one in found:
        one.app = here
    router = Router(found, redirect_slashes=False)
    told = [run(app, path=path, method=method)[1] for app in (routes.Finder(router), router)]
    assert told[0] == told[1]


def test_the_ways_of_calls_are_short() -> None:
    scope: Scope = {"type": "http", "method": "POST", "path": "/function/x", "headers": [], "root_path": ""}
    finder = routes.Finder(Router(ROUTES))
    for name in ("function", "async-function", "functions"):
        assert finder._named[name].matches({**scope, "path": f"/{name}/x"})[0] is not Match.NONE


@pytest.mark.parametrize("error", [Refused(400, "no", what=object()), Refused(400, "no", headers={"X": "\u20ac"})])
def test_an_error_that_cannot_be_told_is_a_500_and_in_the_log(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: Any) -> None:
        raise error

    _, (start, body) = run(Errors(fails))
    assert start["status"] == 500 and b"Its log has the traceback" in body["body"]
    assert "Refused" in caplog.text
