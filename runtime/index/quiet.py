"""Work that others must not feel: in a thread that gets the processor when nobody else wants it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")
NICENESS = 15


def quietly(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread of its own, at low priority where the system has priorities for threads, and wait."""
    with ThreadPoolExecutor(1, thread_name_prefix="quiet", initializer=_step_back) as pool:
        return pool.submit(work).result()


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere a priority belongs to the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
