"""The processes that a system is made of: is one of each alive and ready?"""

from __future__ import annotations

from collections.abc import Iterator

from runtime.doctor.finding import Verdicts, fail, ok, warn
from runtime.doctor.patient import Patient
from runtime.store.library import load
from runtime.system.parts import gateway_url

_MISSED = {
    "gateway": "nothing is taken by HTTP, and the commands that ask it do not work",
    "triggers": "new objects wait",
    "beat": "schedules, retries, delays and what was lost wait",
    "embedder": "`q` searches are answered 503",
}
_START = {"embedder": "tundish gateway"}
_SECONDS = 3.0


def alive(patient: Patient) -> Verdicts:
    """Gateway, triggers, beat and embedder, each ready; the gateway answers at its address."""
    processes = patient.processes
    wanted = [kind for kind in _MISSED if kind != "triggers" or patient.settings.project.buckets()]
    for kind in wanted:
        found = [process for process in processes if process.kind == kind]
        if not found:
            mend = f"Start `tundish up`, or that part alone: `{_START.get(kind, f'tundish {kind}')}`."
            verdict = warn if kind == "embedder" else fail
            yield verdict(f"No {kind} runs: {_MISSED[kind]}.", mend)
        elif not any(process.ready for process in found):
            detail = found[0].detail or "it is starting"
            yield warn(f"The {kind} is not ready: {detail}.", "Wait a moment; then look at what `tundish up` says.")
    answer, url = _answer(patient)
    if not answer and any(process.kind == "gateway" for process in processes):
        yield fail(
            f"The gateway does not answer at {url}, though it says that it is alive.",
            "Set TUNDISH_URL to where it can be reached from here; if that is right, look at what `tundish up` says.",
        )
    ready = {process.kind for process in processes if process.ready}
    if answer and ready.issuperset(wanted):
        yield ok(f"{', '.join(wanted)} are ready; the gateway answers at {url}")


def _answer(patient: Patient) -> tuple[bool, str]:
    load()
    import urllib3

    url = next(addresses(patient)).rstrip("/")
    try:
        answer = urllib3.request("GET", f"{url}/healthz", retries=False, timeout=_SECONDS)
    except urllib3.exceptions.HTTPError:
        return False, url
    return answer.status == 200, url


def addresses(patient: Patient) -> Iterator[str]:
    """Where the gateway may be found, the best first: as the other commands find it."""
    if url := patient.environ.get("TUNDISH_URL"):
        yield url
    if url := patient.run.get("url"):
        yield str(url)
    yield gateway_url(patient.settings)
