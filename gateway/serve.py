"""The gateway's process: its socket, its signals, its place among the live processes."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping

import uvicorn

from gateway import starting
from gateway.app import create_app
from gateway.state import Gateway
from gateway.web import connection
from runtime.broker.connection import connect
from runtime.broker.presence import Presence
from runtime.callers import access, admin_key
from runtime.config.load import load_settings
from runtime.config.settings import Settings
from runtime.deployment.deployment import load_deployment
from runtime.errors import TundishError
from runtime.host import leash, open_files
from runtime.system import grace, start_gate
from runtime.telemetry import logs

BACKLOG = 2048
CUT_SECONDS = 1.0
"""Who still waits when the time to stop is over is told so, and has this long to read it: then connections are cut."""

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the others from Python. A version that is being opened holds searches up for less time so
than with Python's 5 ms: the p99 of searches while versions are swapped was 11.6 ms instead of 15.6 ms."""

_SOFTWARE = 70
"""EX_SOFTWARE of sysexits.h."""

log = logging.getLogger("tundish.gateway")


class _CutOnPurpose(logging.Filter):
    """An answer that ends before its time is how a stream says that it failed; uvicorn takes it for a mistake."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "without completing response" not in record.getMessage()


class CannotListen(TundishError):
    """The gateway cannot listen on its address."""


class Server(uvicorn.Server):
    """uvicorn's server; told to stop, it lets callers wait for so long, and then tells them where to ask later."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, callers_wait: float) -> None:
        super().__init__(config)
        self._gateway, self._callers_wait = gateway, callers_wait
        self._finishing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._finishing = asyncio.create_task(starting.finish(self._gateway))
        self._watching = asyncio.create_task(connection.watch(self.server_state.connections))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.streams.give_up()  # their clients come back to where they were
        asyncio.get_running_loop().call_later(self._callers_wait, self._gateway.replies.give_up)
        await super().shutdown(sockets)
        if self._watching is not None:
            self._watching.cancel()


def main(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT. Exit code 2 where the settings or the address cannot be used, 70 where a part that
    works beside the requests has died of a bug: with 0 it would pass for one that left on request."""
    leash.hold(environ)
    sys.setswitchinterval(SWITCH_SECONDS)
    reload_asked = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload_asked.set())
    try:
        settings = load_settings(environ)
        logs.setup_for(settings, "gateway", environ)
        logging.getLogger("uvicorn.error").addFilter(_CutOnPurpose())
        if not settings.broker_url:
            raise TundishError("No broker is configured. Set CELERY_BROKER_URL, or start everything with `tundish up`.")
        if access.required(settings):
            admin_key.provide(settings)
        threading.Thread(target=starting.import_ahead, name="imports", daemon=True).start()
        deployment = load_deployment(settings, environ)
        start_gate.wait(os.environ)
        listener = listen(settings)
    except TundishError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 2
    died = threading.Event()

    def die() -> None:
        died.set()
        os.kill(os.getpid(), signal.SIGTERM)

    open_files.allow_many()
    app = create_app(settings, deployment, on_fatal=die)
    gateway: Gateway = app.state.gateway
    patience = grace.callers_wait(settings.project.grace)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.access.proxies),
        forwarded_allow_ips=settings.access.proxies or None,
        ws="none",
        backlog=BACKLOG,
        http=connection.bounded(connection.most_connections()),
        timeout_graceful_shutdown=math.ceil(patience + CUT_SECONDS),
    )
    threading.Thread(target=_reload, args=(reload_asked, gateway, environ), name="reloader", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises a signal that it caught once more when it has stopped: then there is nothing left to do.
        signal.signal(number, lambda *_: None)
    client = connect(settings.broker_url, settings.project.broker)
    presence = Presence(client, "gateway", gateway.name).start()
    try:
        presence.set(ready=True)
        Server(config, gateway, patience).run(sockets=[listener])
    finally:
        presence.stop()
        client.close()
    return _SOFTWARE if died.is_set() else 0


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises CannotListen with what to do about it."""
    host, port = settings.host, settings.port
    if told := access.open_to_all(settings):
        raise CannotListen(told)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"Port {port} on {host} is in use by another program; stop that one, or choose another port with "
                "TUNDISH_PORT or --port."
            ) from error
        raise CannotListen(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    return sock


def _reload(asked: threading.Event, gateway: Gateway, environ: Mapping[str, str]) -> None:
    """Read settings and functions again whenever asked, beside the requests; what cannot be read changes nothing."""
    while asked.wait():
        asked.clear()
        try:
            gateway.adopt(load_deployment(load_settings(environ), environ))
        except TundishError as error:
            log.error("the functions served stay as they were: %s", error)
        else:
            log.info("%d functions are served now", len(gateway.deployment.functions))
