"""This host: room on its disks, files that a process may open, and the gateway's port."""

from __future__ import annotations

import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runtime.doctor.finding import CannotTell, Verdict, Verdicts, fail, ok, rough, warn
from runtime.doctor.patient import Patient
from runtime.host.free_ports import listening
from runtime.system.address import taken

_LITTLE, _NONE = 2**30, 100 * 2**20
_FEW_FILES, _TOO_FEW_FILES = 1024, 256


def disk(patient: Patient) -> Verdicts:
    """Broker, store, outbox and index cache write into the state folder, extraction and uploads into the temporary."""
    for what, folder in (("state folder", patient.home), ("temporary folder", Path(tempfile.gettempdir()))):
        yield _room(what, folder)


def files(patient: Patient) -> Verdicts:
    """Every waiting caller and every connection is an open file."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = dict(_running_limits(patient)) or {"a process that is started here": own}
    verdicts = [found for who, limit in few.items() if (found := _limit(who, limit))]
    yield from verdicts
    if not verdicts:
        yield ok(f"at least {min(few.values())} for each process")


def port(patient: Patient) -> Verdicts:
    """The gateway's port is free, or it is the gateway that has it."""
    settings = patient.settings
    if patient.running:
        yield ok(f"Tundish runs at {patient.run.get('url')}")
    elif settings.port == 0:
        yield ok("a free one is chosen")
    elif listening(settings.port, "127.0.0.1" if settings.host == "localhost" else settings.host):
        yield fail(
            f"Port {settings.port} on {settings.host} is in use by another program.",
            f"Stop that program (`ss -ltnp 'sport = :{settings.port}'` names it), or choose another port: "
            "tundish up --port N, or TUNDISH_PORT.",
        )
    else:
        yield ok(f"{settings.host}:{settings.port} is free")
    if settings.embedder_socket.exists() and not taken(settings.embedder_socket) and patient.running:
        yield warn(
            f"Nobody listens on the embedder's socket {settings.embedder_socket}.",
            "`tundish up` starts the embedder again by itself; look at what it says.",
        )


def _room(what: str, folder: Path) -> Verdict:
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        free = shutil.disk_usage(there).free
        with tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-"):
            pass
    except OSError as error:
        return fail(
            f"Nothing can be written into the {what} {there}: {error.strerror}.",
            "Give this user the right to write there, or name another: --home DIR or TUNDISH_HOME (TMPDIR for the "
            "temporary one).",
        )
    told = f"{rough(free)} are free in the {what} {there}"
    mend = "Make room, or name another folder: --home DIR or TUNDISH_HOME (TMPDIR for the temporary one)."
    if free < _NONE:
        return fail(f"Only {told}: calls will be refused.", mend)
    return warn(f"Only {told}.", mend) if free < _LITTLE else ok(told)


def _limit(who: str, limit: int) -> Verdict | None:
    mend = "Raise it where it is started: `ulimit -n 4096`, or LimitNOFILE=4096 in a systemd unit."
    if limit < _TOO_FEW_FILES:
        return fail(f"{who} may open {limit} files only.", mend)
    return warn(f"{who} may open {limit} files only.", mend) if limit < _FEW_FILES else None


def _running_limits(patient: Patient) -> Iterator[tuple[str, int]]:
    """The limits of the processes of the system that run on this host, where the kernel tells (Linux)."""
    try:
        processes = patient.processes
    except CannotTell:
        return
    for process in processes:
        if process.host != socket.gethostname():
            continue
        try:
            lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        except OSError:
            continue
        words = next((line.split() for line in lines if line.startswith("Max open files")), [])
        if len(words) > 3 and words[3].isdecimal():
            yield f"The {process.kind} {process.name}", int(words[3])
