"""`tundish invoke`: calling a function."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from runtime.cli.client import Client


@click.command()
@click.argument("name", shell_complete=complete.functions)
@click.option("-d", "--data", help="The arguments: a JSON object, @FILE, or - for standard input.")
@click.option("--form", "fields", multiple=True, metavar="NAME=VALUE", help="One argument; NAME=@FILE uploads a file.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the result to this file or folder.")
@click.option("--async", "asynchronous", is_flag=True, help="Do not wait: print the id of the invocation.")
@click.option("--follow", "follows", is_flag=True, help="Show its output and progress; a failure is retried.")
@click.option("--json", "as_json", is_flag=True, help="The result with the call's id, duration and attempts.")
@click.pass_obj
def invoke(
    environ: Mapping[str, str],
    name: str,
    data: str | None,
    fields: tuple[str, ...],
    output: Path | None,
    asynchronous: bool,
    follows: bool,
    as_json: bool,
) -> None:
    """Call a function and print what it returns; the items of a generator as they come."""
    from runtime.cli.call_result import NDJSON
    from runtime.cli.client import find

    if asynchronous and (follows or output):
        raise click.UsageError("--async does not wait, --follow and -o do: give one of them.")
    if data is not None and fields:
        raise click.UsageError("Give the arguments by -d or by --form, not by both.")
    client, call = find(environ), _Call(name, data, fields)
    if follows:
        with call.sent(client, "async-function", {}) as answer:
            task_id = json.loads(answer.read())["task_id"]
        _follow(client, task_id, output, as_json=as_json)
        return
    route = "async-function" if asynchronous else "function"
    # A program gets one value; a person sees items when they are made.
    accept = f"{'application/json' if as_json else NDJSON}, application/json;q=0.9, */*;q=0.5"
    if output is not None and output.suffix == ".npy":
        accept = f"application/x-npy, {accept}"
    streaming = False
    with contextlib.ExitStack() as stack:

        def send(headers: Mapping[str, str]) -> BaseHTTPResponse:
            return stack.enter_context(call.sent(client, route, {"Accept": accept, **headers}))

        try:
            if sys.stderr.isatty() and not asynchronous:
                from runtime.cli.following import wait_with_bar

                answer = wait_with_bar(client, name, send)
            else:
                answer = send({})
            streaming = answer.headers.get("Content-Type") == NDJSON
            _show(answer, output, as_json=as_json, waited=not asynchronous)
        except KeyboardInterrupt:
            if streaming:
                click.echo("The call was stopped: nobody takes its items any more.", err=True)
                sys.exit(130)
            click.echo(f"The call goes on, if it was taken. To find it: tundish tasks --function {name}", err=True)
            click.echo("To end it: tundish cancel ID", err=True)
            sys.exit(130)


class _Call:
    """A call that can be sent."""

    def __init__(self, name: str, data: str | None, fields: tuple[str, ...]) -> None:
        self._name, self._fields = name, fields
        self._body = b"" if fields else _arguments(data or "{}")

    @contextlib.contextmanager
    def sent(self, client: Client, route: str, headers: Mapping[str, str]) -> Iterator[BaseHTTPResponse]:
        body: Any = self._body
        told = {"Content-Type": "application/json", **headers}
        if self._fields:
            from runtime.cli.form import Form

            body = form = Form(self._fields)
            told |= {"Content-Type": form.content_type, "Content-Length": str(form.length)}
        path = f"/{route}/{quote(self._name, safe='')}"
        with client.stream(path, told, None, method="POST", body=body) as answer:
            yield answer


def _show(answer: BaseHTTPResponse, output: Path | None, *, as_json: bool, waited: bool) -> None:
    from runtime.cli.call_result import show
    from runtime.cli.output import print_json

    if answer.status != 202:
        show(answer, output, as_json=as_json)
        return
    result = json.loads(answer.read())
    print_json(result) if as_json else click.echo(result["task_id"])
    if waited:
        click.echo("It has not finished yet; ask for it with its id later.", err=True)


def _follow(client: Client, task_id: str, output: Path | None, *, as_json: bool) -> None:
    """Output and progress on standard error, items and the result on standard output."""
    from runtime.cli.call_result import show
    from runtime.cli.display import Display
    from runtime.cli.following import follow, outcome
    from runtime.cli.output import print_json

    live = not as_json and output is None
    seen = 0

    def item(value: Any) -> None:
        nonlocal seen
        seen += 1
        if live:
            click.echo(json.dumps(value, ensure_ascii=False))

    try:
        with Display() as display:
            told = follow(client, task_id, display, item=item)
    except KeyboardInterrupt:
        click.echo(f"The call goes on. To watch it: tundish logs -f {task_id}", err=True)
        click.echo(f"To end it: tundish cancel {task_id}", err=True)
        sys.exit(130)
    if told["state"] == "succeeded" and live and seen:
        return
    if told["state"] == "succeeded" and ("result" not in told or output is not None):
        with client.stream(f"/api/v1/tasks/task/{quote(task_id, safe='')}/result", {}, None) as answer:
            show(answer, output, as_json=as_json)
        return
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
