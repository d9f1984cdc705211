"""`tundish pause` and `tundish resume`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from runtime.cli import complete

_KINDS = click.Choice(("function", "queue", "trigger", "schedule"))
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.command()
@click.argument("kind", required=False, type=_KINDS)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete.resting)
@click.option("--reason", default="", help="Shown wherever it is said that this rests.")
@_json
@click.pass_obj
def pause(environ: Mapping[str, str], kind: str | None, names: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Let functions, queues, triggers or schedules rest: accepted work waits. Without arguments: what rests now."""
    _do(environ, "pause", kind, names, {"reason": reason}, as_json)


@click.command()
@click.argument("kind", required=False, type=_KINDS)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete.resting)
@_json
@click.pass_obj
def resume(environ: Mapping[str, str], kind: str | None, names: tuple[str, ...], as_json: bool) -> None:
    """Let them go on. Without arguments: what rests now."""
    _do(environ, "resume", kind, names, {}, as_json)


def _do(
    environ: Mapping[str, str],
    verb: str,
    kind: str | None,
    names: tuple[str, ...],
    more: dict[str, str],
    as_json: bool,
) -> None:
    from runtime.cli.client import Refused, find
    from runtime.cli.output import print_json

    if kind and not names:
        raise click.UsageError(f"Which {kind}? Write: tundish {verb} {kind} NAME")
    client = find(environ)
    if not kind:
        told = client.get("/admin/pause")
        print_json(told) if as_json else _print(told["paused"])
        return
    meant: list[str] = []
    changed, refused = False, False
    for name in names:
        try:
            told = client.post(f"/admin/{verb}", {"kind": kind, "name": name, **more})
        except Refused as error:  # the others are done all the same
            if error.exit_code != 1:
                raise
            click.echo(f"tundish: {error}", err=True)
            refused = True
            continue
        meant += told["names"]
        changed = changed or told.get("changed", True)
        word = "rests" if told["paused"] else "goes on" if told["changed"] else "did not rest"
        for one in () if as_json else told["names"]:
            click.echo(f"{kind} {one} {word}")
    if as_json:
        print_json({"kind": kind, "names": meant, "paused": verb == "pause", "changed": changed})
    if refused:
        raise SystemExit(1)


def _print(resting: list[dict[str, Any]]) -> None:
    from runtime.cli.output import print_table
    from runtime.cli.task_output import when

    if not resting:
        click.echo("Nothing rests.")
        return
    rows = [(one["kind"], one["name"], when(one["since"]), one["reason"]) for one in resting]
    print_table(("kind", "name", "since", "reason"), rows)
