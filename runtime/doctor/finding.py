"""What `tundish doctor` finds: one sentence on what is so, and where it is wrong, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from runtime.errors import TundishError

State = Literal["ok", "warn", "fail"]


class CannotTell(TundishError):
    """This cannot be checked now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look showed. `mend` is empty where nothing is wrong."""

    state: State
    found: str
    mend: str = ""


Verdicts = Iterator[Verdict]


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict under the name of its check. A check may have several."""

    name: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A check that could not be made, and why."""

    name: str
    reason: str


def ok(found: str) -> Verdict:
    return Verdict("ok", found)


def warn(found: str, mend: str) -> Verdict:
    """It works, but promises less than it could, or soon will not."""
    return Verdict("warn", found, mend)


def fail(found: str, mend: str) -> Verdict:
    """Something does not work, or what was promised can be lost."""
    return Verdict("fail", found, mend)


def told(sentences: str) -> tuple[str, str]:
    """An error's message as what was found and what to do: its first sentence, and the rest."""
    found, *mend = re.split(r"\. (?=[A-Z])", sentences, maxsplit=1)
    return f"{found.rstrip('.')}.", "".join(mend)


def rough(size: float) -> str:
    """A number of bytes for people: `58.2 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
