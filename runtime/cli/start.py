"""`tundish` alone: where things stand here, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

_SECONDS = 2.0


def start(environ: Mapping[str, str]) -> None:
    """Say whether a project is here and whether it runs, and the few commands that come next."""
    found, steps = _standing(environ)
    click.echo(found)
    click.echo()
    rows = [*steps, ("tundish --help", "every command; tundish COMMAND --help, its options")]
    width = max(len(command) for command, _ in rows)
    for command, words in rows:
        click.echo(f"  {command:<{width}}  {words}")


def _standing(environ: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    from runtime.cli.client import Refused, Unreachable, find
    from runtime.host.state_folder import places

    try:
        client = find(environ)
        client.call("GET", "/healthz", timeout=_SECONDS)
        return f"Tundish runs at {client.url}.", list(_running())
    except Refused as error:
        return f"What answers is no Tundish, or not well: {error}", [
            ("tundish doctor", "what is wrong, and how to mend it")
        ]
    except Unreachable as error:
        if environ.get("TUNDISH_URL"):
            return str(error), [("tundish doctor", "what is wrong, and how to mend it")]
    file, _ = places(None, None, environ)
    if file.exists():
        return f"{file} is here, and nothing runs on it.", list(_here())
    return "There is no functions.yaml here.", list(_nothing())


def _running() -> Iterator[tuple[str, str]]:
    yield "tundish functions", "what can be called"
    yield "tundish invoke NAME -d '{}'", "call it"
    yield "tundish tasks", "what was called, and how it went"
    yield "tundish logs -f", "what functions put out"
    yield "tundish doctor", "what is wrong, and how to mend it"


def _here() -> Iterator[tuple[str, str]]:
    yield "tundish up", "start it, with everything that it needs"
    yield "tundish check", "every mistake in functions.yaml, at once"
    yield "tundish new NAME", "one more function, with its test"
    yield "tundish doctor", "whether this machine has what it takes"


def _nothing() -> Iterator[tuple[str, str]]:
    yield "tundish init shop", "make a project in the folder shop"
    yield "cd shop && tundish up", "start it, with everything that it needs"
