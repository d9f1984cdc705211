"""`tundish reload`: take over what has changed, without dropping a call."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import redis

    from runtime.system.reload_state import Reload

_LOOK_SECONDS = 0.05


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
@click.option("--home", type=click.Path(path_type=Path), help="State folder (default: .tundish beside the file).")
@click.option("--timeout", type=float, default=120.0, show_default=True, help="Seconds to wait for the outcome.")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
@click.pass_obj
def reload(environ: Mapping[str, str], file: Path | None, home: Path | None, timeout: float, as_json: bool) -> None:
    """Take over changed functions, functions.yaml and libraries. Calls that run go on; new ones run the new code.

    Asks the `tundish up` of the state folder and waits for the outcome (exit code 1 where it was refused). Where the
    parts run one by one, asks those of this host; each of them says in its log what came of it.
    """
    import redis

    from runtime.broker.connection import connect
    from runtime.cli.client import Unreachable
    from runtime.config.load import load_settings
    from runtime.errors import TundishError
    from runtime.host.state_folder import places

    _, folder = places(file, home, environ)
    pid = _supervisor(folder)
    settings = load_settings(environ, file=file, home=home)
    if not settings.broker_url:
        raise Unreachable(f"No system runs on {folder}, and the environment names none: start `tundish up`.")
    with connect(settings.broker_url) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            raise Unreachable(f"The broker does not answer ({error}); nothing was asked to reload.") from error
        if not pid:
            asked = _ask_parts(client)
            if not asked:
                raise Unreachable("No worker, gateway, triggers or beat of this host is alive: nothing to reload.")
            click.echo(json.dumps({"asked": asked}) if as_json else f"Asked: {', '.join(asked)}")
            return
        done = _wait(client, pid, timeout)
    if done is None:
        raise TundishError(f"No answer within {timeout:g} s; the log of `tundish up` (pid {pid}) says more.")
    click.echo(json.dumps(asdict(done)) if as_json else _words(done), err=not (as_json or done.ok))
    sys.exit(0 if done.ok else 1)


def _words(done: Reload) -> str:
    if not done.ok:
        return f"Not taken over: {', '.join(done.files)}\n{done.message}"
    what = f" ({', '.join(done.files)}, {done.seconds:.2f} s)" if done.files else ""
    return f"{done.message[:1].upper()}{done.message[1:]}{what}"


def _supervisor(home: Path) -> int:
    """The PID of the `tundish up` of this state folder; 0 where none runs."""
    from runtime.system.home import holder

    return holder(home)


def _wait(client: redis.Redis, pid: int, timeout: float) -> Reload | None:
    """Ask, and wait for a reload that began after that."""
    from runtime import keys
    from runtime.system import reload_state

    asked = time.time()
    os.kill(pid, signal.SIGHUP)
    while time.time() < asked + timeout:
        found = reload_state.read(client.get(keys.RELOAD))
        if found and found.at >= asked:
            return found
        time.sleep(_LOOK_SECONDS)
    return None


def _ask_parts(client: redis.Redis) -> list[str]:
    """SIGHUP for every process of this host that reads functions; their names."""
    from runtime.broker import presence

    here = [one for one in presence.read(client) if one.host == socket.gethostname() and one.kind != "embedder"]
    asked = []
    for one in here:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has just ended, or is somebody else's
            os.kill(one.pid, signal.SIGHUP)
            asked.append(f"{one.kind} {one.name}")
    return sorted(asked)
