"""`tundish queues` and `tundish workers`: who has what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
_QUEUES = ("queue", "state", "waiting", "at gates", "running", "oldest", "workers")
_WORKERS = ("worker", "state", "queue", "pool", "running", "held", "version", "host", "pid", "since")


@click.command()
@_json
@click.pass_obj
def queues(environ: Mapping[str, str], as_json: bool) -> None:
    """Show every queue: what waits in it and for how long, what runs, and who works on it."""
    _show(environ, "queue", "queues", _QUEUES, _queue, as_json)


@click.command()
@_json
@click.pass_obj
def workers(environ: Mapping[str, str], as_json: bool) -> None:
    """Show every worker that is alive, on any host, with what it runs and holds."""
    _show(environ, "workers", "workers", _WORKERS, _worker, as_json)


def _show(environ: Mapping[str, str], path: str, name: str, columns: tuple[str, ...], row: Any, as_json: bool) -> None:
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table

    told = find(environ).get(f"/api/v1/tasks/{path}/stats")
    if as_json:
        print_json(told)
    elif told[name]:
        print_table(columns, map(row, told[name]))
    else:
        click.echo(f"There are no {name}.")


def _queue(one: Mapping[str, Any]) -> tuple[str, ...]:
    none = "scaled to zero" if one["scale_to_zero"] else "missing a worker"
    state = "paused" if one["paused"] else "ready" if one["workers"] else none
    oldest = "" if one["oldest_seconds"] is None else f"{one['oldest_seconds']:.1f} s"
    counts = (str(one[key]) for key in ("queued", "parked", "running"))
    return one["queue"], state, *counts, oldest, ", ".join(one["workers"])


def _worker(one: Mapping[str, Any]) -> tuple[str, ...]:
    from runtime.cli.task_output import when

    state = "ready" if one["ready"] else one["detail"] or "starting"
    busy = f"{one['running']}/{one['concurrency']}" if one["concurrency"] else str(one["running"])
    held, pid = str(one["held"]), str(one["pid"])
    began = when(one["since"])
    return one["worker"], state, one["queue"], one["pool"], busy, held, one["version"], one["host"], pid, began
