"""The gateway as an ASGI application, made by `create_app`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from gateway import routes
from gateway.state import Gateway
from gateway.web.door import Door
from gateway.web.errors import Errors
from gateway.web.guard import Guard
from gateway.web.request_log import RequestLog
from gateway.web.traced import Traced
from runtime.callers import access
from runtime.config.settings import Settings
from runtime.deployment.deployment import Deployment

log = logging.getLogger("tundish.gateway")


class Application(Starlette):
    """Starlette without its own two layers around the middleware and within it: `Errors` does their work."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = routes.Finder(self.router)
        for kind, arguments, named in reversed(self.user_middleware):
            app = kind(app, *arguments, **named)
        return app


def create_app(settings: Settings, deployment: Deployment, *, on_fatal: Callable[[], None] | None = None) -> Starlette:
    """Build the application; it connects to nothing before its first request or its lifespan.

    `on_fatal` is called when a part that works beside the requests has died of a bug: a process that is half
    dead is worse than one that is restarted.
    """
    gateway = Gateway(settings, deployment)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.courier.start()
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in {
                "reply listener": gateway.replies.listen(),
                "reply poll": gateway.replies.poll(),
                "swap listener": gateway.indexes.listen(),
                "index refresher": gateway.indexes.refresh(),
                "courier": gateway.courier.run(),
            }.items()
        ]
        for task in tasks:
            task.add_done_callback(lambda done: _watch(done, on_fatal))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await gateway.close()

    guard = Guard(
        settings.host,
        access.names(settings),
        settings.access.public_url,
        addresses=gateway.auth.required,
    )
    app = Application(
        routes=routes.build(),
        middleware=[
            *([Middleware(RequestLog)] if settings.logs.tells_requests else []),
            Middleware(Door, guard, gateway.requests),
            *([Middleware(Traced, tracing=gateway.tracing)] if gateway.tracing.on else []),
            Middleware(Errors),
        ],
        lifespan=lifespan,
    )
    # `/search/` is not `/search`: a redirect would turn a POST into a GET in many clients.
    app.router.redirect_slashes = False
    app.state.gateway = gateway
    return app


def _watch(task: asyncio.Task[None], on_fatal: Callable[[], None] | None) -> None:
    if task.cancelled():
        return
    log.critical("the %s of the gateway ended: this is a bug", task.get_name(), exc_info=task.exception())
    if on_fatal:
        on_fatal()
