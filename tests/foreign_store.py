"""Another S3 server for the store and bucket tests: the binary that TUNDISH_TEST_STORE names, told by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from runtime.config.settings import StoreSettings
from runtime.host.free_ports import Ports
from runtime.system import services

VARIABLE = "TUNDISH_TEST_STORE"
EMBEDDED = "seaweedfs"
KNOWN = ("minio", "silo", "rustfs")
MODULES = ("tests.test_store", "tests.test_bucket")
"""The tests that also run against it: those of modules whose names begin so."""


def kinds(environ: Mapping[str, str]) -> list[str]:
    """The servers to test with. Fails where the variable names no server that is known here."""
    path = environ.get(VARIABLE, "")
    if not path:
        return [EMBEDDED]
    name = Path(path).name.lower()
    found = [kind for kind in KNOWN if kind in name]
    if not found or not os.access(path, os.X_OK) or not Path(path).is_file():
        raise pytest.UsageError(
            f"{VARIABLE}={path} names no server to test with: it must be the path of a program that can be run and "
            f"whose name tells what it is ({', '.join(KNOWN)})."
        )
    return [EMBEDDED, found[0]]


def foreign(
    kind: str, binary: str, home: Path, ports: Ports, credentials: services.Credentials
) -> tuple[services.Service, StoreSettings]:
    """How to run it over an empty folder, with the same credentials as ours, and how to reach it."""
    folder = home / kind
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{ports.take(kind)}"
    user, password = credentials.store_access_key, credentials.store_secret_key
    argv: tuple[str, ...] = (binary, "server", str(data), "--address", address)
    environ = {"MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": "off"}
    if kind == "rustfs":
        argv = (binary, "--address", address, str(data))
        environ = {
            "RUSTFS_ACCESS_KEY": user,
            "RUSTFS_SECRET_KEY": password,
            "RUSTFS_CONSOLE_ENABLE": "false",
            "RUSTFS_NOTIFY_ENABLE": "true",
            "RUSTFS_OBS_LOG_DIRECTORY": str(folder / "logs"),
        }
    settings = StoreSettings(endpoint=address, access_key=user, secret_key=password)
    environ |= {"PATH": os.environ["PATH"], "HOME": str(folder)}
    service = services.Service(kind, argv, lambda: services.store_answers(settings), environ=environ, folder=folder)
    return service, settings
