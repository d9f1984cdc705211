"""The gateway's process: its socket, its signals, its place among the live processes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping

import uvicorn

from gateway.app import create_app
from gateway.guard import is_loopback
from gateway.state import Gateway
from runtime import leash, logs
from runtime.broker import connect
from runtime.config import Settings
from runtime.config_load import load_settings
from runtime.deployment import load_deployment
from runtime.errors import TundishError
from runtime.presence import Presence

BACKLOG = 2048
LET_GO_SECONDS = 3.0
"""After a request to stop: how long calls that wait may still get their answer."""
GRACE_SECONDS = 4
"""After a request to stop: when connections are cut."""

log = logging.getLogger("tundish.gateway")


class CannotListen(TundishError):
    """The gateway cannot listen on its address."""


class Server(uvicorn.Server):
    """uvicorn's server; who still waits for a call when it stops is told where to ask for it later."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.streams.give_up()  # their clients come back to where they were
        asyncio.get_running_loop().call_later(LET_GO_SECONDS, self._gateway.replies.give_up)
        await super().shutdown(sockets)


def main(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT. Exit code 2 where the settings or the address cannot be used."""
    leash.hold(environ)
    reload_asked = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload_asked.set())
    try:
        settings = load_settings(environ)
        logs.setup("gateway", settings.log_level)
        if not settings.broker_url:
            raise TundishError("No broker is configured. Set CELERY_BROKER_URL, or start everything with `tundish up`.")
        listener = listen(settings)
        deployment = load_deployment(settings, environ)
    except TundishError as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 2
    app = create_app(settings, deployment, on_fatal=lambda: os.kill(os.getpid(), signal.SIGTERM))
    gateway: Gateway = app.state.gateway
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    threading.Thread(target=_reload, args=(reload_asked, gateway, environ), name="reloader", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises a signal that it caught once more when it has stopped: then there is nothing left to do.
        signal.signal(number, lambda *_: None)
    client = connect(settings.broker_url)
    presence = Presence(client, "gateway", gateway.name).start()
    try:
        presence.set(ready=True)
        Server(config, gateway).run(sockets=[listener])
    finally:
        presence.stop()
        client.close()
    return 0


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises CannotListen with what to do about it."""
    host, port = settings.host, settings.port
    if not is_loopback(host):
        raise CannotListen(
            f"{host} would let everybody on the network in, and there is no authentication yet: listen on 127.0.0.1 "
            "and put a proxy that authenticates in front of it."
        )
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
