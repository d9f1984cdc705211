"""A server that speaks MinIO's listen protocol, well or badly, in front of a real store that does all the rest."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit

from runtime.config.settings import StoreSettings

FIXTURES = Path(__file__).parent / "fixtures" / "minio"
NOT_FLUSHED = 4096
"""How much a server with the flush bug gathers before a byte leaves it."""

Behaviour = Callable[["Call"], None]
"""What is done with one listen call. The connection ends when it returns."""


class Call:
    """One listen call: its query, and the connection to write to."""

    def __init__(self, handler: BaseHTTPRequestHandler, server: ListenServer, bucket: str) -> None:
        self.bucket, self.server, self._handler = bucket, server, handler
        self.query = parse_qs(urlsplit(handler.path).query, keep_blank_values=True)
        self.events: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def headers(self, status: int = 200, kind: str = "text/event-stream") -> None:
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", kind)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def write(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self._handler.wfile.flush()

    def end(self) -> None:
        """End the answer as HTTP has it; without that the connection just breaks."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def wait(self, seconds: float) -> None:
        """Sleep; ends the call when the server ends."""
        if self.server.over.wait(seconds):
            raise ConnectionAbortedError


def live(*, escape: bool = False, ping: bytes = b'{"Records":null}', every: float = 0.2) -> Behaviour:
    """Tells of every change that goes through the server: as MinIO, or as RustFS with escaped keys."""

    def behave(call: Call) -> None:
        call.headers()
        call.write(b" ")
        call.server.listening.append(call)
        while True:
            try:
                event, key = call.events.get(timeout=every)
            except queue.Empty:
                call.wait(0)
                call.write(ping + b"\n")
                continue
            if event == "drop":
                return
            call.write(record(event, call.bucket, quote_plus(key) if escape else key))

    return behave


def says(*parts: bytes) -> Behaviour:
    """Sends these and ends."""
    return recorded((0.0, part) for part in parts)


def recorded(parts: Iterable[tuple[float, bytes]], speed: float = 1.0) -> Behaviour:
    """Sends what was recorded, each part at its time (seconds since the first), and ends."""
    kept = list(parts)

    def behave(call: Call) -> None:
        call.headers()
        began = time.monotonic()
        for at, data in kept:
            call.wait(max(0.0, began + at / speed - time.monotonic()))
            call.write(data)
        call.end()

    return behave


def timed(name: str) -> list[tuple[float, bytes]]:
    """The parts of a recording with their times."""
    lines = [json.loads(line) for line in (FIXTURES / name).read_text().splitlines()]
    return [(line["at"], line["data"].encode()) for line in lines]


def breaks_off(call: Call) -> None:
    """A keep-alive and half a line, then the connection is gone."""
    call.headers()
    call.write(b' {"Records":[{"eventN')


def never_flushes(call: Call) -> None:
    """The flush bug: headers and keep-alives stay in a buffer."""
    for _ in range(NOT_FLUSHED // 17):
        call.wait(1.0)


def falls_silent(call: Call) -> None:
    """A connection that somebody on the way has forgotten."""
    call.headers()
    call.write(b" ")
    call.server.over.wait()


def refuses(code: str = "NotImplemented", status: int = 501) -> Behaviour:
    """Answers with an S3 error."""

    def behave(call: Call) -> None:
        call.headers(status, "application/xml")
        call.write(f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
        call.end()

    return behave


def lists(call: Call) -> None:
    """A server that ignores `events=` and lists the bucket."""
    call.headers(200, "application/xml")
    call.write(b'<?xml version="1.0"?>\n<ListBucketResult></ListBucketResult>')
    call.end()


def slow_headers(seconds: float, then: Behaviour) -> Behaviour:
    def behave(call: Call) -> None:
        call.wait(seconds)
        then(call)

    return behave


def record(event: str, bucket: str, key: str) -> bytes:
    """One line of the stream."""
    about = {"bucket": {"name": bucket}, "object": {"key": key}}
    return json.dumps({"Records": [{"eventName": event, "s3": about}]}, ensure_ascii=False).encode() + b"\n"


class ListenServer:
    """Behaves in turn as `behaviours` say, as the last one from then on. `upstream` (host:port) serves what is no
    listen call; changes that it accepts are told to whom `live` serves."""

    def __init__(
        self, *behaviours: Behaviour, upstream: str = "", name: str = "MinIO", arns: Iterable[str] = ()
    ) -> None:
        self.behaviours = list(behaviours)
        self.upstream, self.name, self.arns = upstream, name, tuple(arns)
        self.denied = False
        """Whether nobody may see a bucket's notification configuration."""
        self.over = threading.Event()
        self.calls: list[Call] = []
        self.listening: list[Call] = []
        self.signed: list[bool] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True

    @property
    def settings(self) -> StoreSettings:
        return StoreSettings(endpoint=f"127.0.0.1:{self._http.server_port}", access_key="key", secret_key="secret")

    def tell(self, bucket: str, key: str, event: str = "s3:ObjectCreated:Put") -> None:
        """Tell everybody who listens to the bucket."""
        for call in self.listening:
            if call.bucket == bucket:
                call.events.put((event, key))

    def drop(self) -> None:
        """End every open stream."""
        for call in self.listening:
            call.events.put(("drop", ""))
        self.listening.clear()

    @contextlib.contextmanager
    def running(self) -> Iterator[ListenServer]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.over.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def version_string(self) -> str:
                return server.name

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                path = urlsplit(self.path)
                if self.command == "GET" and "events=" in path.query:
                    self.close_connection = True
                    call = Call(self, server, path.path.strip("/"))
                    server.signed.append(self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "))
                    server.calls.append(call)
                    behave = server.behaviours.pop(0) if len(server.behaviours) > 1 else server.behaviours[0]
                    with contextlib.suppress(OSError):
                        behave(call)
                elif server.upstream:
                    self._forward()
                else:
                    self._answer(*self._about_the_bucket(path.query))

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815  # names of http.server

            def _about_the_bucket(self, query: str) -> tuple[int, bytes, list[tuple[str, str]]]:
                if "notification" not in query:
                    return 200, b"", []
                if server.denied:
                    return 403, b"<Error><Code>AccessDenied</Code></Error>", [("Content-Type", "application/xml")]
                queues = "".join(
                    f"<QueueConfiguration><Queue>{arn}</Queue></QueueConfiguration>" for arn in server.arns
                )
                return 200, f"<NotificationConfiguration>{queues}</NotificationConfiguration>".encode(), []

            def _answer(self, status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "content-length", "connection", "server", "date"):
                        self.send_header(name, value)
                length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _forward(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                link = http.client.HTTPConnection(server.upstream, timeout=30)
                link.request(self.command, self.path, data, dict(self.headers))
                answer = link.getresponse()
                body = answer.read()
                link.close()
                self._answer(answer.status, body, answer.getheaders())
                bucket, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
                if key and answer.status < 300 and self.command in ("PUT", "DELETE"):
                    what = "s3:ObjectCreated:Put" if self.command == "PUT" else "s3:ObjectRemoved:Delete"
                    server.tell(bucket, key, what)

        return Handler
