"""What wiring sees of a MinIO: administration with encrypted bodies, notification configurations, a webhook.

It stands in for a server that cannot run here. What it posts was recorded from a real one (tests/fixtures/minio).
"""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3
from minio.crypto import decrypt, encrypt

from runtime.config.settings import StoreSettings

RECORDED = Path(__file__).parent / "fixtures" / "minio" / "webhook.jsonl"
EMPTY = b'<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></NotificationConfiguration>'
KEYS = {"notify_webhook": ("endpoint", "auth_token"), "notify_redis": ("address", "format", "key", "password")}


class Body(io.BytesIO):
    def release_conn(self) -> None:
        """Only urllib3's answers have one."""


class FakeMinio:
    """One server. `admin` False: these credentials may not administer; `offline`: it cannot reach what it is told."""

    def __init__(self, *, admin: bool = True, name: str = "MinIO") -> None:
        self.admin, self.name, self.offline = admin, name, False
        self.configured: dict[str, dict[str, str]] = {}
        self.environment: dict[str, dict[str, str]] = {}
        self.used: dict[str, dict[str, str]] = {}
        self.buckets: dict[str, bytes] = {"tundish": EMPTY}
        self.requests: list[str] = []
        self.restarts = 0
        self._started, self._away_until = time.monotonic() - 1000, 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status, data = server._answer(self.command, self.path, self.headers, self.rfile.read(length))
                self.send_response_only(status)
                self.send_header("Server", server.name)
                self.send_header("Content-Type", "application/xml" if data.startswith(b"<") else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_HEAD = _any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def settings(self) -> StoreSettings:
        host, port = self._http.server_address[:2]
        return StoreSettings(endpoint=f"{host!s}:{port}", access_key="access", secret_key="secret-of-the-fake")

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeMinio]:
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def arns(self) -> list[str]:
        return [f"arn:minio:sqs::{name.partition(':')[2]}:{name.split(':')[0][7:]}" for name in self.used]

    def rules(self, bucket: str) -> list[dict[str, Any]]:
        """The queue rules of a bucket as plain words."""
        return [
            {
                "arn": _one(rule, "Queue"),
                "events": [element.text for element in rule if element.tag.endswith("Event")],
                "filters": {_one(one, "Name"): _one(one, "Value") for one in rule.iter() if _is(one, "FilterRule")},
            }
            for rule in _xml(self.buckets[bucket])
            if _is(rule, "QueueConfiguration")
        ]

    def notify(self, bucket: str) -> list[int]:
        """Post a recorded notification to every webhook that a rule of the bucket names; the statuses."""
        recorded = json.loads(RECORDED.read_text().splitlines()[0])
        wanted = {rule["arn"].split(":")[-2] for rule in self.rules(bucket) if rule["arn"].endswith(":webhook")}
        answers = []
        for name in wanted:
            target = self.used[f"notify_webhook:{name}"]
            headers = {**recorded["headers"], "Authorization": f"Bearer {target['auth_token']}"}
            del headers["Host"], headers["Content-Length"]
            answers.append(urllib3.request("POST", target["endpoint"], body=recorded["body"], headers=headers).status)
        return answers

    def _answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        parts, query = urlsplit(path), parse_qs(urlsplit(path).query, keep_blank_values=True)
        self.requests.append(f"{method} {path}")
        if time.monotonic() < self._away_until:
            return 503, _error("XMinioServerNotInitialized", "Server not initialized yet, please try again.")
        if not headers.get("Authorization"):
            return 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
        assert f"Credential={self.settings.access_key}/" in headers["Authorization"]
        if parts.path.startswith("/minio/admin/v3/"):
            if not self.admin:
                return 403, _error("AccessDenied", "Access Denied.")
            return self._administer(method, parts.path.removeprefix("/minio/admin/v3/"), query, body)
        return self._bucket(method, parts.path.strip("/"), query, body)

    def _administer(self, method: str, what: str, query: dict[str, list[str]], body: bytes) -> tuple[int, bytes]:
        secret = self.settings.secret_key
        match method, what:
            case "GET", "info":
                uptime = int(time.monotonic() - self._started)
                told = {"mode": "online", "region": "", "sqsARN": self.arns(), "servers": [{"uptime": uptime}]}
                return 200, json.dumps(told).encode()
            case "GET", "get-config-kv":
                return 200, encrypt(self._shown(query["key"][0]).encode(), secret)
            case "PUT", "set-config-kv":
                name, *values = decrypt(Body(body), secret).decode().split(" ")
                if self.offline:
                    words = "One or more targets are offline. Please use `mc admin info --json` to check them"
                    return 400, _error("XMinioConfigError", words)
                self.configured[name] = dict(value.split("=", 1) for value in values)
                return 200, b""
            case "POST", "service":
                assert query["action"] == ["restart"]
                self.restarts += 1
                self._away_until = self._started = time.monotonic() + 0.3
                self.used = {**self.configured, **self.environment}
                return 200, b""
        return 404, _error("XMinioAdminNoSuchRoute", what)

    def _shown(self, subsystem: str) -> str:
        """As MinIO writes it: environment first, defaults filled in, `enable` only where it is off."""
        lines = [f"{subsystem} enable=off {' '.join(f'{key}=' for key in KEYS[subsystem])} queue_limit=0 queue_dir= "]
        for name, values in {**self.configured, **self.environment}.items():
            kind, _, target = name.partition(":")
            if kind != subsystem:
                continue
            if name in self.environment:
                lines += [f"# MINIO_{kind.upper()}_{key.upper()}_{target}={value}" for key, value in values.items()]
            kept = dict.fromkeys(KEYS[kind], "") if name in self.environment else values
            shown = [f"{key}={value}" for key, value in kept.items() if (key, value) != ("enable", "on")]
            lines.append(f"{name} {' '.join(shown)} queue_limit=0 queue_dir= ")
        return "\n".join(lines) + "\n"

    def _bucket(self, method: str, bucket: str, query: dict[str, list[str]], body: bytes) -> tuple[int, bytes]:
        if method == "PUT" and "notification" not in query:
            self.buckets.setdefault(bucket, EMPTY)
            return 200, b""
        if bucket not in self.buckets:
            return 404, b"<Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"
        if method == "PUT":
            queues = [element.text or "" for element in _xml(body).iter() if _is(element, "Queue")]
            known = {tuple(arn.split(":")[-2:]) for arn in self.arns()}
            if any(tuple(arn.split(":")[-2:]) not in known for arn in queues):
                message = (
                    "A specified destination ARN does not exist or is not well-formed. Verify the destination ARN."
                )
                return 400, f"<Error><Code>InvalidArgument</Code><Message>{message}</Message></Error>".encode()
            self.buckets[bucket] = body
        return 200, self.buckets[bucket]


def _xml(data: bytes) -> ET.Element:
    return ET.fromstring(data)  # noqa: S314


def _is(element: ET.Element, name: str) -> bool:
    return element.tag.rpartition("}")[2] == name


def _one(element: ET.Element, name: str) -> str:
    return next(part.text or "" for part in element if _is(part, name))


def _error(code: str, message: str) -> bytes:
    return json.dumps({"Code": code, "Message": message, "RequestId": "1"}).encode()
