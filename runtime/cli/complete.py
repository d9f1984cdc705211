"""What a shell offers after a command: names of functions, queues, buckets, schedules, indexes and recent calls.

Names are read from functions.yaml as it is, with all its mistakes; without that file the running system is asked. A
shell waits for this: nothing heavy is imported, and where there is nothing to offer, nothing is said.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_PATIENCE_SECONDS = 1.0
_CALLS = 30
_ENDED = frozenset({"succeeded", "failed", "dead", "cancelled", "expired"})
Offer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def functions(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _fitting(_functions(ctx), incomplete)


def queues(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _fitting(_queues(ctx), incomplete)


def buckets(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _fitting(_of_triggers(ctx, "bucket"), incomplete)


def indexes(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _fitting(["default", *_of_triggers(ctx, "index"), *_section(ctx, "indexes")], incomplete)


def scheduled(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Functions with a schedule: their names stand for all of them."""
    return _fitting(_with_trigger(ctx, "cron", "every"), incomplete)


def resting(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What `pause` and `resume` take after the kind."""
    offers: Mapping[str, Offer] = {"function": functions, "queue": queues, "schedule": scheduled}
    kind = str(ctx.params.get("kind"))
    if kind == "trigger":
        return _fitting(_with_trigger(ctx, "bucket"), incomplete)
    return offers[kind](ctx, parameter, incomplete) if kind in offers else []


def calls(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recent calls, each with what it was."""
    return _calls(ctx, incomplete, lambda state: True)


def open_calls(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _calls(ctx, incomplete, lambda state: state not in _ENDED)


def ended_calls(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _calls(ctx, incomplete, lambda state: state in _ENDED)


def dead_calls(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _calls(ctx, incomplete, lambda state: True, "/api/v1/tasks/dead")


def _functions(ctx: click.Context) -> list[str]:
    found = list(_section(ctx, "functions"))
    return found or [one["name"] for one in _asked(ctx, "/functions").get("functions", ())]


def _queues(ctx: click.Context) -> list[str]:
    found = list(_section(ctx, "queues"))
    if found or _section(ctx, "functions"):
        return found or ["default"]
    return [one["queue"] for one in _asked(ctx, "/api/v1/tasks/queue/stats").get("queues", ())]


def _calls(
    ctx: click.Context, incomplete: str, wanted: Callable[[str], bool], path: str = "/api/v1/tasks"
) -> list[CompletionItem]:
    found = _asked(ctx, path, limit=str(_CALLS)).get("tasks", ())
    given = {word for words in ctx.params.values() if isinstance(words, tuple) for word in words}
    told = {one["task_id"]: f"{one['function']} {one['state']}" for one in found if wanted(one["state"])}
    return _fitting({task: words for task, words in told.items() if task not in given}, incomplete)


def _triggers(ctx: click.Context) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    for name, told in _section(ctx, "functions").items():
        listed = told.get("triggers") if isinstance(told, dict) else None
        found += [(name, one) for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict)]
    return found


def _of_triggers(ctx: click.Context, key: str) -> list[str]:
    return [str(trigger[key]) for _, trigger in _triggers(ctx) if key in trigger]


def _with_trigger(ctx: click.Context, *kinds: str) -> list[str]:
    return [name for name, trigger in _triggers(ctx) if any(kind in trigger for kind in kinds)]


def _section(ctx: click.Context, name: str) -> Mapping[str, Any]:
    """One part of functions.yaml, by name; empty where it cannot be read."""
    import yaml

    from runtime.host.state_folder import places

    file, _ = places(ctx.params.get("file"), None, _environ(ctx))
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    found = content.get(name) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _asked(ctx: click.Context, path: str, **fields: str) -> Mapping[str, Any]:
    """What the running system says; empty where there is none."""
    from runtime.cli.client import find
    from runtime.errors import TundishError

    with contextlib.suppress(TundishError, ValueError):
        found = find(_environ(ctx)).call("GET", path, fields=fields, timeout=_PATIENCE_SECONDS).json()
        return found if isinstance(found, dict) else {}
    return {}


def _environ(ctx: click.Context) -> Mapping[str, str]:
    return ctx.find_root().obj or {}


def _fitting(names: Iterable[str] | Mapping[str, str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    told = names if isinstance(names, Mapping) else {}
    return [
        CompletionItem(name, help=told.get(name))
        for name in dict.fromkeys(map(str, names))
        if name.startswith(incomplete)
    ]
