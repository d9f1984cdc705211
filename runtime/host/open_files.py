"""How many files a process may have open. Terminals of macOS and some services begin with 256."""

from __future__ import annotations

import contextlib
import resource

ENOUGH = 16_384
_MACOS = 10_240
"""OPEN_MAX there: more is refused, although the hard limit is higher."""


def allow_many() -> None:
    """Raise the soft limit of this process, and of those that it will start, as far as the hard one lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (ENOUGH, _MACOS):
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= most:
            return
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return
