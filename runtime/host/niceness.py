"""How far a process steps back when others want the processor: 0 (not at all) to 19, as `nice` counts."""

from __future__ import annotations

import os
from contextlib import suppress

STORE = 5
"""Of the store that `tundish up` starts: what it writes for builds must not hold up the searches of this machine."""


def step_back(level: int, pid: int = 0) -> None:
    """Give a process (0: this one) at least this level; what it starts from now on has it, too.

    No process may come forward again, so a lower level changes nothing; nor does a process that is gone.
    """
    with suppress(OSError):
        if level > os.getpriority(os.PRIO_PROCESS, pid):
            os.setpriority(os.PRIO_PROCESS, pid, level)
