"""`/admin/…`: index versions, rollback and release, and a rebuild."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access.permission import barred
from gateway.calls import invoke
from gateway.calls.accepting import accept_call
from gateway.search.indexes import DEFAULT
from gateway.web import body
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.config.engine import QDRANT
from runtime.config.model import Name
from runtime.context import Capacity, IndexVersion, advice, capacity, level_of, next_step
from runtime.errors import PreconditionFailed
from runtime.invocations.submit import Call

if TYPE_CHECKING:
    from runtime.index.engines import Indexes
    from runtime.index.reader import IndexReader

REBUILD, BUILD = "embed_all", "build_index"
T = TypeVar("T")


class Released(Given):
    """Which index is meant."""

    index: Name = DEFAULT


class Listed(Released):
    """How many versions are told."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Rolled(Released):
    """Back to which of its generations."""

    generation: Annotated[int, Field(ge=1)]


async def index_version(request: Request) -> Response:
    """The version that this gateway answers from, beside the newest that is published."""
    gateway, index = state.of(request), request.query_params.get("index", DEFAULT)
    await _known(gateway, index)
    reader = await gateway.indexes.reader()
    loaded = reader.version(index)
    newest = await gateway.in_thread(_index(gateway).current, index)
    level = level_of(newest) if newest else 0.0
    told: dict[str, Any] = {
        "index": index,
        "indexes": gateway.indexes.names,
        "version": loaded.version if loaded else None,
        "generation": loaded.generation if loaded else 0,
        "newest": _plain(newest),
        "up_to_date": (newest.generation if newest else 0) <= (loaded.generation if loaded else 0),
        "trouble": gateway.indexes.trouble(index),
        "migration_urgency": round(level, 2),
        "advice": advice(level),
        "next_step": next_step(index, level),
        "capacity": _capacity(gateway, newest),
        "words": _words(gateway, reader, index),
    }
    return _json(told, {"X-Index-Version": told["version"] or "none"})


async def index_versions(request: Request) -> Response:
    """The newest versions whose manifest is still stored, newest first."""
    gateway, asked = state.of(request), parse(Listed, request.query_params)
    await _known(gateway, asked.index)
    versions = await gateway.in_thread(_index(gateway).versions, asked.index, asked.limit)
    return _json({"index": asked.index, "versions": [_plain(version) for version in versions]})


async def rollback(request: Request) -> Response:
    """Answer from an older version again. Builds publish nothing before the release; 409 while they are faster."""
    gateway, given = state.of(request), parse(Rolled, await _body(request))
    await _known(gateway, given.index)
    made = await _published(gateway, _index(gateway).rollback, given.index, given.generation)
    return _json(_plain(made))


async def release(request: Request) -> Response:
    """Let builds go on; `task_id` is the build that brings what was held back, where functions.yaml has `build_index`.

    `released` is false where nothing was held.
    """
    gateway, given = state.of(request), parse(Released, await _body(request))
    await _known(gateway, given.index)
    build = gateway.deployment.functions.get(BUILD)
    if build and (told := barred(request, BUILD, build.spec.role)):
        refuse(403, told)
    current, held = await _published(gateway, _index(gateway).release, given.index)
    task_id = None
    if held and build:
        task_id = (await accept_call(gateway, Call(BUILD, {"index": given.index}))).id
    return _json({"index": given.index, "released": held, "version": _plain(current), "task_id": task_id})


async def rebuild(request: Request) -> Response:
    """Embed everything again: 202, like `POST /async-function/embed_all`."""
    gateway = state.of(request)
    if REBUILD not in gateway.deployment.functions:
        refuse(404, f"There is no function {REBUILD} in functions.yaml, which is what a rebuild calls.")
    deployed = gateway.deployment.find(REBUILD)
    if told := barred(request, REBUILD, deployed.spec.role):
        refuse(403, told)
    return await invoke.accept(request, gateway, deployed)


async def _body(request: Request) -> dict[str, Any]:
    return await body.json_object(request, state.of(request).project.limits.body)


async def _published(gateway: state.Gateway, change: Callable[..., T], *arguments: Any) -> T:
    try:
        return await gateway.in_thread(change, *arguments)
    except PreconditionFailed as error:
        refuse(409, str(error))


async def _known(gateway: state.Gateway, index: str) -> None:
    if not await gateway.indexes.find(index):
        refuse(404, f"There is no index {index}; there is {', '.join(gateway.indexes.names)}.")


def _index(gateway: state.Gateway) -> Indexes:
    from runtime.index.engines import open_index

    return open_index(lambda: gateway.project, gateway.store, gateway.sync_redis)


def _words(gateway: state.Gateway, reader: IndexReader, index: str) -> dict[str, int] | None:
    """How many segments have words to search by, where functions.yaml asks for them."""
    if not gateway.project.is_hybrid(index):
        return None
    having, segments = reader.words(index)
    return {"segments": segments, "with_words": having}


def _capacity(gateway: state.Gateway, newest: IndexVersion | None) -> Capacity | None:
    """Where this gateway's machine runs out, by its own latest searches."""
    if newest is None or newest.kind == QDRANT:
        return None
    p99 = gateway.search_times.p99(newest.index)
    return capacity(newest.vectors, newest.bytes, newest.dimensions, newest.kind, seconds=p99)


def _plain(version: IndexVersion | None) -> dict[str, Any] | None:
    return None if version is None else asdict(version)


def _json(told: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(told), headers=headers, media_type="application/json")
