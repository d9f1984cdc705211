"""The part of MinIO's administration that wiring needs, and the bucket's notification configuration, as it comes.

minio-py's administration client is used for what it can do: signing and the encrypted bodies.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.config.settings import StoreSettings
from runtime.store import client as store_client
from runtime.store.errors import translated
from runtime.store.library import load
from runtime.wiring.target import NotWired, Target

_SECONDS = 10.0
# `notify_webhook:tundish endpoint=http://… auth_token=… `; a value with spaces is in double quotes.
_VALUE = re.compile(r'(\w+)=("[^"]*"|\S*)')
# What the server's own environment says stands before it: `# MINIO_NOTIFY_WEBHOOK_ENDPOINT_tundish=http://…`
_VARIABLE = re.compile(
    r"#\s*\w+?_NOTIFY_(?:WEBHOOK|REDIS)_(ENABLE|ENDPOINT|AUTH_TOKEN|ADDRESS|KEY|FORMAT|PASSWORD)_(\w+)=(.*)"
)


class NoAdministration(NotWired):
    """The server has no administration that can be used."""


class MinioServer:
    """One server. Raises NoAdministration and NotWired, StoreDown and StoreDenied for requests to a bucket."""

    def __init__(self, settings: StoreSettings) -> None:
        load()
        import urllib3
        from minio import MinioAdmin
        from minio.credentials import StaticProvider

        self._endpoint = settings.endpoint
        # It may be starting, because somebody else wires it just now. What is answered 503 was not done.
        patience = urllib3.Retry(
            6,
            read=0,
            backoff_factor=0.2,
            status_forcelist=(503,),
            allowed_methods=None,
            raise_on_status=False,
        )
        self._admin = MinioAdmin(
            endpoint=settings.endpoint,
            credentials=StaticProvider(settings.access_key, settings.secret_key),
            region=settings.region,
            secure=settings.secure,
            http_client=urllib3.PoolManager(timeout=urllib3.Timeout(_SECONDS), retries=patience),
        )
        self._client: Any = store_client.client(settings)

    def info(self) -> dict[str, Any]:
        """What the server says of itself: `sqsARN`, the targets that are in use, and `servers` with their uptime."""
        with _administrated(self._endpoint):
            told: dict[str, Any] = json.loads(self._admin.info())
            if not isinstance(told, dict) or "mode" not in told:
                raise ValueError("that is no answer of MinIO's administration")
            return told

    def targets(self, subsystem: str) -> dict[str, dict[str, str]]:
        """The configured targets of one kind, by name. `env` names keys that its environment sets."""
        with _administrated(self._endpoint):
            return _parsed(self._admin.config_get(subsystem), subsystem)

    def set(self, target: Target) -> None:
        """Configure a target. It is in use after a restart."""
        with _administrated(self._endpoint):
            self._admin.config_set(f"{target.subsystem}:{target.name}", {"enable": "on", **target.settings})

    def restart(self) -> None:
        with _administrated(self._endpoint):
            self._admin.service_restart()

    def configuration(self, bucket: str) -> bytes:
        """A bucket's notification configuration as XML."""
        with translated(self._endpoint, bucket):
            data: bytes = self._client._execute("GET", bucket, query_params={"notification": ""}).data
            return data

    def set_configuration(self, bucket: str, xml: bytes) -> None:
        digest = base64.b64encode(hashlib.md5(xml, usedforsecurity=False).digest()).decode()
        with translated(self._endpoint, bucket):
            headers = {"Content-MD5": digest, "Content-Type": "application/xml"}
            self._client._execute("PUT", bucket, body=xml, headers=headers, query_params={"notification": ""})


@contextmanager
def _administrated(endpoint: str) -> Iterator[None]:
    """What minio-py's administration client raises, as a sentence. One of its methods hides the error it meets."""
    load()
    from minio.error import MinioAdminException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (MinioAdminException, UnboundLocalError, HTTPError, OSError, ValueError) as error:
        cause = error.__context__ if isinstance(error, UnboundLocalError) else error
        if isinstance(cause, MinioAdminException):
            raise _refused(endpoint, str(cause._code), str(cause._body)) from error
        raise NoAdministration(f"The administration of the store at {endpoint} did not answer ({cause}).") from error


def _refused(endpoint: str, status: str, body: str) -> NotWired:
    """MinIO's own words, without the request's id and host."""
    try:
        told = json.loads(body)
        words = f"{told['Code']}: {told['Message']}"
    except (ValueError, KeyError, TypeError):
        found = re.search(r"<Code>(.*?)</Code>", body)
        words = found[1] if found else "an answer that is not MinIO's"
    kind = NoAdministration if status in ("401", "403", "404", "405", "501") else NotWired
    return kind(f"The administration of the store at {endpoint} refused (HTTP {status}, {words}).")


def _parsed(text: str, subsystem: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if variable := _VARIABLE.match(line):
            key, name, value = variable.groups()
            target = found.setdefault(name, {})
            target[key.lower()] = value
            target["env"] = f"{target.get('env', '')} {key.lower()}".strip()
        head, _, values = line.partition(" ")
        kind, _, name = head.partition(":")
        name = name or "_"  # the one without a name
        if kind == subsystem:
            given = {key: value.strip('"') for key, value in _VALUE.findall(values)}
            found[name] = given | found.get(name, {})
    return found
