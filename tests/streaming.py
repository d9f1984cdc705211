"""A gateway in this process that streams for real, and a reader of its server-sent events."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3
import uvicorn

from gateway.app import create_app
from gateway.serve import Server
from gateway.state import Gateway
from runtime.deployment.deployment import Deployment
from tests.workers import until


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: dict[str, Any]


@dataclass
class Served:
    """A gateway that answers at `url`."""

    url: str
    gateway: Gateway
    server: Server
    thread: threading.Thread

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return urllib3.request("GET", self.url + path, headers=named, retries=False, timeout=30.0)

    @contextlib.contextmanager
    def open(self, path: str, last: str = "") -> Iterator[Iterator[Event]]:
        """The events of a stream as they come; leaving the block closes the connection."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        with urllib3.PoolManager() as pool:
            answer = pool.request(
                "GET", self.url + path, headers=headers, preload_content=False, retries=False, timeout=30.0
            )
            assert answer.status == 200, answer.read()
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            try:
                yield parsed(answer)
            finally:
                answer.close()

    def read(self, path: str, last: str = "") -> list[Event]:
        """All events of a stream that ends."""
        with self.open(path, last) as events:
            return list(events)


def parsed(answer: urllib3.BaseHTTPResponse) -> Iterator[Event]:
    text = ""
    for chunk in answer.stream():
        *blocks, text = (text + chunk.decode()).split("\n\n")
        for block in blocks:
            lines = [line.partition(": ") for line in block.split("\n")]
            found = {name: value for name, _, value in lines}
            if "data" in found:
                yield Event(found["event"], found["id"], json.loads(found["data"]))


@contextlib.contextmanager
def served(deployed: Deployment) -> Iterator[Served]:
    app = create_app(deployed.settings, deployed)
    gateway: Gateway = app.state.gateway
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=4)
    server = Server(config, gateway, 1.0)
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    found = Served(f"http://127.0.0.1:{sock.getsockname()[1]}", gateway, server, thread)
    try:
        until(lambda: server.started)
        yield found
    finally:
        found.stop()
        sock.close()
