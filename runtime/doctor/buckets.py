"""Bucket triggers: who wakes them, and whether one of them waits for a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from runtime.buckets import bucket_state, source_state
from runtime.doctor.finding import Verdict, Verdicts, fail, ok, warn
from runtime.doctor.patient import Patient
from runtime.wiring import plan, rules
from runtime.wiring.minio import MinioServer

_STALE_SECONDS = 600.0
_POSTED = {"minio_webhook", "minio_redis"}


def notified(patient: Patient) -> Verdicts:
    """The store tells of changes, where that was asked for. Without it the listing finds them, only later."""
    project = patient.settings.project
    if not project.buckets():
        yield ok("no function has a bucket trigger")
        return
    unwired = _unwired(patient)
    for bucket in unwired:
        yield fail(
            f"The store has no rule to notify of {bucket}, and its triggers name a source that needs one.",
            f"tundish buckets wire {bucket}",
        )
    if not any(process.kind == "triggers" for process in patient.processes):
        for bucket in project.buckets():
            yield fail(f"No `triggers` process watches {bucket}.", "Start `tundish up`, or `tundish triggers`.")
        return
    states = source_state.read(patient.broker, project.buckets())
    for bucket in project.buckets():
        if bucket not in unwired:
            yield _source(bucket, states.get(bucket))


def doing(patient: Patient) -> Verdicts:
    """Nothing is held, no ledger was lost, and listings come round."""
    found = bucket_state.read(patient.broker, patient.settings.project)
    known = [verdict for _, told in found for verdict in _trigger(told)]
    yield from known
    if not known:
        yield ok(f"{len(found)} bucket triggers, none of which waits for anybody")


def _source(bucket: str, state: source_state.SourceState | None) -> Verdict:
    if state is None:
        return warn(
            f"The `triggers` process does not watch {bucket} yet.",
            "Wait a moment; where it lasts, is its functions.yaml this one?",
        )
    detail = f": {state.detail.rstrip('.')}" if state.detail else ""
    if state.standing == "silent":
        return warn(
            f"The store does not tell of changes in {bucket} ({state.kind}{detail}); only the listing finds them.",
            f"tundish buckets wire {bucket}; the gateway must be reachable from the store. Or `source: poll`.",
        )
    words = {
        "woken": f"woken by {state.kind}",
        "polled": f"listed again and again{detail}",
        "waiting": f"{state.kind} has not told of a change yet",
    }
    return ok(f"{bucket}: {words[state.standing]}")


def _unwired(patient: Patient) -> list[str]:
    """Buckets whose triggers name a source of MinIO's that its configuration knows nothing of."""
    wanted = [
        bucket
        for bucket in patient.settings.project.buckets()
        if any(
            trigger.bucket == bucket and trigger.source.kind in _POSTED
            for _, trigger in patient.settings.project.bucket_triggers()
        )
    ]
    if not wanted or patient.store_trouble or plan.server(patient.store) not in ("minio", "rustfs"):
        return []
    server = MinioServer(patient.store)
    return [bucket for bucket in wanted if not rules.arns(server.configuration(bucket))]


def _trigger(told: dict[str, Any]) -> Iterator[Verdict]:
    name, bucket, listing = told["name"], told["bucket"], told["listing"]
    if (held := told["held"]) and not held["confirmed"]:
        yield warn(
            f"{name} is held: {held['count']} of {held['known']} objects of {bucket} were suddenly gone.",
            f"If that is meant: tundish buckets confirm {bucket}. If not, bring them back; it goes on by itself.",
        )
    if lost := told["lost"]:
        yield warn(
            f"The ledger of {name} was lost and made anew until {_when(lost['at'])}; {lost['objects']} objects were "
            "handed out again.",
            "Find out why the broker lost data: see what is said of its eviction and persistence.",
        )
    if listing and not told["paused"] and time.time() - listing["ended"] > _STALE_SECONDS + 20 * listing["took"]:
        yield warn(
            f"{name} has not listed {bucket} whole since {_when(listing['ended'])}.",
            "Is a `triggers` process running, and does the store answer? `tundish buckets` shows more.",
        )


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
