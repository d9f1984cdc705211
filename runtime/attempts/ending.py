"""The end of a call on its way from the process that ran it to the worker's parent, which writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from runtime.attempts.attempt import Attempt

MOST_BYTES = 16384
"""Of an end that goes this way: the parent serves all processes, and those write what is larger by themselves."""


class Ending(NamedTuple):
    """A success that is not written yet. `command` writes it, behind the fence of its attempt.

    `seconds` is how long it ran, `moments` are the fields of its record that say when it was queued and begun, `about`
    is what the line of the log about it is to name.
    """

    id: str
    function: str
    command: bytes
    seconds: float
    moments: Mapping[bytes, bytes]
    about: Mapping[str, str]

    def attempt(self) -> Attempt:
        """As much of its attempt as those need who count it."""
        return Attempt(self.id, 0, 0, self.moments)
