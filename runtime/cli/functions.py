"""`tundish functions` and `tundish invoke`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

if TYPE_CHECKING:
    from runtime.cli.client import Client


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_obj
def functions(environ: Mapping[str, str], name: str | None, as_json: bool) -> None:
    """Show what is deployed; with NAME everything about one function.

    Asks the running system; without one, functions.yaml is read and described here.
    """
    from runtime.cli.output import print_json, print_table

    if name:
        found = _one(environ, name)
        print_json(found) if as_json else _print_one(found)
        return
    listed = _all(environ)
    if as_json:
        print_json({"functions": listed})
        return
    columns = ("function", "handler", "queue", "timeout", "retries", "triggers", "arguments")
    print_table(columns, [_row(found) for found in listed])
    for found in listed:
        if found.get("error"):
            click.echo(f"{found['name']} is not available: {found['error']}")
        if paused := found.get("paused"):
            click.echo(f"{found['name']} rests{': ' if paused['reason'] else ''}{paused['reason']}")


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
    if sys.stderr.isatty() and not asynchronous:
        from runtime.cli.following import wait_with_bar

        answer = wait_with_bar(client, name, call)
    else:
        answer = call({})
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


def _one(environ: Mapping[str, str], name: str) -> dict[str, Any]:
    from runtime.cli.client import Unreachable, find

    try:
        found: dict[str, Any] = find(environ).get(f"/functions/{quote(name, safe='')}")
    except Unreachable:
        from runtime.cli.described import Described

        found = Described(environ).one(name)
    return found


def _all(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    from runtime.cli.client import Unreachable, find

    try:
        client = find(environ)
        names = [found["name"] for found in client.get("/functions")["functions"]]
        return [client.get(f"/functions/{quote(name, safe='')}") for name in names]
    except Unreachable:
        from runtime.cli.described import Described

        return Described(environ).all()


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    properties = (found.get("schema") or {}).get("properties", {})
    required = (found.get("schema") or {}).get("required", ())
    retries = found.get("retries") or {}
    return (
        found["name"],
        found["handler"],
        found["queue"],
        found.get("timeout") or "none",
        str(retries.get("max", "")),
        ", ".join(_trigger(trigger) for trigger in found["triggers"]) or "none",
        ", ".join(key if key in required else f"{key}?" for key in properties),
    )


def _trigger(trigger: Mapping[str, Any]) -> str:
    if "bucket" in trigger:
        return f"bucket {trigger['bucket']}"
    if "cron" in trigger:
        return f"cron {trigger['cron']}"
    return f"every {trigger['every']}" if "every" in trigger else "http"


def _print_one(found: Mapping[str, Any]) -> None:
    click.echo(f"{found['name']}: {found.get('doc') or 'no description'}")
    for key in ("handler", "queue", "priority", "timeout", "soft_timeout", "role", "on_failure", "error"):
        if found.get(key) is not None:
            click.echo(f"{key}: {found[key]}")
    for key in ("retries", "triggers", "on_success", "schema", "returns"):
        if found.get(key):
            click.echo(f"{key}: {json.dumps(found[key], indent=2, ensure_ascii=False)}")
