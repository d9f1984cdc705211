"""Several hosts on one machine: network namespaces with a switch between them, in a namespace of their own.

Whoever uses this runs below `unshare --net --mount` (`COMMAND`): all is gone when that process ends. Linux, root.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests import cable
from tests.cable import Cable

T = TypeVar("T")
SWITCH = "10.98.7.1"
"""The address of this process, on the switch that all hosts are connected to."""

COMMAND = ("unshare", "--net", "--mount", "--fork", "--kill-child")
_NEEDED = ("unshare", "ip", "nsenter")
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h


def missing() -> str:
    """Why it cannot be done here; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    if absent := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"{', '.join(absent)} of util-linux and iproute2 are not there"
    tried = subprocess.run(
        [*COMMAND, "sh", "-c", "ip link add td0 type bridge && ip netns list"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else f"this machine makes no network namespaces: {tried.stderr.decode().strip()}"


def run(*words: str) -> None:
    """Raises subprocess.CalledProcessError, with what the command said."""
    subprocess.run(words, check=True, capture_output=True)


def prepare() -> None:
    """Make the switch."""
    run("ip", "link", "set", "lo", "up")
    Path("/run/netns").mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    run("ip", "link", "add", "td0", "type", "bridge")
    run("ip", "addr", "add", f"{SWITCH}/24", "dev", "td0")
    run("ip", "link", "set", "td0", "up")


class Host:
    """One host: a network of its own with one cable to the switch, and a name of its own.

    `through_us`: the cable's ends are in this process, so that it can be slow (tests/cable.py).
    """

    def __init__(self, number: int, *, through_us: bool = False) -> None:
        self.name, self._end = f"host{number}", f"cable{number}"
        self.address = f"10.98.7.{10 + number}"
        self.cable: Cable | None = None
        run("ip", "netns", "add", self.name)
        if through_us:
            self.cable = Cable(cable.tap(self._end), self.inside(lambda: cable.tap("eth0")))
            self.cable.start()
        else:
            run("ip", "link", "add", self._end, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", self._end, "master", "td0")
        run("ip", "link", "set", self._end, "up")
        for words in (f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", self.name, *words.split())

    def plug(self, *, into: bool) -> None:
        """Pull the cable, or put it in again. No process of either side is told."""
        run("ip", "link", "set", self._end, "up" if into else "down")

    def start(self, words: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Run a program there, in a group of its own."""
        named = ["unshare", "--uts", "sh", "-c", f'hostname {self.name}; exec "$@"', "sh", *words]
        inside = ["nsenter", f"--net=/run/netns/{self.name}", *named]
        return subprocess.Popen(inside, env=dict(environ), start_new_session=True, stdin=subprocess.DEVNULL)

    def inside(self, work: Callable[[], T]) -> T:
        """Call something whose connections begin at this host."""
        found: list[T] = []
        failed: list[BaseException] = []

        def there() -> None:
            try:
                with Path(f"/run/netns/{self.name}").open() as place:
                    if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _NEW_NETWORK):
                        raise OSError(ctypes.get_errno(), "setns")
                found.append(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                failed.append(error)

        thread = threading.Thread(target=there)  # a thread of its own: it stays in that network
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]
