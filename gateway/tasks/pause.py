"""`/admin/pause` and `/admin/resume`: functions, queues, triggers and schedules that rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.web import body
from gateway.web.fields import Given, parse
from gateway.web.problems import refuse
from runtime.buckets.watch import find, watches
from runtime.config.settings import Project
from runtime.invocations import pause
from runtime.schedules import schedule as schedules
from runtime.values.nearest import nearest

Kind = Literal["function", "queue", "trigger", "schedule"]


class Named(Given):
    """What is to rest or to go on. A function's name also means all its triggers, or all its schedules."""

    kind: Kind
    name: str
    reason: Annotated[str, Field(max_length=1000)] = ""


async def listing(request: Request) -> Response:
    """What rests, with since when and why."""
    return _answer(paused=listed(await pause.paused_async(state.of(request).redis)))


async def rest(request: Request) -> Response:
    """Let something rest: what is accepted waits, what runs goes on. 404 names the nearest."""
    gateway, given = state.of(request), await _named(request)
    names = resolve(gateway.project, given.kind, given.name)
    for name in names:
        await pause.pause_async(gateway.redis, given.kind, name, given.reason)
    return _answer(kind=given.kind, names=names, paused=True)


async def resume(request: Request) -> Response:
    """Let it go on. `changed` is false where nothing rested."""
    gateway, given = state.of(request), await _named(request)
    resting = {name for kind, name in await pause.paused_async(gateway.redis) if kind == given.kind}
    # What rests can go on even when functions.yaml has lost it since.
    names = [given.name] if given.name in resting else resolve(gateway.project, given.kind, given.name)
    changed = [await pause.resume_async(gateway.redis, given.kind, name) for name in names]
    return _answer(kind=given.kind, names=names, paused=False, changed=any(changed))


def resolve(project: Project, kind: str, name: str) -> list[str]:
    """The names that are meant; 404 where there is none. Raises ScheduleNotFound and TriggerNotFound."""
    if kind == "function":
        return _known(kind, name, project.functions)
    if kind == "queue":
        return _known(kind, name, project.queues)
    if kind == "schedule":
        return [schedule.name for schedule in schedules.find(project, name)]
    mine = [watch.name for watch in watches(project) if watch.function.name == name]
    return mine or [watch.name for watch in find(project, name)]


def listed(resting: pause.Paused) -> list[dict[str, Any]]:
    return [{"kind": kind, "name": name, **told} for (kind, name), told in sorted(resting.items())]


def _known(kind: str, name: str, names: Iterable[str]) -> list[str]:
    names = list(names)
    if name not in names:
        refuse(404, f"There is no {kind} {name}{nearest(name, names)}")
    return [name]


async def _named(request: Request) -> Named:
    return parse(Named, await body.json_object(request, state.of(request).project.limits.body))


def _answer(**told: Any) -> Response:
    return Response(to_json(told), headers={"Cache-Control": "no-store"}, media_type="application/json")
