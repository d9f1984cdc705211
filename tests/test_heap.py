"""Memory that passes leave behind is given back, and not with every pass."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runtime.embedding.heap import Heap


def test_it_is_given_back_after_so_much_computing() -> None:
    now, given = 0.0, list[float]()
    heap = Heap(lambda: given.append(now), lambda: now, every=2.0)
    for _ in range(10):
        with heap:
            now += 0.5
        now += 60.0  # nothing is computed meanwhile
    assert given == [2.0 + 3 * 60.0, 4.0 + 7 * 60.0]


def test_a_pass_that_fails_counts_too() -> None:
    now, given = 0.0, list[float]()
    heap = Heap(lambda: given.append(now), lambda: now, every=1.0)
    with pytest.raises(MemoryError), heap:
        now += 3.0
        raise MemoryError
    assert given == [3.0]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc, and /proc")
def test_free_pieces_go_back_to_the_system() -> None:
    """Blocks below the size that has a mapping of its own, with one that is in use behind each."""
    code = (
        "import ctypes, platform\n"
        "from bench import memory\n"
        "from runtime.embedding import heap\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "blocks = [(libc.malloc(100_000), libc.malloc(64)) for _ in range(1000)]\n"
        "for block, _ in blocks: ctypes.memset(ctypes.c_void_p(block), 1, 100_000)\n"
        "before = memory.status('RssAnon')\n"
        "for block, _ in blocks: libc.free(block)\n"
        "done = heap.trim()\n"
        "freed = before - memory.status('RssAnon')\n"
        "assert done == (platform.libc_ver()[0] == 'glibc') and (freed > 80e6 or not done), (done, freed)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
