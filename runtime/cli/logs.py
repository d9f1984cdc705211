"""`tundish logs`: what functions put out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.cli.client import Client

Show = Callable[[Mapping[str, Any]], None]


@click.command()
@click.argument("task_id", required=False, metavar="[ID]", shell_complete=complete.calls)
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with what comes, until the call ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(0, 10_000), default=100, show_default=True, help="So many old lines."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
@click.pass_obj
def logs(environ: Mapping[str, str], task_id: str | None, follows: bool, lines: int, as_json: bool) -> None:
    """Show what a call printed and logged; without ID the newest output of all calls, with function and id."""
    from runtime.cli.client import find

    client = find(environ)
    show = _json if as_json else _plain if task_id else _labelled
    try:
        if task_id:
            _of_one(client, task_id, show, lines, follows=follows)
        else:
            _of_all(client, show, lines, follows=follows)
    except KeyboardInterrupt:
        return  # that is how one stops following


def _of_one(client: Client, task_id: str, show: Show, lines: int, *, follows: bool) -> None:
    from runtime.cli.event_stream import events
    from runtime.cli.following import ENDS

    path = f"/api/v1/tasks/task/{quote(task_id, safe='')}"
    # All of them where they are followed, so that the place to go on from is known even with -n 0.
    fields = {"format": "json"} | ({} if follows else {"tail": str(lines)})
    found = client.get(f"{path}/logs", **fields)["lines"]
    for line in found[max(0, len(found) - lines) :]:
        show(line)
    place = found[-1]["id"] if found else "0-0"
    for event in events(client, f"{path}/events", place) if follows else ():
        if event.name == "log" and event.data:
            show(event.data)
        elif event.data and event.data.get("status") in ENDS:
            click.echo(f"{event.data['function']} {event.data['state']}", err=True)
            return


def _of_all(client: Client, show: Show, lines: int, *, follows: bool) -> None:
    from runtime.cli.event_stream import events

    if follows:
        for event in events(client, f"/api/v1/logs?tail={lines}"):
            show(event.data or {})
        return
    for line in client.call("GET", "/api/v1/logs", fields={"tail": str(lines)}).data.splitlines():
        show(json.loads(line))


def _plain(line: Mapping[str, Any]) -> None:
    from runtime.attempts.lines import plain

    click.echo(plain(line["text"], line["level"]))


def _labelled(line: Mapping[str, Any]) -> None:
    from runtime.attempts.lines import plain

    click.echo(f"{line['function']}[{line['task_id'][:8]}] {plain(line['text'], line['level'])}")


def _json(line: Mapping[str, Any]) -> None:
    click.echo(json.dumps(line, ensure_ascii=False))
