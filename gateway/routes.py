"""Every route of the gateway, in one table: path → method → endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import (
    admin,
    buckets_api,
    dead_api,
    document,
    event_letters_api,
    events,
    functions_api,
    health,
    invoke,
    keypath,
    metrics,
    openapi,
    pages,
    pause_api,
    replay_api,
    schedules,
    search,
    task_events,
    task_logs,
    tasks_api,
    tasks_control,
    tasks_list,
    tasks_stats,
    tasks_submit,
)
from gateway import uploads as up

Endpoint = Callable[[Request], Awaitable[Response]]

TABLE: Mapping[str, Mapping[str, Endpoint]] = {
    "/function/{name}": {"POST": invoke.call},
    "/async-function/{name}": {"POST": invoke.call_async, "DELETE": tasks_control.remove},
    "/search": {"GET": search.search, "POST": search.search},
    "/api/v1/tasks": {"GET": tasks_list.listing},
    "/api/v1/tasks/submit": {"POST": tasks_submit.submit},
    "/api/v1/tasks/batch": {"POST": tasks_submit.batch},
    "/api/v1/tasks/status/{id}": {"GET": tasks_api.short_status},
    "/api/v1/tasks/task/{id}": {"GET": tasks_api.status},
    "/api/v1/tasks/task/{id}/result": {"GET": tasks_api.result},
    "/api/v1/tasks/task/{id}/logs": {"GET": task_logs.logs},
    "/api/v1/tasks/task/{id}/events": {"GET": task_events.events},
    "/api/v1/logs": {"GET": task_logs.newest},
    "/api/v1/tasks/task/{id}/revoke": {"POST": tasks_control.revoke},
    "/api/v1/tasks/task/{id}/retry": {"POST": tasks_control.retry},
    "/api/v1/tasks/queue/stats": {"GET": tasks_stats.queues},
    "/api/v1/tasks/queue/{name}/purge": {"POST": tasks_control.purge},
    "/api/v1/tasks/workers/stats": {"GET": tasks_stats.workers},
    "/api/v1/tasks/active": {"GET": tasks_stats.active},
    "/api/v1/tasks/tasks/active": {"GET": tasks_stats.active},
    "/api/v1/tasks/health": {"GET": tasks_stats.health},
    "/api/v1/tasks/summary": {"GET": tasks_stats.summary},
    "/api/v1/tasks/dead": {"GET": dead_api.listing},
    "/api/v1/tasks/dead/redrive": {"POST": dead_api.redrive},
    "/api/v1/tasks/dead/purge": {"POST": dead_api.purge},
    "/api/v1/tasks/dead/{id}": {"GET": dead_api.show},
    "/functions": {"GET": functions_api.listing},
    "/functions/{name}": {"GET": functions_api.one},
    "/buckets/{bucket}/{key:key}": {"GET": up.get, "PUT": up.put, "DELETE": up.delete},
    "/documents": {"GET": buckets_api.documents},
    "/documents/{bucket}/{key:key}": {"GET": document.status},
    "/events/{source}": {"POST": events.receive},
    "/admin/index-version": {"GET": admin.index_version},
    "/admin/index/versions": {"GET": admin.index_versions},
    "/admin/rebuild-embeddings": {"POST": admin.rebuild},
    "/admin/trigger-rebuild": {"POST": admin.rebuild},
    "/admin/events/dead": {"GET": event_letters_api.listing, "DELETE": event_letters_api.purge},
    "/admin/buckets": {"GET": buckets_api.listing},
    "/admin/buckets/{bucket}/confirm": {"POST": buckets_api.confirm},
    "/admin/schedules": {"GET": schedules.listing},
    "/admin/pause": {"GET": pause_api.listing, "POST": pause_api.rest},
    "/admin/resume": {"POST": pause_api.resume},
    "/admin/replay": {"GET": replay_api.listing, "POST": replay_api.start},
    "/admin/replay/{id}": {"GET": replay_api.one, "DELETE": replay_api.cancel},
    "/openapi.json": {"GET": openapi.document},
    "/metrics": {"GET": metrics.metrics},
    "/healthz": {"GET": health.healthy},
    "/livez": {"GET": health.healthy},
    "/readyz": {"GET": health.ready},
    "/": {"GET": pages.home},
    "/docs": {"GET": pages.reference},
    "/static/{file}": {"GET": pages.static},
}


def build() -> list[Route]:
    """One route a path, so that 405 names every method that is possible there."""
    keypath.register()
    return [Route(path, _endpoint(methods), methods=list(methods), name=path) for path, methods in TABLE.items()]


def _endpoint(methods: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await methods[method](request)

    return endpoint
