"""What the doctor says of keys."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from runtime.callers import admin_key, api_keys
from runtime.doctor.patient import Patient
from tests.doctoring import look, one, patient, project

REQUIRED = {"TUNDISH_AUTH": "required"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project(tmp_path)
    return tmp_path


def made(folder: Path, broker_url: str = "", **environ: str) -> Patient:
    return patient(folder, broker_url, environ={**REQUIRED, **environ})


def test_where_nobody_is_asked(folder: Path) -> None:
    assert "this machine only" in one(patient(folder), "keys").found
    open_to_all = patient(folder, environ={"TUNDISH_HOST": "0.0.0.0", "TUNDISH_AUTH": "off"})
    assert (one(open_to_all, "keys").state, "TUNDISH_AUTH=off" in one(open_to_all, "keys").found) == ("fail", True)


def test_the_administrators_key(folder: Path) -> None:
    who = made(folder)
    assert one(who, "keys").state == "ok"  # the first start makes it
    path = admin_key.provide(who.settings)
    assert str(path) in one(who, "keys").found
    path.chmod(0o644)
    assert "chmod 600" in one(who, "keys").mend
    missing = made(folder, TUNDISH_ADMIN_KEY_FILE=str(folder / "none"))
    assert "openssl rand" in one(missing, "keys").mend
    mounted = folder / "mounted"
    mounted.write_text("x" * 32)  # by somebody who decides who may read it
    assert one(made(folder, TUNDISH_ADMIN_KEY_FILE=str(mounted)), "keys").state == "ok"


def test_keys_that_end_soon(folder: Path, broker_url: str, redis_client: redis.Redis) -> None:
    for name, days in {"soon": 3.0, "later": 30.0, "over": -1.0}.items():
        api_keys.add(redis_client, api_keys.new(name, "read", expires=time.time() + days * 86400)[0])
    api_keys.add(redis_client, api_keys.new("never", "read")[0])
    (found,) = look(made(folder, broker_url), "keys")
    assert (found.state, "The key soon ends at" in found.found) == ("warn", True)
