"""`tundish pause` and `tundish resume`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

_KINDS = click.Choice(("function", "queue", "trigger", "schedule"))
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


@click.command()
@click.argument("kind", required=False, type=_KINDS)
@click.argument("name", required=False)
@click.option("--reason", default="", help="Shown wherever it is said that this rests.")
@_json
@click.pass_obj
def pause(environ: Mapping[str, str], kind: str | None, name: str | None, reason: str, as_json: bool) -> None:
    """Let a function, queue, trigger or schedule rest: accepted work waits. Without arguments: what rests now."""
    _do(environ, "pause", kind, name, {"reason": reason}, as_json)


@click.command()
@click.argument("kind", required=False, type=_KINDS)
@click.argument("name", required=False)
@_json
@click.pass_obj
def resume(environ: Mapping[str, str], kind: str | None, name: str | None, as_json: bool) -> None:
    """Let it go on. Without arguments: what rests now."""
    _do(environ, "resume", kind, name, {}, as_json)


def _do(
    environ: Mapping[str, str], verb: str, kind: str | None, name: str | None, more: dict[str, str], as_json: bool
) -> None:
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    if kind and not name:
        raise click.UsageError(f"Which {kind}? Write: tundish {verb} {kind} NAME")
    client = find(environ)
    if kind and name:
        told: dict[str, Any] = client.post(f"/admin/{verb}", {"kind": kind, "name": name, **more})
        if as_json:
            print_json(told)
            return
        word = "rests" if told["paused"] else "goes on" if told["changed"] else "did not rest"
        for one in told["names"]:
            click.echo(f"{kind} {one} {word}")
        return
    told = client.get("/admin/pause")
    if as_json:
        print_json(told)
    else:
        _print(told["paused"])


def _print(resting: list[dict[str, Any]]) -> None:
    from runtime.cli.output import print_table
    from runtime.cli.task_output import when

    if not resting:
        click.echo("Nothing rests.")
        return
    rows = [(one["kind"], one["name"], when(one["since"]), one["reason"]) for one in resting]
    print_table(("kind", "name", "since", "reason"), rows)
