"""`/admin/…`: index versions and a rebuild."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import invoke, state
from gateway.indexes import DEFAULT
from gateway.problems import refuse
from runtime.context import IndexVersion

if TYPE_CHECKING:
    from runtime.index.port import FaissIndex

REBUILD = "embed_all"


async def index_version(request: Request) -> Response:
    """The version that this gateway answers from, beside the newest that is published."""
    gateway, index = state.of(request), request.query_params.get("index", DEFAULT)
    await _known(gateway, index)
    reader = await gateway.indexes.reader()
    loaded = reader.version(index)
    newest = await gateway.in_thread(_index(gateway).current, index)
    told: dict[str, Any] = {
        "index": index,
        "version": loaded.version if loaded else None,
        "generation": loaded.generation if loaded else 0,
        "newest": _plain(newest),
        "up_to_date": (newest.generation if newest else 0) <= (loaded.generation if loaded else 0),
        "trouble": gateway.indexes.trouble(index),
    }
    return _json(told, {"X-Index-Version": told["version"] or "none"})


async def index_versions(request: Request) -> Response:
    """Every version whose manifest is still stored, newest first."""
    gateway, index = state.of(request), request.query_params.get("index", DEFAULT)
    await _known(gateway, index)
    versions = await gateway.in_thread(_index(gateway).versions, index)
    return _json({"index": index, "versions": [_plain(version) for version in versions]})


async def rebuild(request: Request) -> Response:
    """Embed everything again: 202, like `POST /async-function/embed_all`."""
    gateway = state.of(request)
    if REBUILD not in gateway.deployment.functions:
        refuse(404, f"There is no function {REBUILD} in functions.yaml, which is what a rebuild calls.")
    return await invoke.accept(request, gateway, gateway.deployment.find(REBUILD))


async def _known(gateway: state.Gateway, index: str) -> None:
    if not await gateway.indexes.find(index):
        refuse(404, f"There is no index {index}; there is {', '.join(gateway.indexes.names)}.")


def _index(gateway: state.Gateway) -> FaissIndex:
    from runtime.index.port import FaissIndex

    return FaissIndex(gateway.store, gateway.sync_redis)


def _plain(version: IndexVersion | None) -> dict[str, Any] | None:
    return None if version is None else asdict(version)


def _json(told: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(told), headers=headers, media_type="application/json")
