"""Patients for the doctor: a project on disk, a broker whose words somebody changes, a store that is careless."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime.config.settings import StoreSettings
from runtime.doctor.examine import CHECKS
from runtime.doctor.finding import CannotTell, Verdict
from runtime.doctor.patient import Patient

PLAIN = {"handler": "plain.py:plain"}


def project(folder: Path, *, code: str = "def plain() -> None: ...\n", **told: Any) -> Path:
    """A functions.yaml with one function `plain`, unless `functions` says otherwise; returns its path."""
    (folder / "plain.py").write_text(code)
    file = folder / "functions.yaml"
    file.write_text(json.dumps({"version": 1, "functions": {"plain": PLAIN}, **told}))
    return file


def patient(folder: Path, broker_url: str = "", store: StoreSettings | None = None, **more: Any) -> Patient:
    """What is examined in a folder with a functions.yaml, with these servers named by the environment."""
    environ = {"TUNDISH_FILE": str(folder / "functions.yaml"), "TUNDISH_HOME": str(folder / "home")}
    environ |= {"TUNDISH_PORT": "0", **more.pop("environ", {})}
    if broker_url:
        environ["CELERY_BROKER_URL"] = broker_url
    if store:
        environ |= {
            "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key,
            "TUNDISH_BUCKET": store.bucket,
        }
    return Patient(environ, **more)


def look(who: Patient, name: str) -> list[Verdict]:
    """What one check finds. Raises CannotTell."""
    return list(dict(CHECKS)[name](who))


def one(who: Patient, name: str) -> Verdict:
    """The only verdict of a check; a wrong one has a mend, a good one none."""
    (found,) = look(who, name)
    assert bool(found.mend) == (found.state != "ok"), found
    return found


def cannot(who: Patient, name: str) -> str:
    """Why a check cannot be made."""
    try:
        found = look(who, name)
    except CannotTell as error:
        return str(error)
    raise AssertionError(f"{name} was checked: {found}")


@contextlib.contextmanager
def rewording(url: str, words: Mapping[bytes, bytes]) -> Iterator[str]:
    """The URL of somebody who stands before a broker and changes words of its answers; each keeps its length."""
    parts = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket, changed: Mapping[bytes, bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**20):
                for old, new in changed.items():
                    data = data.replace(old, new.ljust(len(old)))
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((parts.hostname or "", parts.port or 0))
                for pair in ((client, server, {}), (server, client, words)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield url.replace(f":{parts.port}/", f":{listener.getsockname()[1]}/")
    finally:
        listener.close()


class CarelessStore:
    """An S3 server that has one bucket and takes no notice of conditions. `refuses` are methods that it forbids.

    It stands in for a server that cannot run here: those that run here honour what they should.
    """

    def __init__(self, *, refuses: tuple[str, ...] = ()) -> None:
        self.bucket = f"careless-{uuid.uuid4().hex[:8]}"
        self.objects: set[str] = set()
        store = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = urlsplit(self.path).path.strip("/").partition("/")[2]
                status, body = 200, b""
                if key and self.command in refuses:
                    status, body = 403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
                elif key:
                    (store.objects.discard if self.command == "DELETE" else store.objects.add)(key)
                self.send_response(status)
                self.send_header("ETag", f'"{uuid.uuid4().hex}"')
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else body)

            do_GET = do_PUT = do_HEAD = do_DELETE = _any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def settings(self) -> StoreSettings:
        host, port = self._http.server_address[:2]
        return StoreSettings(endpoint=f"{host!s}:{port}", access_key="a", secret_key="b", bucket=self.bucket)

    @contextlib.contextmanager
    def running(self) -> Iterator[CarelessStore]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()
