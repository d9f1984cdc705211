"""Waiting for a broker or a store that is not ours: one sentence that names it and the mend, then patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import redis

from runtime.broker import connection as broker
from runtime.config.settings import Settings
from runtime.errors import BrokerDown, TundishError
from runtime.processes.supervisor import Supervisor

_TRY_SECONDS = 1.0
_REPEAT_SECONDS = 60


def broker_problem(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """What keeps the broker from being used, in one sentence; None when it answers."""
    client = broker.connect(settings.broker_url, settings.project.broker)
    try:
        client.ping()
    except redis.AuthenticationError:
        reason, mend = "refuses the password", "Correct the password in"
    except redis.RedisError as error:
        reason, mend = f"does not answer ({type(error).__name__})", "Start it, correct"
    else:
        return None
    finally:
        client.close()
    place = broker.place(settings.broker_url)
    variable = "CELERY_BROKER_URL" if environ.get("CELERY_BROKER_URL") else "REDIS_URL"
    return f"The broker at {place} {reason}. {mend} {variable}, or unset it to use the embedded one."


def insist_on_broker(settings: Settings, environ: Mapping[str, str]) -> None:
    """End where the broker does not answer and functions.yaml says not to wait for it. Raises BrokerDown."""
    if not settings.project.broker.retry_on_startup and (problem := broker_problem(settings, environ)):
        raise BrokerDown(f"{problem} functions.yaml says not to wait for it (broker: retry_on_startup: false).")


def store_problem(settings: Settings) -> str | None:
    """What keeps the store from being used, in one sentence; None when it answers."""
    from runtime.store.port import MinioStore

    try:
        MinioStore(settings.store).ping()
    except TundishError as error:
        return str(error)
    return None


def wait_for(supervisor: Supervisor, problem: Callable[[], str | None]) -> None:
    """Try until there is no problem; say it when it is new, and again once a minute. Raises Stopping."""
    told, turns = None, 0
    while (found := problem()) is not None:
        if found != told or turns % _REPEAT_SECONDS == 0:
            supervisor.console.say(f"{found} Trying again every second; the rest starts as soon as it is there.")
            told = found
        turns += 1
        supervisor.sleep(_TRY_SECONDS)
    if told:
        supervisor.console.say("It answers now.")
