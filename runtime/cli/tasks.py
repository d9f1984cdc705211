"""`tundish tasks`, `cancel`, `retry` and `purge`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import click

from runtime.cli import complete

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_PAGE = 200
_TREE = 1000
"""Descendants that are shown of one task."""


@click.command()
@click.argument("task_id", required=False, metavar="[ID]", shell_complete=complete.calls)
@click.option("--function", help="Only calls of this function.", shell_complete=complete.functions)
@click.option("--state", help="Only those in this state: queued, running, succeeded, dead, …")
@click.option("--root", help="Only those that came of this call.")
@click.option("--since", help="Only newer ones: 2h, 7d, or 2026-03-01T12:00.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@_json
@click.pass_obj
def tasks(environ: Mapping[str, str], /, task_id: str | None, limit: int, as_json: bool, **filters: str | None) -> None:
    """List what was called, the newest first; with ID everything about one call, and what came of it."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table
    from runtime.cli.task_output import COLUMNS, detail, row, tree

    client = find(environ)
    given = {name: value for name, value in filters.items() if value is not None}
    if task_id is None:
        found = listed(client, "/api/v1/tasks", given, limit)
        if as_json:
            print_json({"tasks": found})
        elif found:
            print_table(COLUMNS, map(row, found))
        else:
            click.echo("There are no such calls." if given else "Nothing has been called yet.")
        return
    if given:
        raise click.UsageError("Name one task, or filters for a list, not both.")
    told = client.get(f"/api/v1/tasks/task/{quote(task_id, safe='')}", traceback="1", arguments="1")
    family = listed(client, "/api/v1/tasks", {"root": told["root_id"]}, _TREE)
    if as_json:
        print_json(told | {"tree": family})
        return
    for line in [*detail(told), *tree(family, task_id)]:
        click.echo(line)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete.open_calls)
@click.option("--reason", default="", help="Kept in the record.")
@_json
@click.pass_obj
def cancel(environ: Mapping[str, str], ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Cancel calls: those that wait end at once, those that run are stopped."""
    told, client = {"reason": reason} if reason else {}, _client(environ)
    _each(ids, as_json, lambda one: client.post(_path(one, "revoke"), told), "{state} {task_id}")


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete.ended_calls)
@_json
@click.pass_obj
def retry(environ: Mapping[str, str], ids: tuple[str, ...], as_json: bool) -> None:
    """Call again, with the same arguments, what has ended. Prints the id of each new call."""
    client = _client(environ)
    _each(ids, as_json, lambda one: client.post(_path(one, "retry"), {}), "{task_id}")


@click.command()
@click.argument("queue", shell_complete=complete.queues)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@click.pass_obj
def purge(environ: Mapping[str, str], queue: str, yes: bool, as_json: bool) -> None:
    """Cancel everything that waits in QUEUE, and take its messages out."""
    from runtime.cli.asking import insist
    from runtime.cli.display import Display
    from runtime.cli.output import print_json

    client = _client(environ)
    if not yes:
        insist(f"Cancel everything that waits in the queue {queue}?")
    cancelled = messages = 0
    more = True
    with Display() as display:
        while more:
            done = client.post(f"/api/v1/tasks/queue/{quote(queue, safe='')}/purge", {})
            cancelled, messages = cancelled + done["cancelled"], messages + done["messages"]
            more = done["more"] and done["cancelled"] > 0
            if more:
                display.progress({"done": cancelled, "total": None, "message": "cancelled"})
    if as_json:
        print_json({"queue": queue, "cancelled": cancelled, "messages": messages})
    else:
        click.echo(f"{cancelled} calls cancelled, {messages} messages removed")


def listed(client: Any, path: str, given: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
    """As many tasks of a list as are wanted, page by page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while len(found) < limit:
        answer = client.get(path, **given, **cursor, limit=str(min(_PAGE, limit - len(found))))
        found += answer["tasks"]
        if not answer["cursor"]:
            break
        cursor = {"cursor": answer["cursor"]}
    return found


def _client(environ: Mapping[str, str]) -> Any:
    from runtime.cli.client import find

    return find(environ)


def _path(task_id: str, verb: str) -> str:
    return f"/api/v1/tasks/task/{quote(task_id, safe='')}/{verb}"


def _each(ids: tuple[str, ...], as_json: bool, act: Callable[[str], Any], words: str) -> None:
    """Do the same for every id; those that are refused are told, and the others are done all the same."""
    from runtime.cli.client import Refused
    from runtime.cli.output import print_json

    done, refused = [], []
    for task_id in ids:
        try:
            answer = act(task_id)
        except Refused as error:
            if error.exit_code != 1:
                raise
            refused.append({"task_id": task_id, "error": str(error)})
            click.echo(f"tundish: {error}", err=True)
        else:
            done.append(answer)
            if not as_json:
                click.echo(words.format_map(answer))
    if as_json:
        print_json({"tasks": done, "refused": refused})
    if refused:
        raise SystemExit(1)
