"""Probes: `/healthz` and `/livez` say that this process answers, `/readyz` that the whole system does its work."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import anyio
import anyio.to_thread
import redis
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access.auth import ANONYMOUS
from gateway.search.indexes import LOADING
from gateway.web import principal
from gateway.web.fields import Given, parse
from runtime.broker.presence import Process, read_async
from runtime.config.settings import Project
from runtime.errors import BrokerDown, TundishError

STORE_SECONDS = 5.0
_AT_REST: dict[str, Any] = {"ready": True, "detail": "scaled to zero", "processes": 0}
_ONE_EACH = ("gateway", "triggers", "beat", "embedder")


class Asked(Given):
    """Of whom readiness is asked."""

    part: Literal["all", "gateway"] = "all"


async def healthy(_: Request) -> Response:
    return Response(b'{"status":"ok"}', headers={"Cache-Control": "no-store"}, media_type="application/json")


async def ready(request: Request) -> Response:
    """200 when broker, store and every part answer, else 503; either way each of them with its state.

    `part=gateway` asks for this process only, not for what all gateways share: whoever spreads calls over them must
    not take all of them away because the broker is, or because an index is damaged. Whoever is not known gets the
    status alone: the checks name hosts and what is wrong with them.
    """
    gateway, part = state.of(request), parse(Asked, request.query_params).part
    checks: dict[str, dict[str, Any]] = {}
    if gateway.project.outbox.enabled or gateway.courier.outbox.calls:
        checks["outbox"] = gateway.courier.verdict()
    if part == "gateway":
        checks.update({f"index {name}": {"ready": False, "detail": LOADING} for name in gateway.indexes.loading()})
    else:
        checks.update({f"index {name}": told for name, told in gateway.indexes.verdicts().items()})
        async with anyio.create_task_group() as group:
            group.start_soon(_check_store, gateway, checks)
            group.start_soon(_check_parts, gateway, checks)
    well = all(check["ready"] for check in checks.values())
    told: dict[str, Any] = {"status": "ready" if well else "not ready"}
    if principal.of(request) != ANONYMOUS:
        told["checks"] = dict(sorted(checks.items()))
    headers = {"Cache-Control": "no-store", **({} if well else {"Retry-After": "1"})}
    return Response(to_json(told), 200 if well else 503, headers=headers, media_type="application/json")


def check_parts(project: Project, processes: Iterable[Process]) -> dict[str, dict[str, Any]]:
    """For each expected part, whether a process that is ready stands for it, and what it says of itself."""
    found = list(processes)
    checks = {kind: _verdict([process for process in found if process.kind == kind]) for kind in _ONE_EACH}
    for queue, spec in project.queues.items():
        # A worker's name is QUEUE@HOST, or QUEUE.2@HOST when it replaces another.
        node = re.compile(rf"{re.escape(queue)}(?:\.\d+)?@.*", re.DOTALL)
        workers = [process for process in found if process.kind == "worker" and node.fullmatch(process.name)]
        checks[f"worker {queue}"] = _verdict(workers) if workers or not spec.scale_to_zero else _AT_REST
    return checks


def _verdict(processes: list[Process]) -> dict[str, Any]:
    if not processes:
        return {"ready": False, "detail": "is not running", "processes": 0}
    able = [process for process in processes if process.ready]
    detail = (able or processes)[0].detail
    return {"ready": bool(able), "detail": detail or ("" if able else "is starting"), "processes": len(processes)}


async def _check_parts(gateway: state.Gateway, checks: dict[str, dict[str, Any]]) -> None:
    try:
        processes = await read_async(gateway.redis)
    except (redis.RedisError, OSError) as error:
        checks["broker"] = {"ready": False, "detail": f"{type(error).__name__}. {BrokerDown.__doc__}"}
        return
    checks["broker"] = {"ready": True, "detail": ""}
    checks.update(check_parts(gateway.project, processes))


async def _check_store(gateway: state.Gateway, checks: dict[str, dict[str, Any]]) -> None:
    try:
        with anyio.fail_after(STORE_SECONDS):
            await anyio.to_thread.run_sync(gateway.store.ping, abandon_on_cancel=True)
    except TundishError as error:
        checks["store"] = {"ready": False, "detail": str(error)}
    except TimeoutError:
        checks["store"] = {"ready": False, "detail": f"did not answer within {STORE_SECONDS:g} s"}
    else:
        checks["store"] = {"ready": True, "detail": ""}
