"""Replays: a person's wish that triggers run once more over objects that are there. Asked for, followed, cancelled.

One replay is one job for each trigger that it concerns; `triggers` does them (triggers/replay.py).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.broker.connection import translated
from runtime.buckets.watch import Watch, watches
from runtime.config.settings import Project
from runtime.errors import TriggerNotFound
from runtime.invocations import pause
from runtime.values.nearest import nearest

KEPT_SECONDS = 7 * 86400
"""How long one can be looked at after its end."""

_UNENDED_SECONDS = 90 * 86400
_NUMBERS = ("total", "handed", "settled", "failed")
_GONE = "functions.yaml has this trigger no longer"

# KEYS: the job, its open keys, the trigger's replays, the request.  ARGV: id, state, reason, now, seconds it is kept.
_END = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'counting' and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'reason', ARGV[3], 'ended', ARGV[4])
redis.call('DEL', KEYS[2])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[4], ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which objects of a bucket: those below a prefix, changed since a moment (seconds since the epoch), or failed.

    `tenant`: whoever asked may see those of this one only, and all below the prefix are.
    """

    bucket: str
    prefix: str = ""
    since: float | None = None
    only_failed: bool = False
    tenant: str | None = None

    def packed(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if name != "tenant" or value})


def start(client: redis.Redis, project: Project, wish: Wish, trigger: str | None = None) -> str:
    """Ask for a replay by every trigger of the bucket, or by the named one; returns its id.

    Raises TriggerNotFound (with the names there are), BrokerDown and BrokerFull.
    """
    chosen = _chosen(project, wish.bucket, trigger)
    replay_id = uuid.uuid4().hex[:12]
    functions = json.dumps({watch.name: watch.function.name for watch in chosen})
    told: dict[Any, Any] = {"wish": wish.packed(), "functions": functions, "started": time.time()}
    with translated(), client.pipeline() as pipe:
        pipe.hset(keys.replay(replay_id), mapping=told)
        pipe.expire(keys.replay(replay_id), _UNENDED_SECONDS)
        for watch in chosen:
            job = keys.replay_job(replay_id, watch.name)
            pipe.hset(job, "state", "counting")
            pipe.expire(job, _UNENDED_SECONDS)
            pipe.sadd(keys.replays(watch.name), replay_id)
            pipe.expire(keys.replays(watch.name), _UNENDED_SECONDS)
        pipe.execute()
    return replay_id


def called(project: Project, bucket: str, trigger: str | None = None) -> list[str]:
    """The functions that a replay would call, each once. Raises TriggerNotFound."""
    return list(dict.fromkeys(watch.function.name for watch in _chosen(project, bucket, trigger)))


def read(client: redis.Redis, project: Project, replay_id: str) -> dict[str, Any] | None:
    """How far it got, in all and by trigger; None where there is none. Raises BrokerDown.

    `state` is counting, running, done or cancelled; `total` objects are concerned (so far, while counting), `handed`
    were handed out, `settled` of them have ended, `failed` of these for good. Times are seconds since the epoch.
    """
    with translated():
        asked: Any = client.hgetall(keys.replay(replay_id))
        if not asked:
            return None
        functions: dict[str, str] = json.loads(asked[b"functions"])
        _end_orphans(client, project, replay_id, functions)
        jobs: list[Any] = [client.hgetall(keys.replay_job(replay_id, name)) for name in functions]
        resting = pause.paused(client)
    known = {watch.name: watch for watch in watches(project)}
    told = [
        _told(
            job,
            name,
            function,
            any(("trigger", one) in resting for one in (known[name].names if name in known else ())),
        )
        for job, (name, function) in zip(jobs, functions.items(), strict=True)
    ]
    return {
        "id": replay_id,
        **json.loads(asked[b"wish"]),
        "started": float(asked[b"started"]),
        "state": _state([one["state"] for one in told]),
        **{name: sum(one[name] for one in told) for name in _NUMBERS},
        "triggers": told,
    }


def under_way(client: redis.Redis, project: Project) -> list[dict[str, Any]]:
    """Every replay that has not ended, oldest first. Raises BrokerDown."""
    with translated(), client.pipeline(transaction=False) as pipe:
        for watch in watches(project):
            pipe.smembers(keys.replays(watch.name))
        ids = {raw.decode() for found in pipe.execute() for raw in found}
    told = [read(client, project, replay_id) for replay_id in ids]
    return sorted((one for one in told if one), key=lambda one: one["started"])


def cancel(client: redis.Redis, project: Project, replay_id: str) -> dict[str, Any] | None:
    """Hand out no more for it. What is handed out already goes on. The same answer as `read`. Raises BrokerDown."""
    with translated():
        for trigger in json.loads(client.hget(keys.replay(replay_id), "functions") or "{}"):
            end(client, replay_id, trigger, "cancelled", "somebody cancelled it")
    return read(client, project, replay_id)


def end(client: redis.Redis, replay_id: str, trigger: str, state: str, reason: str = "") -> bool:
    """End the job of one trigger; False where it has ended before. Raises redis errors."""
    names = [
        keys.replay_job(replay_id, trigger),
        keys.replay_open(replay_id, trigger),
        keys.replays(trigger),
        keys.replay(replay_id),
    ]
    return bool(scripts.run_text(client, _END, names, [replay_id, state, reason, time.time(), KEPT_SECONDS]))


def _chosen(project: Project, bucket: str, trigger: str | None) -> list[Watch]:
    known = [watch for watch in watches(project) if watch.trigger.bucket == bucket]
    if not known:
        watched = ", ".join(project.buckets()) or "none"
        raise TriggerNotFound(f"No trigger watches the bucket {bucket}; watched buckets: {watched}.")
    if trigger is not None:
        names = dict.fromkeys(name for watch in known for name in (watch.function.name, *watch.names))
        known = [watch for watch in known if trigger in (watch.function.name, *watch.names)]
        if not known:
            raise TriggerNotFound(f"The bucket {bucket} has no trigger {trigger}{nearest(trigger, names)}")
    found = [watch for watch in known if "created" in watch.trigger.events]
    if not found:
        names_known = ", ".join(watch.name for watch in known)
        raise TriggerNotFound(f"{names_known} asks for removed objects only (events); there is nothing to hand out.")
    return found


def _end_orphans(client: redis.Redis, project: Project, replay_id: str, functions: Mapping[str, str]) -> None:
    known = {watch.name for watch in watches(project)}
    for trigger in functions:
        if trigger not in known:
            end(client, replay_id, trigger, "cancelled", _GONE)


def _state(states: list[str]) -> str:
    """The least settled one speaks for all."""
    return next((state for state in ("counting", "running", "cancelled") if state in states), "done")


def _told(job: Mapping[bytes, bytes], name: str, function: str, paused: bool) -> dict[str, Any]:
    fields = {field.decode(): value.decode() for field, value in job.items()}
    return {
        "trigger": name,
        "function": function,
        "state": fields.get("state", "done"),
        "reason": fields.get("reason") or None,
        "paused": paused,
        "begun": float(fields["begun"]) if "begun" in fields else None,
        "ended": float(fields["ended"]) if "ended" in fields else None,
        **{number: int(fields.get(number, 0)) for number in _NUMBERS},
        "failures": json.loads(fields.get("failures", "[]")),
    }
