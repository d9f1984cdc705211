"""Every route of the gateway, in one table: path → method → endpoint.

An endpoint is named, and its module imported at its first request or behind the start: a gateway that was just started
answers searches before the rest of it is there. Before it runs, the request is admitted by the rule that
gateway/rules.py has for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway import keypath, rules, state
from gateway.problems import Refused

Endpoint = Callable[[Request], Awaitable[Response]]

TABLE: Mapping[str, Mapping[str, str]] = {
    "/function/{name}": {"POST": "invoke.call"}
    | dict.fromkeys(("GET", "PUT", "PATCH", "DELETE"), "invoke.call_request"),
    "/async-function/{name}": {"POST": "invoke.call_async", "DELETE": "tasks_control.remove"},
    "/search": {"GET": "search.search", "POST": "search.search"},
    "/api/v1/whoami": {"GET": "signin.whoami"},
    "/api/v1/keys": {"GET": "keys_api.listing", "POST": "keys_api.create"},
    "/api/v1/keys/{name}": {"DELETE": "keys_api.revoke"},
    "/api/v1/tasks": {"GET": "tasks_list.listing"},
    "/api/v1/tasks/submit": {"POST": "tasks_submit.submit"},
    "/api/v1/tasks/batch": {"POST": "tasks_submit.batch"},
    "/api/v1/tasks/status/{id}": {"GET": "tasks_api.short_status"},
    "/api/v1/tasks/task/{id}": {"GET": "tasks_api.status"},
    "/api/v1/tasks/task/{id}/result": {"GET": "tasks_api.result"},
    "/api/v1/tasks/task/{id}/logs": {"GET": "task_logs.logs"},
    "/api/v1/tasks/task/{id}/events": {"GET": "task_events.events"},
    "/api/v1/logs": {"GET": "task_logs.newest"},
    "/api/v1/tasks/task/{id}/revoke": {"POST": "tasks_control.revoke"},
    "/api/v1/tasks/task/{id}/retry": {"POST": "tasks_control.retry"},
    "/api/v1/tasks/queue/stats": {"GET": "tasks_stats.queues"},
    "/api/v1/tasks/queue/{name}/purge": {"POST": "tasks_control.purge"},
    "/api/v1/tasks/workers/stats": {"GET": "tasks_stats.workers"},
    "/api/v1/tasks/active": {"GET": "tasks_stats.active"},
    "/api/v1/tasks/tasks/active": {"GET": "tasks_stats.active"},
    "/api/v1/tasks/health": {"GET": "tasks_stats.health"},
    "/api/v1/tasks/summary": {"GET": "tasks_stats.summary"},
    "/api/v1/tasks/history": {"GET": "history.series"},
    "/api/v1/tasks/dead": {"GET": "dead_api.listing"},
    "/api/v1/tasks/dead/redrive": {"POST": "dead_api.redrive"},
    "/api/v1/tasks/dead/purge": {"POST": "dead_api.purge"},
    "/api/v1/tasks/dead/{id}": {"GET": "dead_api.show"},
    "/api/v1/usage": {"GET": "usage_api.listing"},
    "/functions": {"GET": "functions_api.listing"},
    "/functions/{name}": {"GET": "functions_api.one"},
    "/buckets/{bucket}/{key:key}": {"GET": "uploads.get", "PUT": "uploads.put", "DELETE": "uploads.delete"},
    "/documents": {"GET": "buckets_api.documents"},
    "/documents/{bucket}/{key:key}": {"GET": "document.status"},
    "/events/{source}": {"POST": "events.receive"},
    "/admin/index-version": {"GET": "admin.index_version"},
    "/admin/index/versions": {"GET": "admin.index_versions"},
    "/admin/index/rollback": {"POST": "admin.rollback"},
    "/admin/index/release": {"POST": "admin.release"},
    "/admin/index/migration": {"GET": "migration_api.migration"},
    "/admin/index/migrate": {"POST": "migration_api.migrate"},
    "/admin/index/migrate/cancel": {"POST": "migration_api.cancel"},
    "/admin/rebuild-embeddings": {"POST": "admin.rebuild"},
    "/admin/trigger-rebuild": {"POST": "admin.rebuild"},
    "/admin/events/dead": {"GET": "event_letters_api.listing", "DELETE": "event_letters_api.purge"},
    "/admin/buckets": {"GET": "buckets_api.listing"},
    "/admin/buckets/{bucket}/confirm": {"POST": "buckets_api.confirm"},
    "/admin/schedules": {"GET": "schedules.listing"},
    "/admin/pause": {"GET": "pause_api.listing", "POST": "pause_api.rest"},
    "/admin/resume": {"POST": "pause_api.resume"},
    "/admin/reload": {"GET": "reload_api.newest"},
    "/admin/replay": {"GET": "replay_api.listing", "POST": "replay_api.start"},
    "/admin/replay/{id}": {"GET": "replay_api.one", "DELETE": "replay_api.cancel"},
    "/openapi.json": {"GET": "openapi.document"},
    "/metrics": {"GET": "metrics.metrics"},
    "/healthz": {"GET": "health.healthy"},
    "/livez": {"GET": "health.healthy"},
    "/readyz": {"GET": "health.ready"},
    "/signin": {"GET": "signin.page", "POST": "signin.enter"},
    "/signout": {"POST": "signin.leave"},
    "/": {"GET": "assets.home"},
    "/plain": {"GET": "pages.plain"},
    "/docs": {"GET": "pages.reference"},
    "/static/{file}": {"GET": "assets.static"},
    "/static/dashboard/{file}": {"GET": "assets.dashboard"},
}


def build() -> list[Route]:
    """One route a path, so that 405 names every method that is possible there. Raises LookupError without a rule."""
    if missing := rules.missing(TABLE):
        raise LookupError(f"gateway/rules.py says nothing of {', '.join(missing)}")
    keypath.register()
    return [
        Route(path, _Admitted(methods, rules.RULES[path]), methods=list(methods), name=path)
        for path, methods in TABLE.items()
    ]


def endpoint_of(name: str) -> Endpoint:
    """The endpoint that the table names `module.function`."""
    module, _, function = name.partition(".")
    found: Endpoint = getattr(import_module(f"gateway.{module}"), function)
    return found


def import_all() -> None:
    """Import what no request has needed yet."""
    for name in {name for methods in TABLE.values() for name in methods.values()}:
        endpoint_of(name)


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
