"""Probes: `/healthz` and `/livez` say that this process answers, `/readyz` that the whole system does its work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import anyio
import redis
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.metrics import live
from gateway.problems import Refused
from runtime.config import Project
from runtime.errors import BrokerDown, TundishError
from runtime.presence import Process

STORE_SECONDS = 5.0
_ONE_EACH = ("gateway", "triggers", "beat", "embedder")


async def healthy(_: Request) -> Response:
    return Response(b'{"status":"ok"}', headers={"Cache-Control": "no-store"}, media_type="application/json")


async def ready(request: Request) -> Response:
    """200 when broker, store and every part answer, else 503; either way each of them with its state."""
    gateway = state.of(request)
    checks: dict[str, dict[str, Any]] = {}
    async with anyio.create_task_group() as group:
        group.start_soon(_check_store, gateway, checks)
        group.start_soon(_check_parts, gateway, checks)
    well = all(check["ready"] for check in checks.values())
    told = {"status": "ready" if well else "not ready", "checks": dict(sorted(checks.items()))}
    headers = {"Cache-Control": "no-store", **({} if well else {"Retry-After": "1"})}
    return Response(to_json(told), 200 if well else 503, headers=headers, media_type="application/json")


def check_parts(project: Project, processes: Iterable[Process]) -> Mapping[str, dict[str, Any]]:
    """For each expected part, whether one process that is ready stands for it, and what it says of itself."""
    found: dict[str, list[Process]] = {}
    for process in processes:
        found.setdefault(_part(process), []).append(process)
    expected = [*_ONE_EACH, *(f"worker {queue}" for queue in project.queues)]
    return {name: _verdict(found.get(name, [])) for name in expected}


def _part(process: Process) -> str:
    if process.kind != "worker":
        return process.kind
    # A worker's name is QUEUE@HOST, or QUEUE.2@HOST when it replaces another.
    node = process.name.partition("@")[0]
    return f"worker {re.sub(r'[.]\d+$', '', node)}"


def _verdict(processes: list[Process]) -> dict[str, Any]:
    if not processes:
        return {"ready": False, "detail": "is not running", "processes": 0}
    able = [process for process in processes if process.ready]
    detail = (able or processes)[0].detail
    return {"ready": bool(able), "detail": detail or ("" if able else "is starting"), "processes": len(processes)}


async def _check_parts(gateway: state.Gateway, checks: dict[str, dict[str, Any]]) -> None:
    try:
        processes = await live(gateway)
    except (redis.RedisError, OSError) as error:
        checks["broker"] = {"ready": False, "detail": f"{type(error).__name__}. {BrokerDown.__doc__}"}
        return
    checks["broker"] = {"ready": True, "detail": ""}
    checks.update(check_parts(gateway.project, processes))


async def _check_store(gateway: state.Gateway, checks: dict[str, dict[str, Any]]) -> None:
    try:
        with anyio.fail_after(STORE_SECONDS):
            await gateway.in_thread(gateway.store.ping)
    except (TundishError, Refused) as error:
        checks["store"] = {"ready": False, "detail": str(error)}
    except TimeoutError:
        checks["store"] = {"ready": False, "detail": f"did not answer within {STORE_SECONDS:g} s"}
    else:
        checks["store"] = {"ready": True, "detail": ""}
