"""`tundish invoke`: calling a function."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

if TYPE_CHECKING:
    from runtime.cli.client import Client


@click.command()
@click.argument("name")
@click.option("-d", "--data", default="{}", help="The arguments: a JSON object, @FILE, or - for standard input.")
@click.option("--async", "asynchronous", is_flag=True, help="Do not wait: print the id of the invocation.")
@click.option("--follow", "follows", is_flag=True, help="Show its output and progress; a failure is retried.")
@click.option("--json", "as_json", is_flag=True, help="The result with the call's id, duration and attempts.")
@click.pass_obj
def invoke(environ: Mapping[str, str], name: str, data: str, asynchronous: bool, follows: bool, as_json: bool) -> None:
    """Call a function and print what it returns."""
    from runtime.cli.client import Answer, find
    from runtime.cli.output import print_json

    if asynchronous and follows:
        raise click.UsageError("--async does not wait, --follow does: give one of them.")
    client, body = find(environ), _arguments(data)

    def call(headers: Mapping[str, str]) -> Answer:
        path = f"/{'async-function' if asynchronous or follows else 'function'}/{quote(name, safe='')}"
        return client.call(
            "POST", path, body=body, headers={"Content-Type": "application/json", **headers}, timeout=None
        )

    if follows:
        _follow(client, call({}).json()["task_id"], as_json=as_json)
        return
    try:
        if sys.stderr.isatty() and not asynchronous:
            from runtime.cli.following import wait_with_bar

            answer = wait_with_bar(client, name, call)
        else:
            answer = call({})
    except KeyboardInterrupt:
        click.echo(f"The call goes on, if it was taken. To find it: tundish tasks --function {name}", err=True)
        click.echo("To end it: tundish cancel ID", err=True)
        sys.exit(130)
    result = answer.json()
    if answer.status == 202:
        print_json(result) if as_json else click.echo(result["task_id"])
        if not asynchronous:
            click.echo("It has not finished yet; ask for it with its id later.", err=True)
    elif as_json:
        duration, attempts = answer.headers.get("X-Duration-Seconds"), answer.headers.get("X-Attempts")
        print_json(
            {
                "result": result,
                "id": answer.headers.get("X-Call-Id"),
                "duration_seconds": float(duration) if duration else None,
                "attempts": int(attempts) if attempts else None,
            }
        )
    else:
        print_json(result)


def _follow(client: Client, task_id: str, *, as_json: bool) -> None:
    """Output and progress on standard error, the result on standard output."""
    from runtime.cli.display import Display
    from runtime.cli.following import follow, outcome
    from runtime.cli.output import print_json

    try:
        with Display() as display:
            told = follow(client, task_id, display)
    except KeyboardInterrupt:
        click.echo(f"The call goes on. To watch it: tundish logs -f {task_id}", err=True)
        click.echo(f"To end it: tundish cancel {task_id}", err=True)
        sys.exit(130)
    result = outcome(client, told)
    more = {"id": task_id, "duration_seconds": told["duration_seconds"], "attempts": told["attempt"]}
    print_json({"result": result, **more} if as_json else result)


def _arguments(data: str) -> bytes:
    if data == "-":
        text = sys.stdin.read()
    elif data.startswith("@"):
        try:
            text = Path(data[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{data[1:]} cannot be read: {error}") from error
    else:
        text = data
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise click.UsageError(
            f"The arguments are not JSON ({error}); write them like -d '{{\"name\": 1}}'."
        ) from error
    if not isinstance(value, dict):
        raise click.UsageError(f"The arguments are a JSON object, found {text.strip()[:60]}")
    return json.dumps(value).encode()
