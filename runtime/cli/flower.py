"""`tundish flower`: Celery's own monitor, aimed at this system."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from runtime.config.settings import Settings

_SECRET = ("basic_auth", "oauth2_secret", "cookie_secret", "broker_api")
"""Options of Flower that everybody on this host could read in its command line: it takes them from variables, too."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--port", type=click.IntRange(1, 65535), help="Where it listens (default: FLOWER_PORT, else 5555).")
@click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[FLOWER OPTIONS]...")
@click.pass_obj
def flower(environ: Mapping[str, str], port: int | None, more: tuple[str, ...]) -> None:
    """Run Flower on 127.0.0.1: workers, their tasks, remote control.

    Its own variables hold: FLOWER_PORT, FLOWER_BASIC_AUTH=name:password and so on. Where this system asks for keys,
    and on other addresses, it asks for a password, too: without one of yours, the name is admin and the password the
    administrator's key. What follows is handed to Flower as it is: tundish flower --max-tasks=1000
    """
    from runtime.cli.client import Unreachable
    from runtime.config.load import load_settings
    from runtime.errors import TundishError
    from runtime.system.parts import connections

    if find_spec("flower") is None:
        raise TundishError("Flower is not installed. Install it: pip install 'tundish[flower]' (or flower by itself).")
    settings = load_settings(environ)
    if not settings.broker_url:
        raise Unreachable(f"No system runs on {settings.home}, and the environment names none: start `tundish up`.")
    options, secrets = apart(more)
    own = {**environ, **connections(settings), **secrets}
    own |= {"TUNDISH_FILE": str(settings.file), "TUNDISH_HOME": str(settings.home)}
    if settings.description:
        own["TUNDISH_DESCRIPTION"] = str(settings.description)
    address = _given(options, "address") or own.get("FLOWER_ADDRESS") or "127.0.0.1"
    number = str(port or own.get("FLOWER_PORT") or 5555)
    who = _password(settings, own, options, address)
    click.echo(f"Flower: http://{address}:{number}/{who}", err=True)
    words = ["-P", "-m", "runtime.system.flower_process", f"--address={address}", f"--port={number}"]
    command = [sys.executable, *words, *options]
    os.execve(sys.executable, command, own)  # noqa: S606 - our own interpreter


def apart(more: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Flower's options, and as variables those that must not be seen: who runs `ps` sees every command line."""
    options, secrets, words = list[str](), dict[str, str](), list(more)
    while words:
        word = words.pop(0)
        name, is_, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--") or name not in _SECRET:
            options.append(word)
        else:
            secrets[f"FLOWER_{name.upper()}"] = value if is_ or not words else words.pop(0)
    return options, secrets


def _given(options: Sequence[str], name: str) -> str:
    """The value of an option that has one; the last one counts. Flower takes them as --name=value only."""
    found = [value for option in options for key, _, value in [option.lstrip("-").partition("=")] if key == name]
    return found[-1] if found else ""


def _password(settings: Settings, own: dict[str, str], options: Sequence[str], address: str) -> str:
    """What a start says of signing in. Sets a password where there has to be one. Raises TundishError."""
    from runtime.callers import access, admin_key
    from runtime.errors import TundishError

    if own.get("FLOWER_BASIC_AUTH"):
        return " (as FLOWER_BASIC_AUTH says)"
    if own.get("FLOWER_AUTH") or _given(options, "auth"):
        return ""
    if access.is_loopback(address) and not access.required(settings):
        return ""
    place = admin_key.place(settings)
    if not place.exists():
        raise TundishError(
            f"Flower can stop workers and calls, and would ask nobody on {address} who they are: set "
            f"FLOWER_BASIC_AUTH=name:password. (The administrator's key would do, too, but there is none at {place}.)"
        )
    key = admin_key.read(place)
    if "," in key:
        raise TundishError(
            f"Flower takes no password with a comma, as in {place}: set FLOWER_BASIC_AUTH=name:password."
        )
    own["FLOWER_BASIC_AUTH"] = f"admin:{key}"
    return f" (sign in as admin with the key in {place})"
