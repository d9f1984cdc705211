"""`tundish schedule` and `tundish schedule next`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from runtime.cli import complete
from runtime.cli.groups import hand_down

_SHORT = "%Y-%m-%d %H:%M:%S"
_FULL = "%a %Y-%m-%d %H:%M:%S %z"
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def schedule(ctx: click.Context, as_json: bool) -> None:
    """Show the schedules: their last run, their next one, and whether they are paused.

    Asks the running system; without one, functions.yaml is read here, and no last run is known.
    """
    from runtime.cli.output import print_json, print_table

    if hand_down(ctx):
        return
    found = _ask(ctx.obj, "", 1)
    if as_json:
        print_json({"schedules": found})
        return
    columns = ("schedule", "when", "zone", "overlap", "last run", "invocation", "state", "next run")
    print_table(columns, [_row(one) for one in found])


@schedule.command("next")
@click.argument("name", required=False, default="", shell_complete=complete.scheduled)
@click.option("-n", "count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many runs.")
@_json
@click.pass_obj
def next_(environ: Mapping[str, str], name: str, count: int, as_json: bool) -> None:
    """Preview the next runs of every schedule, or of the one (or the function) called NAME.

    Shows them in the schedule's own time zone and in that of this machine, with what daylight saving does.
    """
    from runtime.cli.output import print_json, print_table

    found = _ask(environ, name, count)
    if as_json:
        print_json({"schedules": [{key: one[key] for key in ("name", "function", "paused", "next")} for one in found]})
        return
    rows = [(one, run) for one in found for run in one["next"]]
    rows.sort(key=lambda row: _instant(row[1]["at"]))
    columns = ("schedule", "its time", "zone", "here", "note")
    print_table(columns, [_run_row(one, run) for one, run in rows])


def _ask(environ: Mapping[str, str], name: str, count: int) -> list[dict[str, Any]]:
    from runtime.cli.client import Unreachable, find

    try:
        asked = {"name": name} if name else {}
        found: list[dict[str, Any]] = find(environ).get("/admin/schedules", next=str(count), **asked)["schedules"]
    except Unreachable:
        return _here(environ, name, count)
    return found


def _here(environ: Mapping[str, str], name: str, count: int) -> list[dict[str, Any]]:
    """From functions.yaml alone. Raises ConfigError, ScheduleNotFound."""
    from runtime.config.load import load_settings
    from runtime.schedules import schedule as schedules
    from runtime.schedules.view import told

    project = load_settings(environ).project
    found = schedules.find(project, name) if name else schedules.schedules(project)
    return [told(one, None, {}, datetime.now(UTC), count) for one in found]


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    last, coming, paused = one["last"] or {}, one["next"], one["paused"]
    return (
        one["name"],
        one["expression"],
        one["timezone"],
        one["overlap"],
        _here_time(last["tick"]) if last else "unknown" if one["ticks"] is None else "none yet",
        last.get("invocation") or "",
        (last.get("state") or "not kept") if last else "",
        _paused(paused) if paused else _here_time(coming[0]["at"]) if coming else "never",
    )


def _paused(told: Mapping[str, Any]) -> str:
    return f"paused since {_here_time(told['since'])}" + (f": {told['reason']}" if told["reason"] else "")


def _run_row(one: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[str, ...]:
    its, here = _instant(run["local"]), _instant(run["at"]).astimezone()
    note = "; ".join(word for word in ("paused" if one["paused"] else "", run["note"]) if word)
    return one["name"], its.strftime(_FULL), one["timezone"], here.strftime(_FULL), note


def _here_time(instant: str | float) -> str:
    return _instant(instant).astimezone().strftime(_SHORT)


def _instant(told: str | float) -> datetime:
    """ISO 8601, or seconds since the epoch."""
    return datetime.fromisoformat(told) if isinstance(told, str) else datetime.fromtimestamp(told, UTC)
