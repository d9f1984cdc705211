"""A gate before the work: parts are started while broker and store still start, and import what they need meanwhile.

A pipe whose read end they have; they go on when its write end is closed, be it by `open` or by the end of whoever holds
it. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import MutableMapping

VARIABLE = "TUNDISH_GATE_FD"


class Gate:
    """`fd` is what children are to inherit, under the same number."""

    def __init__(self) -> None:
        self.fd, self._held = os.pipe()

    @property
    def environ(self) -> dict[str, str]:
        """What a child needs to find it."""
        return {VARIABLE: str(self.fd)}

    def open(self) -> None:
        """Let everybody through, those who come later, too."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def wait(environ: MutableMapping[str, str]) -> None:
    """Wait until the gate is open; at once where there is none. `environ` names it no more: to whatever this process
    starts, the number would mean something else."""
    if number := environ.pop(VARIABLE, ""):
        with contextlib.suppress(OSError):
            while os.read(int(number), 1):  # nothing is ever written
                pass
            os.close(int(number))
