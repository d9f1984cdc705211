"""Which back end runs a model on this machine: what functions.yaml says, or else what a short measurement says.

A measurement is made once for these weights, this CPU and these versions of the libraries, and kept in a file.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from runtime.embedding import aside, probes
from runtime.embedding.given import Given, locked
from runtime.embedding.measuring import FAILED, LONG, SHORT, Measured
from runtime.errors import ServiceFailed
from runtime.models import backends

WORTH = 1.1
"""Another back end is taken where it is so many times as fast as fp32: less may be chance."""

TRY_AGAIN = 86_400.0
"""Seconds after which a back end that failed is measured again."""

TRY_PINNED_AGAIN = 60.0
"""The same for one that functions.yaml wants: nothing works before it does."""

_FORMAT = 1

log = logging.getLogger("tundish.models")


@dataclass(frozen=True, slots=True)
class Choice:
    """The back end that runs a model here, and what was measured (nothing where there was nothing to choose from)."""

    backend: str
    measured: tuple[Measured, ...] = ()


def choose(given: Given, pinned: str = "", *, label: str = "the model") -> Choice:
    """The back end of a model: fp32 until it is known which one is best (behind.py measures that meanwhile).

    A `pinned` one that was not measured yet is measured first, which takes some seconds. Raises ServiceFailed where it
    is not here, or not faithful.
    """
    if pinned:
        return _pinned(given, pinned, label)
    names, found = backends.usable(), known(given)
    if names == [backends.EXACT] or not found.keys() >= {backends.EXACT, *names}:
        return Choice(backends.EXACT)
    there = [found[name] for name in dict.fromkeys((backends.EXACT, *names))]
    return Choice(best(there), tuple(there))


def missing(given: Given, names: Sequence[str]) -> list[str]:
    """Those of `names`, and fp32, that were not measured on this machine yet, or that failed too long ago."""
    found = _lasting(known(given), TRY_AGAIN)
    return [name for name in dict.fromkeys((backends.EXACT, *names)) if name not in found]


def known(given: Given) -> dict[str, Measured]:
    """What was measured before on this machine, by back end; nothing is measured now."""
    try:
        return _read(_file(given))
    except ServiceFailed as error:  # where nothing can be kept there is nothing
        log.debug("nothing is known of back ends: %s", error)
        return {}


def foreseen(given: Given, pinned: str = "") -> str:
    """The back end that would be chosen now; empty where that has to be measured first, or where it is refused."""
    names = [pinned] if pinned else backends.usable()
    if names == [backends.EXACT]:
        return backends.EXACT
    found = known(given)
    if any(name not in found for name in (backends.EXACT, *names)) or (pinned and found[pinned].refused):
        return ""
    return pinned or best([found[name] for name in dict.fromkeys((backends.EXACT, *names))])


def best(found: Sequence[Measured]) -> str:
    """The fastest faithful back end, or fp32 where none is much faster."""
    exact = found[0]
    if exact.refused:  # a model that gives no numbers: there is nothing to compare with
        return exact.backend
    others = [one for one in found[1:] if not one.refused and gain(one, exact) >= WORTH]
    return max(others, key=lambda one: gain(one, exact), default=exact).backend


def gain(one: Measured, exact: Measured) -> float:
    """How many times as fast it is, as the mean of short and long texts."""
    return float((one.short / exact.short * one.long / exact.long) ** 0.5)


def measured(given: Given, names: Sequence[str], *, again: bool = False, lasts: float = TRY_AGAIN) -> list[Measured]:
    """What is known of these back ends on this machine, fp32 first; measured where it is not known, or `again`.

    One that failed is tried again after `lasts` seconds. Raises ServiceFailed where the measurement does not come to
    an end.
    """
    path = _file(given)
    with locked(given.cache):  # one measures, the others wait for what it finds
        there = {} if again else _read(path)
        known_still = _lasting(there, lasts)
        new = [name for name in names if name not in known_still]
        if new or backends.EXACT not in there:
            for one in _measure(given, new):
                there[one.backend] = one
            _write(path, there)
    return [there[name] for name in dict.fromkeys((backends.EXACT, *names))]


def told(one: Measured) -> str:
    """In a few words, for people."""
    if one.refused:
        return f"{one.backend} refused ({one.refused})"
    return (
        f"{one.backend} {one.short:g}/{one.long:g} texts/s of {SHORT}/{LONG} tokens, "
        f"cosine {one.cosine:.5f}, rank {one.rank:.3f}"
    )


def _pinned(given: Given, pinned: str, label: str) -> Choice:
    if why := backends.trouble(pinned):
        raise ServiceFailed(f"functions.yaml has {label} run by {pinned}. {why}")
    if pinned == backends.EXACT:
        return Choice(pinned)
    found = measured(given, [pinned], lasts=TRY_PINNED_AGAIN)
    if why := found[-1].refused:
        raise ServiceFailed(f"functions.yaml has {label} run by {pinned}, which is refused: {why}.")
    return Choice(pinned, tuple(found))


def _measure(given: Given, names: Sequence[str]) -> list[Measured]:
    words = (str(given.folder), given.weights, str(given.longest), *names)
    log.info(
        "measuring back ends for the model in %s: %s", given.folder, ", ".join(dict.fromkeys((backends.EXACT, *names)))
    )
    # One thread each, as in the processes that will use it.
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    told_by = aside.run("runtime.embedding.measuring", words, "The back ends could not be measured", threads)
    try:
        found = [Measured(**one) for one in json.loads(told_by.strip().splitlines()[-1])]
    except (ValueError, TypeError, IndexError) as error:  # a library that writes to stdout at its end
        raise ServiceFailed(f"The back ends could not be measured: {told_by[-200:]!r} is no answer") from error
    for one in found:
        log.log(logging.WARNING if one.refused else logging.INFO, "%s", told(one))
    return found


def _file(given: Given) -> Path:
    """One for each state of this machine: another CPU, or another version of a library, is measured anew."""
    state = {**backends.machine(), "probes": probes.texts(), "format": _FORMAT}
    key = sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return given.cache / f"measured-{key}.json"


def _read(path: Path) -> dict[str, Measured]:
    """What was measured before; nothing where it cannot be read."""
    try:
        found = json.loads(path.read_text())
        return {one["backend"]: Measured(**one) for one in found["measured"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _lasting(found: Mapping[str, Measured], seconds: float) -> dict[str, Measured]:
    """Without those that failed, and not because of their vectors, so many seconds ago."""
    return {name: one for name, one in found.items() if not _failed(one) or time.time() - one.at < seconds}


def _failed(one: Measured) -> bool:
    return one.refused.startswith(FAILED)


def _write(path: Path, found: Mapping[str, Measured]) -> None:
    told_with = {"machine": backends.machine(), "measured": [asdict(one) for one in found.values()]}
    part = path.with_suffix(".part")  # the lock is ours
    try:
        part.write_text(json.dumps(told_with, indent=1))
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        log.warning("what was measured cannot be kept: %s", error)
