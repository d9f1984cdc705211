"""`tundish dead list|show|redrive|purge`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import click

from runtime.cli import complete
from runtime.cli.groups import hand_down

F = TypeVar("F", bound=Callable[..., Any])

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_PATH = "/api/v1/tasks/dead"


def _filters(command: F) -> F:
    """The filters that all these commands share."""
    for option in (
        click.option("--function", help="Only calls of this function.", shell_complete=complete.functions),
        click.option("--error", help="Only those whose error has this in its type or message."),
        click.option("--since", help="Only those that ended later: 2h, 7d, or 2026-03-01T12:00."),
        click.option("--until", help="Only those that ended earlier."),
        click.option("--state", type=click.Choice(("dead", "failed", "expired")), help="dead, unless named."),
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def dead(ctx: click.Context, as_json: bool) -> None:
    """Look at dead letters (calls whose retries are spent), run them again, or delete them."""
    if not hand_down(ctx):
        ctx.invoke(list_, as_json=as_json)


@dead.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@_json
@click.pass_obj
def list_(environ: Mapping[str, str], /, limit: int, as_json: bool, **filters: str | None) -> None:
    """List dead letters, the newest first."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table
    from runtime.cli.task_output import COLUMNS, row
    from runtime.cli.tasks import listed

    found = listed(find(environ), _PATH, _given(filters), limit)
    if as_json:
        print_json({"tasks": found})
    elif found:
        print_table(COLUMNS, map(row, found))
    else:
        click.echo("There are no such dead letters." if _given(filters) else "There are no dead letters.")


@dead.command()
@click.argument("task_id", metavar="ID", shell_complete=complete.dead_calls)
@_json
@click.pass_obj
def show(environ: Mapping[str, str], task_id: str, as_json: bool) -> None:
    """Show one letter whole: arguments, error with traceback, attempts, times."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json
    from runtime.cli.task_output import detail

    told = find(environ).get(f"{_PATH}/{quote(task_id, safe='')}")
    if as_json:
        print_json(told)
        return
    for line in detail(told):
        click.echo(line)


@dead.command()
@click.argument("ids", nargs=-1, metavar="[ID...]", shell_complete=complete.dead_calls)
@_filters
@_json
@click.pass_obj
def redrive(environ: Mapping[str, str], /, ids: tuple[str, ...], as_json: bool, **filters: str | None) -> None:
    """Run letters again under their own ids, with all attempts before them; without ID and filters all of them."""
    _act(environ, "redrive", "redriven", ids, _given(filters), as_json)


@dead.command()
@click.argument("ids", nargs=-1, metavar="[ID...]", shell_complete=complete.dead_calls)
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@click.pass_obj
def purge(environ: Mapping[str, str], /, ids: tuple[str, ...], yes: bool, as_json: bool, **filters: str | None) -> None:
    """Delete letters for good; without ID and filters all of them."""
    from runtime.cli.asking import insist

    if not yes:
        which = "these dead letters" if ids or _given(filters) else "ALL dead letters"
        insist(f"Delete {which} for good?")
    _act(environ, "purge", "purged", ids, _given(filters), as_json)


def _given(filters: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in filters.items() if value is not None}


def _act(
    environ: Mapping[str, str], verb: str, name: str, ids: tuple[str, ...], given: Mapping[str, str], as_json: bool
) -> None:
    """Ask until all are done. What dies once more meanwhile is not taken again."""
    from runtime.cli.client import find
    from runtime.cli.display import Display
    from runtime.cli.output import print_json

    if ids and given:
        raise click.UsageError("Name letters by ID or by filters, not by both.")
    client, done, skipped = find(environ), list[str](), dict[str, str]()
    body: dict[str, Any] = {"ids": list(ids)} if ids else dict(given)
    more = True
    with Display() as display:
        while more:
            answer = client.post(f"{_PATH}/{verb}", body)
            done += answer[name]
            skipped |= answer["skipped"]
            more = answer["more"] and bool(answer[name])
            if more:
                body["until"] = answer["until"]
                display.progress({"done": len(done), "total": None, "message": name})
    if as_json:
        print_json({name: done, "skipped": skipped})
    else:
        click.echo(f"{len(done)} {name}")
        for task_id, reason in skipped.items():
            click.echo(f"tundish: {task_id}: {reason}", err=True)
    if skipped:
        raise SystemExit(1)
