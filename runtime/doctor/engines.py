"""The engines of indexes that are on machines of their own: is each there, and new enough?"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from runtime.config.engine import EngineSpec
from runtime.doctor.finding import Verdicts, fail, ok, warn
from runtime.doctor.patient import Patient
from runtime.errors import CorruptSegment, ObjectMissing
from runtime.index import manifest
from runtime.store.library import load
from runtime.store.port import MinioStore

OLDEST = (1, 19)
"""Beginnings of texts are a filter since then; changes under a condition since 1.16."""

_SECONDS = 5.0
DEFAULT = "default"


def there(patient: Patient) -> Verdicts:
    """Every Qdrant that functions.yaml names answers and is new enough, and holds the indexes that it should."""
    named = {name: spec for name, spec in patient.settings.project.indexes.items() if spec.url}
    for name, spec in named.items():
        yield from _answers(name, spec)
        yield from _moved(patient, name, spec)
    lost = list(_without_address(patient))
    yield from lost
    if not named and not lost:
        yield ok("every index is held in files")


def _answers(name: str, spec: EngineSpec) -> Verdicts:
    load()
    import urllib3

    place = urlsplit(spec.url).netloc
    headers = {"api-key": spec.api_key} if spec.api_key else {}
    try:
        answer = urllib3.request("GET", f"{spec.url}/", headers=headers, retries=False, timeout=_SECONDS)
    except urllib3.exceptions.HTTPError as error:
        yield fail(
            f"Qdrant of index {name} does not answer at {place}: {type(error).__name__}.",
            "Start it, or correct `url` in functions.yaml. Until then that index is not searched, and builds wait.",
        )
        return
    if answer.status in (401, 403):
        yield fail(f"Qdrant of index {name} at {place} refuses the key.", "Correct `api_key` in functions.yaml.")
        return
    version = _version(answer.data)
    if version and version < OLDEST:
        wanted, told = (".".join(map(str, one)) for one in (OLDEST, version))
        yield fail(f"Qdrant of index {name} at {place} is {told}; {wanted} is needed.", "Upgrade Qdrant.")
    elif spec.api_key and urlsplit(spec.url).scheme == "http" and not _near(place):
        yield warn(f"The key of index {name} goes to {place} unencrypted.", "Let Qdrant speak TLS: url: https://…")
    else:
        yield ok(f"Qdrant of index {name} answers at {place}")


def _moved(patient: Patient, name: str, spec: EngineSpec) -> Verdicts:
    if patient.store_trouble:
        return  # said under its own name
    current = manifest.newest(MinioStore(patient.store), name)
    if current and current.engine != spec.engine:
        yield warn(
            f"Index {name} is held by {current.engine}; functions.yaml says {spec.engine}.",
            f"Move it: tundish index migrate --engine {spec.engine} --index {name}",
        )


def _without_address(patient: Patient) -> Verdicts:
    """Indexes that Qdrant holds, and functions.yaml does not say where."""
    if patient.store_trouble:
        return
    project, store = patient.settings.project, MinioStore(patient.store)
    triggers = [trigger.index for _, trigger in project.bucket_triggers() if trigger.index]
    for name in dict.fromkeys([DEFAULT, *project.indexes, *triggers]):
        if project.engine_of(name).url:
            continue
        try:
            current = manifest.newest(store, name)
        except (CorruptSegment, ObjectMissing):
            continue  # `tundish index verify` says what is wrong with it
        if current and current.remote:
            yield fail(
                f"Index {name} is held by {current.engine}; functions.yaml does not say where that is.",
                f"Write it there again: indexes: {{{name}: {{url: http://HOST:6333, api_key: …}}}}. Until then that "
                "index is not searched, and builds wait.",
            )


def _version(data: bytes) -> tuple[int, int] | None:
    try:
        found = re.match(r"(\d+)\.(\d+)", str(json.loads(data)["version"]))
    except (ValueError, KeyError, TypeError):
        return None
    return (int(found[1]), int(found[2])) if found else None


def _near(place: str) -> bool:
    return place.partition(":")[0] in ("127.0.0.1", "localhost")
