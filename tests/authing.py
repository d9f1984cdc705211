"""A gateway that asks who calls, and keys for it: made without a request, as they lie in Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime.callers import admin_key, api_keys
from runtime.config.auth import Access
from runtime.config.settings import Function, Settings, StoreSettings
from runtime.deployment.deployment import Deployed, Deployment
from runtime.security.principal import Role
from tests import gatewaying


def settings(broker_url: str, home: Path, **access: Any) -> Settings:
    """Those of tests/gatewaying.py, with a function for administrators, and with authentication."""
    made = gatewaying.settings(broker_url, StoreSettings(), home)
    tidy = Function(name="tidy", handler="f.py:tidy", http=True, role="admin", timeout=5)
    project = made.project.model_copy(update={"functions": {**made.project.functions, "tidy": tidy}})
    return made.model_copy(update={"project": project, "access": Access(**{"auth": "required", **access})})


def deployment(made: Settings) -> Deployment:
    found = dict(gatewaying.deployment(made).functions)
    for name, spec in made.project.functions.items():
        found.setdefault(name, Deployed(spec=spec))
    return Deployment(made, found)


@contextlib.contextmanager
def serving(made: Settings, *, address: str = "127.0.0.1", url: str = gatewaying.ORIGIN) -> Iterator[TestClient]:
    """A gateway with these settings, and a client that brings no key."""
    admin_key.provide(made)
    app = create_app(made, deployment(made))
    with TestClient(app, url, raise_server_exceptions=False, client=(address, 1), follow_redirects=False) as client:
        yield client


def key(client: redis.Redis, name: str, role: Role, **more: Any) -> dict[str, str]:
    """The header that carries a new key."""
    made, secret = api_keys.new(name, role, **more)
    api_keys.add(client, made)
    return bearer(secret)


def admin(made: Settings) -> dict[str, str]:
    return bearer(admin_key.read(admin_key.place(made)))


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def refused(answer: Any) -> bool:
    """Whether the door was shut, rather than that something behind it went wrong."""
    if answer.status_code == 401:
        return True
    told: Mapping[str, Any] = answer.json() if answer.status_code == 403 else {}
    return str(told.get("detail", "")).startswith(("The key ", "This is about the whole", "This needs"))
