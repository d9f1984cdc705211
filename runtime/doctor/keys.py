"""The keys: is everybody asked for one who has to be, can the administrator get in, and which keys are about to end?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from runtime.callers import access, admin_key, api_keys
from runtime.doctor.finding import Verdict, Verdicts, fail, ok, warn
from runtime.doctor.patient import Patient

SOON_SECONDS = 7 * 86400.0


def held(patient: Patient) -> Verdicts:
    """The gateway asks for keys wherever others reach it; the administrator's is there and nobody else's to read."""
    settings = patient.settings
    if told := access.open_to_all(settings):
        yield fail(told, "Remove TUNDISH_AUTH=off, or `required: false`, or listen on 127.0.0.1.")
        return
    if not access.required(settings) and settings.access.admin_key_file is None:
        yield ok("nobody is asked for one: the gateway listens on this machine only")
        return
    wrong = [*_of_administrator(patient), *_ending(patient)]
    yield from wrong or [ok(f"the administrator's is in {admin_key.place(settings)}")]


def _of_administrator(patient: Patient) -> Iterator[Verdict]:
    path = admin_key.place(patient.settings)
    if not patient.settings.access.admin_key_file and not path.exists():
        return  # the first start makes it
    try:
        admin_key.read(path)
    except admin_key.AdminKeyUnusable as error:
        yield fail(f"The administrator's key in {path} cannot be used.", str(error))
        return
    if path.is_relative_to(patient.home) and path.stat().st_mode & 0o077:
        yield warn(f"Other users of this machine may read the administrator's key in {path}.", f"chmod 600 {path}")


def _ending(patient: Patient) -> Iterator[Verdict]:
    """Keys that end soon, whose owners may not know."""
    if not patient.settings.broker_url or patient.broker_trouble:
        return
    now = time.time()
    for key in api_keys.listed(patient.broker):
        if key.expires is not None and now < key.expires < now + SOON_SECONDS:
            day = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.expires))
            yield warn(
                f"The key {key.name} ends at {day}.",
                f"Make another one, and give it to whoever uses this one: `tundish keys create {key.name}-2`.",
            )
