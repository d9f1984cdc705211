"""The store's client library in a fresh process, wanted by many threads at the same moment."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, threading
from runtime.store_errors import translated
assert "minio" not in sys.modules
gate, failed = threading.Barrier(16), []
def first(number):
    gate.wait()
    try:
        if number % 2:
            from runtime.config import StoreSettings
            from runtime.store_client import load
            load()
            from minio import Minio
        with translated("here"):
            pass
    except ImportError as error:
        failed.append(error)
threads = [threading.Thread(target=first, args=(number,)) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(str(failed) if failed else 0)
"""


def test_many_threads_want_it_first() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
