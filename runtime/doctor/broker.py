"""The broker: does it answer, is it new enough, does it keep what it was given?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from runtime.doctor.finding import CannotTell, Verdicts, fail, ok, rough, told, warn
from runtime.doctor.patient import Patient

_LEAST = {"valkey": 8, "redis": 7}
_LOUD, _FULL = 0.8, 0.95
_FILE = "and write it into the server's configuration file"


def answers(patient: Patient) -> Verdicts:
    """It answers, and takes writes."""
    if patient.broker_trouble:
        yield fail(*told(patient.broker_trouble))
        return
    server = patient.server
    if server.get("role") == "slave":
        yield fail(
            "The broker is a replica, which takes no writes.",
            "Name the primary in CELERY_BROKER_URL, or promote this one: REPLICAOF NO ONE",
        )
    elif server.get("cluster_enabled"):
        yield fail(
            "The broker is a cluster, whose keys lie on several servers; calls are recorded in one step on one server.",
            "Name a single server (with replicas, if you like) in CELERY_BROKER_URL.",
        )
    else:
        yield ok("it answers and takes writes")


def version(patient: Patient) -> Verdicts:
    """Redis 7 or Valkey 8, or newer."""
    kind, number = _version(patient.server)
    least = _LEAST[kind]
    name = f"{kind.capitalize()} {number}"
    if int(number.partition(".")[0] or 0) < least:
        yield fail(
            f"The broker is {name}; Tundish needs Redis {_LEAST['redis']} or Valkey {_LEAST['valkey']}, or newer.",
            "Upgrade the server, or unset CELERY_BROKER_URL to use the embedded one.",
        )
    else:
        yield ok(name)


def eviction(patient: Patient) -> Verdicts:
    """Nothing is thrown away when memory runs out."""
    policy, limit = str(patient.server.get("maxmemory_policy")), int(patient.server.get("maxmemory", 0))
    mend = f"CONFIG SET maxmemory-policy noeviction, {_FILE}"
    if policy == "noeviction":
        yield ok("maxmemory-policy is noeviction")
    elif limit:
        yield fail(
            f"maxmemory-policy is {policy}: at {rough(limit)} the server throws calls away that were accepted.",
            mend,
        )
    else:
        yield warn(f"maxmemory-policy is {policy}. It throws nothing away as long as maxmemory is 0.", mend)


def persistence(patient: Patient) -> Verdicts:
    """What was accepted outlives the server's end."""
    server = patient.server
    if not int(server.get("aof_enabled", 0)):
        yield fail(
            "The broker keeps no append-only file: a restart loses every call since its last snapshot.",
            f"CONFIG SET appendonly yes, {_FILE}",
        )
        return
    bad = [name for name in ("aof_last_write_status", "aof_last_bgrewrite_status") if server.get(name, "ok") != "ok"]
    for name in bad:
        yield fail(
            f"The broker cannot write its append-only file ({name} is {server[name]}).",
            "Make room on its disk, and look at its log.",
        )
    if not bad:
        yield from _sync(patient)


def memory(patient: Patient) -> Verdicts:
    """There is room for more."""
    used, limit = int(patient.server["used_memory"]), int(patient.server.get("maxmemory", 0))
    whole = limit or int(patient.server.get("total_system_memory", 0))
    if not whole:
        yield ok(f"{rough(used)} are used, without a limit")
        return
    of = f"{used / whole:.0%} of {'maxmemory' if limit else 'its machine'}, {rough(whole)}"
    mend = "Raise maxmemory, or keep less: `retention` in functions.yaml. `tundish tasks` shows what waits."
    if limit and used > _FULL * whole:
        yield fail(f"The broker uses {of}: new calls are refused.", mend)
    elif used > _LOUD * whole:
        yield warn(f"The broker uses {of}.", mend)
    else:
        yield ok(f"{rough(used)} are used, {of}")


def _sync(patient: Patient) -> Verdicts:
    wanted = "everysec" if patient.settings.project.durability == "fast" else "always"
    try:
        answer: Any = patient.broker.config_get("appendfsync")
    except redis.ResponseError as error:  # a managed server
        raise CannotTell(
            f"the append-only file is on; how often it is synced cannot be asked ({error!s:.80})"
        ) from None
    sync = str(answer.get("appendfsync", "unknown"))
    if sync in ("always", wanted):
        yield ok(f"append-only file, appendfsync {sync}")
        return
    lost = "the last second" if sync == "everysec" else "half a minute or more"
    yield warn(
        f"appendfsync is {sync}: calls accepted in {lost} before the broker's machine dies are lost.",
        f"CONFIG SET appendfsync always, {_FILE}; or accept it, with `durability: fast` in functions.yaml.",
    )


def _version(server: Mapping[str, Any]) -> tuple[str, str]:
    if "valkey_version" in server:
        return "valkey", str(server["valkey_version"])
    return "redis", str(server.get("redis_version", "0"))
