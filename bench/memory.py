"""What memory a process takes (and processor time), as Linux counts it: bytes; 0 where the system does not tell.

What no file stands behind (RssAnon) is what one more process costs; mapped files are shared by all who map them.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from pathlib import Path
from types import TracebackType

_EVERY_SECONDS = 0.02
_PROC = Path("/proc")


def status(name: str, pid: int | None = None) -> int:
    """A line of /proc/PID/status: VmRSS, VmHWM, RssAnon, RssFile …"""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _text("status", pid), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def maps(pid: int | None = None) -> int:
    """How many mappings there are."""
    return _text("maps", pid).count("\n")


def open_files(pid: int | None = None) -> int:
    folder = _PROC / str(pid or os.getpid()) / "fd"
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for place in (_PROC / str(parent) / "task").glob("*/children"):
            with contextlib.suppress(OSError):  # it has ended
                found += map(int, place.read_text().split())
    return found


def processor(pid: int) -> float:
    """Seconds of processor time that the threads which a process has now took so far."""
    nanoseconds = 0
    for place in (_PROC / str(pid) / "task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has ended
            nanoseconds += int(place.read_text().split()[0])
    return nanoseconds / 1e9


class Peak:
    """The growth of this process within a block: of all that is resident, and of what is anonymous (not a mapped file).

    Mapped files count as resident while they are read, though the kernel may take them back at any moment.
    """

    resident = 0
    anonymous = 0

    def __enter__(self) -> Peak:
        clear = _PROC / "self" / "clear_refs"
        if clear.exists():
            clear.write_text("5")  # VmHWM starts again
        self._before = status("VmRSS"), status("RssAnon")
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._watcher.join()
        self.resident = status("VmHWM") - self._before[0]

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_SECONDS):
            self.anonymous = max(self.anonymous, status("RssAnon") - self._before[1])


def _text(name: str, pid: int | None) -> str:
    path = _PROC / str(pid or "self") / name
    return path.read_text() if path.exists() else ""
