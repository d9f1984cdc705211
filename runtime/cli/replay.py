"""`tundish replay`: triggers once more over objects that are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.cli.client import Client

_PATH = "/admin/replay"


@click.command()
@click.option("--bucket", help="The bucket whose triggers run again.", shell_complete=complete.buckets)
@click.option("--prefix", default="", help="Only keys that begin with it.")
@click.option("--since", help="Only objects written since: 2h, 7d, or 2026-03-01T12:00.")
@click.option("--failed", is_flag=True, help="Only objects whose call failed for good.")
@click.option("--trigger", help="Only this trigger, or those of this function.")
@click.option("--wait/--no-wait", default=True, help="Wait for its end (default: yes).")
@click.option("--status", "status_of", metavar="ID", help="How far a replay is.")
@click.option("--cancel", "cancelled", metavar="ID", help="Hand out no more for a replay.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_obj
def replay(
    environ: Mapping[str, str],
    /,
    bucket: str | None,
    wait: bool,
    status_of: str | None,
    cancelled: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Run the triggers of a bucket again over its objects. Without options: the replays that are under way.

    Exit code 0: all of its objects went well; 1: some failed, or it was cancelled.
    """
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    given = {name: value for name, value in asked.items() if value}
    if sum(one is not None for one in (bucket, status_of, cancelled)) > 1 or (given and bucket is None):
        raise click.UsageError("Name a --bucket (with what is meant of it), or --status ID, or --cancel ID.")
    client = find(environ)
    if bucket is not None:
        told = _ask(client, {"bucket": bucket, **given})
        if wait:
            told = _wait(client, told["id"])
        elif not as_json:
            click.echo(told["id"])
            return
    elif status_of or cancelled:
        path = f"{_PATH}/{quote(status_of or cancelled or '', safe='')}"
        told = client.call("DELETE" if cancelled else "GET", path).json()
    else:
        _list(client, as_json)
        return
    if as_json:
        print_json(told)
    else:
        _print(told)
    if bucket is not None and wait and (told["failed"] or told["state"] != "done"):
        raise SystemExit(1)


def _ask(client: Client, wish: Mapping[str, Any]) -> dict[str, Any]:
    from runtime.cli.client import Refused

    try:
        told: dict[str, Any] = client.post(_PATH, wish)
    except Refused as error:
        if error.status == 422:  # an option says what cannot be
            raise click.UsageError(str(error)) from error
        raise
    return told


def _wait(client: Client, replay_id: str) -> dict[str, Any]:
    from runtime.cli.display import Display
    from runtime.cli.replaying import follow

    try:
        with Display() as display:
            return follow(client, f"{_PATH}/{replay_id}", display)
    except KeyboardInterrupt:
        click.echo(f"The replay goes on. To look at it: tundish replay --status {replay_id}", err=True)
        click.echo(f"To end it: tundish replay --cancel {replay_id}", err=True)
        raise SystemExit(130) from None


def _print(told: Mapping[str, Any]) -> None:
    """How far it is, then what is wrong with it."""
    from runtime.cli.replaying import sentence

    click.echo(f"{told['id']} {told['state']}: {sentence(told)}")
    for one in told["triggers"]:
        if one["state"] == "cancelled":
            click.echo(f"  {one['trigger']}: {one['reason']}")
        for failure in one["failures"]:
            click.echo(f"  failed: {told['bucket']}/{failure['key']}: {failure['reason']}")
    if told["failed"]:
        click.echo(f"All that failed: tundish buckets failed {told['bucket']}")


def _list(client: Client, as_json: bool) -> None:
    from runtime.cli.output import print_json, print_table
    from runtime.cli.replaying import sentence
    from runtime.cli.task_output import when

    found = client.get(_PATH)
    if as_json:
        print_json(found)
    elif found["replays"]:
        rows = [
            (one["id"], f"{one['bucket']}/{one['prefix']}*", when(one["started"]), one["state"], sentence(one))
            for one in found["replays"]
        ]
        print_table(("id", "objects", "started", "state", "how far"), rows)
    else:
        click.echo("No replay is under way.")
