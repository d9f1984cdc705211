"""The indexes: does the gateway answer from the newest version of each?"""

from __future__ import annotations

import json
from typing import Any

from runtime.doctor.finding import CannotTell, Verdicts, fail, ok, warn
from runtime.doctor.parts import addresses
from runtime.doctor.patient import Patient
from runtime.store.library import load

_SECONDS = 5.0
_MEND = "`tundish index verify --index {}` says what is damaged, and what can be done."


def loaded(patient: Patient) -> Verdicts:
    """Every index could be loaded by the gateway, its newest version that is."""
    wrong = {name.removeprefix("index "): told for name, told in _checks(patient).items() if name.startswith("index ")}
    for name, told in wrong.items():
        if told["ready"]:
            yield warn(f"Index {name} is answered from an older version: {told['detail']}", _MEND.format(name))
        else:
            yield fail(f"Index {name} is not answered: {told['detail']}", _MEND.format(name))
    if not wrong:
        yield ok("the gateway answers from the newest version of each")


def _checks(patient: Patient) -> dict[str, Any]:
    load()
    import urllib3

    from runtime.callers.own_key import key_for

    url = next(addresses(patient)).rstrip("/")
    key = key_for(patient.home, url, patient.environ)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = urllib3.request("GET", f"{url}/readyz", headers=headers, retries=False, timeout=_SECONDS)
        checks: dict[str, Any] = json.loads(answer.data)["checks"]
    except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError) as error:
        raise CannotTell(f"No gateway tells of them at {url}.") from error
    return checks
