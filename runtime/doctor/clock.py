"""The clocks of broker and store beside that of this host."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from runtime.doctor.finding import CannotTell, Verdicts, fail, ok, warn
from runtime.doctor.patient import Patient

_SEEN, _WRONG = 2.0, 60.0
"""Seconds. Schedules and expiries go wrong by as much; S3 refuses requests that are 15 minutes off."""

_MEND = "Let both machines follow a time server: `timedatectl set-ntp true`, or chrony."


def of_broker(patient: Patient) -> Verdicts:
    """Leases and delays are measured by the broker's clock, schedules by that of their host."""
    client = patient.broker
    before = patient.clock()
    answer: Any = client.time()
    after = patient.clock()
    yield from _judge("broker", answer[0] + answer[1] / 1e6 - (before + after) / 2, (after - before) / 2)


def of_store(patient: Patient) -> Verdicts:
    """S3 signs with the time."""
    found = patient.greeting
    if found is None or found.stuck:
        raise CannotTell("the store does not answer")
    if not found.date:
        raise CannotTell("the store does not tell its time")
    # It tells whole seconds: half a second more on average, and half a second more that nobody knows.
    told = parsedate_to_datetime(found.date).timestamp() + 0.5
    yield from _judge("store", told - (found.asked + found.answered) / 2, (found.answered - found.asked) / 2 + 0.5)


def _judge(who: str, ahead: float, unsure: float) -> Verdicts:
    off = max(0.0, abs(ahead) - unsure)
    told = f"The clock of the {who} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this host's."
    if off > _WRONG:
        yield fail(told, _MEND)
    elif off > _SEEN:
        yield warn(told, _MEND)
    else:
        yield ok("it agrees with this host's")
