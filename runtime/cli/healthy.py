"""`tundish healthy`: whether what runs on this host does its work, for the health checks of containers."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

import click


@click.command()
@click.option("--live", is_flag=True, help="Only whether it runs at all: false when a restart would help.")
@click.pass_obj
def healthy(environ: Mapping[str, str], live: bool) -> None:
    """Ask whether every part on this host is ready: exit code 0, else 1.

    Each part tells the broker every two seconds how it is; one that has said nothing for ten is taken for dead. With
    --live a part that is still starting will do, and so will a broker that does not answer.
    """
    import redis

    from runtime.broker import presence
    from runtime.broker.connection import connect

    host, url = socket.gethostname(), _broker(environ)
    try:
        with connect(url) as client:
            found = presence.read_host(client, host)
    except redis.RedisError as error:
        click.echo(f"The broker does not answer ({error}).", err=True)
        raise SystemExit(0 if live else 1) from error
    if not found:
        click.echo(f"Nothing on {host} has told the broker for {presence.TTL_SECONDS} s that it is alive.", err=True)
        raise SystemExit(1)
    for process in found:
        state = "ready" if process.ready else process.detail or "starting"
        click.echo(f"{process.kind} {process.name}: {state}")
    raise SystemExit(0 if live or all(process.ready for process in found) else 1)


def _broker(environ: Mapping[str, str]) -> str:
    """The broker: what the environment names, else that of the system on the state folder. Raises Unreachable."""
    from runtime.cli.client import Unreachable
    from runtime.host.state_folder import places

    if named := environ.get("CELERY_BROKER_URL") or environ.get("REDIS_URL"):
        return named
    _, home = places(None, None, environ)
    try:
        return str(json.loads((home / "run.json").read_text())["environ"]["CELERY_BROKER_URL"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"No system runs on {home}, and the environment names no broker.") from error
