"""`tundish scale QUEUE=N`: more or fewer calls at once, in workers that go on working."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import complete

if TYPE_CHECKING:
    from runtime.config.settings import Settings

_ANSWER_SECONDS = 5.0
_MOST = 1024


@click.command()
@click.argument("sizes", nargs=-1, required=True, metavar="QUEUE=N...", shell_complete=complete.queues)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_obj
def scale(environ: Mapping[str, str], sizes: tuple[str, ...], as_json: bool) -> None:
    """Let every worker of QUEUE run N calls at once, from now on until it is started again.

    Nothing is dropped: who has too many waits until calls have ended. `concurrency` in functions.yaml is for good.
    """
    from runtime.cli.client import Unreachable
    from runtime.cli.output import print_json
    from runtime.config.load import load_settings
    from runtime.worker.app import create_app

    settings = load_settings(environ)
    if not settings.broker_url:
        raise Unreachable("Nothing runs here, and the environment names no broker: start `tundish up`.")
    wanted = dict(_wanted(one, settings) for one in sizes)
    done = _scale(create_app(settings), settings, wanted)
    if as_json:
        print_json({"workers": done})
    else:
        for one in done:
            click.echo(f"{one['worker']}: {one['before']} → {one['after']} calls at once")
    if missing := sorted(set(wanted) - {one["queue"] for one in done}):
        click.echo(f"tundish: no worker serves {', '.join(missing)}", err=True)
        raise SystemExit(1)


def _wanted(text: str, settings: Settings) -> tuple[str, int]:
    """`embedding=4`, checked. Raises UsageError."""
    from runtime.values.nearest import nearest

    name, _, number = text.partition("=")
    queues = settings.project.queues
    if name not in queues:
        raise click.UsageError(f"There is no queue {name}{nearest(name, queues)}")
    if not number.isdecimal() or not 1 <= int(number) <= _MOST:
        raise click.UsageError(f"{text!r}: write QUEUE=N, with N from 1 to {_MOST}")
    queue = queues[name]
    if queue.autoscale:
        raise click.UsageError(f"The queue {name} grows and shrinks by itself: autoscale {list(queue.autoscale)}")
    if queue.pool in ("threads", "solo"):
        raise click.UsageError(f"The queue {name} has pool {queue.pool}, which cannot grow and shrink while it works")
    return name, int(number)


def _scale(app: Any, settings: Settings, wanted: Mapping[str, int]) -> list[dict[str, Any]]:
    """Ask the workers by Celery's remote control; what each of them did. Raises Unreachable, TundishError."""
    import redis

    from runtime.broker import presence
    from runtime.broker.connection import connect
    from runtime.cli.client import Unreachable
    from runtime.errors import TundishError
    from runtime.worker.scaling import COMMAND

    try:
        with connect(settings.broker_url) as client:
            alive = [one for one in presence.read(client) if one.kind == "worker" and one.queue in wanted and one.ready]
    except redis.RedisError as error:
        raise Unreachable(f"The broker does not answer ({type(error).__name__}).") from error
    names = sorted(one.name for one in alive)
    queues = {one.name: one.queue for one in alive}
    done = []
    for name in names:
        words = {"size": wanted[queues[name]]}
        answers = app.control.broadcast(
            COMMAND, words, destination=[name], reply=True, timeout=_ANSWER_SECONDS, limit=1
        )
        for told in (answer[name] for answer in answers or () if name in answer):
            if "ok" not in told:
                raise TundishError(f"{name}: {told.get('error')}")
            done.append({"worker": name, "queue": queues[name], **told["ok"]})
    return done
