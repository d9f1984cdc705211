"""Every route of the gateway, in one table: path → method → endpoint.

An endpoint is named, and its module imported at its first request or behind the start: a gateway that was just started
answers searches before the rest of it is there. Before it runs, the request is admitted by the rule that
gateway/access/rules.py has for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from gateway import state
from gateway.access import rules
from gateway.web import keypath
from gateway.web.problems import Refused

Endpoint = Callable[[Request], Awaitable[Response]]

TABLE: Mapping[str, Mapping[str, str]] = {
    "/function/{name}": {"POST": "calls.invoke.call"}
    | dict.fromkeys(("GET", "PUT", "PATCH", "DELETE"), "calls.invoke.call_request"),
    "/async-function/{name}": {"POST": "calls.invoke.call_async", "DELETE": "tasks.control.remove"},
    "/search": {"GET": "search.search.search", "POST": "search.search.search"},
    "/api/v1/whoami": {"GET": "access.signin.whoami"},
    "/api/v1/keys": {"GET": "access.keys_api.listing", "POST": "access.keys_api.create"},
    "/api/v1/keys/{name}": {"DELETE": "access.keys_api.revoke"},
    "/api/v1/tasks": {"GET": "tasks.listing.listing"},
    "/api/v1/tasks/submit": {"POST": "tasks.submit.submit"},
    "/api/v1/tasks/batch": {"POST": "tasks.submit.batch"},
    "/api/v1/tasks/status/{id}": {"GET": "tasks.status.short_status"},
    "/api/v1/tasks/task/{id}": {"GET": "tasks.status.status"},
    "/api/v1/tasks/task/{id}/result": {"GET": "tasks.status.result"},
    "/api/v1/tasks/task/{id}/logs": {"GET": "tasks.logs.logs"},
    "/api/v1/tasks/task/{id}/events": {"GET": "tasks.events.events"},
    "/api/v1/logs": {"GET": "tasks.logs.newest"},
    "/api/v1/tasks/task/{id}/revoke": {"POST": "tasks.control.revoke"},
    "/api/v1/tasks/task/{id}/retry": {"POST": "tasks.control.retry"},
    "/api/v1/tasks/queue/stats": {"GET": "tasks.stats.queues"},
    "/api/v1/tasks/queue/{name}/purge": {"POST": "tasks.control.purge"},
    "/api/v1/tasks/workers/stats": {"GET": "tasks.stats.workers"},
    "/api/v1/tasks/active": {"GET": "tasks.stats.active"},
    "/api/v1/tasks/tasks/active": {"GET": "tasks.stats.active"},
    "/api/v1/tasks/health": {"GET": "tasks.stats.health"},
    "/api/v1/tasks/summary": {"GET": "tasks.stats.summary"},
    "/api/v1/tasks/history": {"GET": "tasks.history.series"},
    "/api/v1/tasks/dead": {"GET": "tasks.dead.listing"},
    "/api/v1/tasks/dead/redrive": {"POST": "tasks.dead.redrive"},
    "/api/v1/tasks/dead/purge": {"POST": "tasks.dead.purge"},
    "/api/v1/tasks/dead/{id}": {"GET": "tasks.dead.show"},
    "/api/v1/usage": {"GET": "access.usage_api.listing"},
    "/functions": {"GET": "operations.functions.listing"},
    "/functions/{name}": {"GET": "operations.functions.one"},
    "/buckets/{bucket}/{key:key}": {
        "GET": "objects.uploads.get",
        "PUT": "objects.uploads.put",
        "DELETE": "objects.uploads.delete",
    },
    "/documents": {"GET": "objects.buckets.documents"},
    "/documents/{bucket}/{key:key}": {"GET": "objects.document.status"},
    "/events/{source}": {"POST": "objects.events.receive"},
    "/admin/index-version": {"GET": "search.admin.index_version"},
    "/admin/index/versions": {"GET": "search.admin.index_versions"},
    "/admin/index/rollback": {"POST": "search.admin.rollback"},
    "/admin/index/release": {"POST": "search.admin.release"},
    "/admin/index/migration": {"GET": "search.migration.migration"},
    "/admin/index/migrate": {"POST": "search.migration.migrate"},
    "/admin/index/migrate/cancel": {"POST": "search.migration.cancel"},
    "/admin/rebuild-embeddings": {"POST": "search.admin.rebuild"},
    "/admin/trigger-rebuild": {"POST": "search.admin.rebuild"},
    "/admin/events/dead": {"GET": "objects.event_letters.listing", "DELETE": "objects.event_letters.purge"},
    "/admin/buckets": {"GET": "objects.buckets.listing"},
    "/admin/buckets/{bucket}/confirm": {"POST": "objects.buckets.confirm"},
    "/admin/schedules": {"GET": "operations.schedules.listing"},
    "/admin/pause": {"GET": "tasks.pause.listing", "POST": "tasks.pause.rest"},
    "/admin/resume": {"POST": "tasks.pause.resume"},
    "/admin/reload": {"GET": "operations.reload.newest"},
    "/admin/replay": {"GET": "objects.replay.listing", "POST": "objects.replay.start"},
    "/admin/replay/{id}": {"GET": "objects.replay.one", "DELETE": "objects.replay.cancel"},
    "/openapi.json": {"GET": "operations.openapi.document"},
    "/metrics": {"GET": "operations.metrics.metrics"},
    "/healthz": {"GET": "operations.health.healthy"},
    "/livez": {"GET": "operations.health.healthy"},
    "/readyz": {"GET": "operations.health.ready"},
    "/signin": {"GET": "access.signin.page", "POST": "access.signin.enter"},
    "/signout": {"POST": "access.signin.leave"},
    "/": {"GET": "web.assets.home"},
    "/plain": {"GET": "operations.pages.plain"},
    "/docs": {"GET": "operations.pages.reference"},
    "/static/{file}": {"GET": "web.assets.static"},
    "/static/dashboard/{file}": {"GET": "web.assets.dashboard"},
}


def build() -> list[Route]:
    """One route a path, so that 405 names every method that is possible there. Raises LookupError without a rule."""
    if missing := rules.missing(TABLE):
        raise LookupError(f"gateway/access/rules.py says nothing of {', '.join(missing)}")
    keypath.register()
    return [
        Route(path, _Admitted(methods, rules.RULES[path]), methods=list(methods), name=path)
        for path, methods in TABLE.items()
    ]


def endpoint_of(name: str) -> Endpoint:
    """The endpoint that the table names `package.module.function`."""
    module, _, function = name.rpartition(".")
    found: Endpoint = getattr(import_module(f"gateway.{module}"), function)
    return found


def import_all() -> None:
    """Import what no request has needed yet."""
    for name in {name for methods in TABLE.values() for name in methods.values()}:
        endpoint_of(name)


class Finder:
    """The way to a route. Starlette's router holds a path against one pattern after the other; of those whose paths
    have no more than a name behind their first part, the one with this first part is known."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._named = {
            route.path.split("/")[1]: route
            for route in router.routes
            if isinstance(route, Route) and route.path.count("/") == 2 and route.path.endswith("/{name}")
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            first, _, name = scope["path"][1:].partition("/")
            route = self._named.get(first)
            if route is not None and name and "/" not in name and scope["method"] in (route.methods or ()):
                scope["route"], scope["path_params"] = route, {"name": name}
                return await route.app(scope, receive, send)
        return await self._router(scope, receive, send)


class _Admitted:
    """The endpoints of one path, as an ASGI application: around a function Starlette would look for errors a second
    time, which the application does for all."""

    def __init__(self, methods: Mapping[str, str], needs: Mapping[str, str]) -> None:
        self._methods, self._needs = methods, needs
        self._known: dict[str, Endpoint] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method, gateway = "GET" if request.method == "HEAD" else request.method, state.of(request)
        try:
            await gateway.auth.admit(request, self._needs[method])
            if method not in self._known:  # in a thread: an import takes some time, and others are served meanwhile
                self._known[method] = await anyio.to_thread.run_sync(endpoint_of, self._methods[method])
            return gateway.quota_notes.on(request, await self._known[method](request))
        except Refused as error:
            if error.status == 403:
                gateway.auth.refusals.counts["not_allowed"] += 1
            raise
