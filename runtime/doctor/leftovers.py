"""What lies about: a system that was killed, calls on disk, things that rest and were forgotten, dead letters."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from runtime import keys
from runtime.buckets.watch import watches
from runtime.doctor.finding import CannotTell, Verdict, Verdicts, ok, warn
from runtime.doctor.patient import Patient
from runtime.invocations import pause
from runtime.outbox.box import LOCK

_LONG_SECONDS = 86_400.0


def found(patient: Patient) -> Verdicts:
    """Nothing that somebody should look at or remove."""
    verdicts = list(_on_disk(patient))
    with contextlib.suppress(CannotTell):  # what there is to say of the broker is said under its name
        verdicts += _in_broker(patient)
    yield from verdicts
    if not verdicts:
        yield ok("nothing")


def _on_disk(patient: Patient) -> Iterator[Verdict]:
    if patient.run and not patient.running:
        yield warn(
            f"The system on {patient.home} (pid {patient.run.get('pid')}) was killed, and left its addresses there.",
            f"Start it again with `tundish up`, which goes on where it was; or remove {patient.home / 'run.json'}.",
        )
    folder = patient.home / "outbox"
    boxes = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    full = [box for box in boxes if any(path.name != LOCK and path.stat().st_size for path in box.iterdir())]
    if full and not patient.running:
        yield warn(
            f"Calls that were accepted while the broker was away wait in {folder}.",
            "Start `tundish up` or `tundish gateway` on this state folder: it delivers them.",
        )


def _in_broker(patient: Patient) -> Iterator[Verdict]:
    client, project = patient.broker, patient.settings.project
    for (kind, name), told in sorted(pause.paused(client).items()):
        if time.time() - told["since"] > _LONG_SECONDS:
            days = (time.time() - told["since"]) / 86_400
            reason = f" ({told['reason']})" if told["reason"] else ""
            yield warn(f"The {kind} {name} has rested for {days:.0f} days{reason}.", f"tundish resume {kind} {name}")
    dead: Any = client.zcard(keys.ended("dead"))
    if dead:
        yield warn(
            f"{dead} dead letters wait for a decision.",
            "Look at them with `tundish dead`, then `tundish dead redrive` or `tundish dead purge`.",
        )
    known = {watch.ledger for watch in watches(project)}
    for key in sorted(name.decode() for name in client.scan_iter(keys.ledger("*", "*"), count=1000)):
        if key not in known:
            size: Any = client.hlen(key)
            yield warn(
                f"{key} holds {size} objects of a bucket trigger that functions.yaml does not have any more.",
                f"If it does not come back, remove it in the broker: UNLINK {key}",
            )
