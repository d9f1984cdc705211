"""Uploads through the gateway against minio's `put_object` straight to the store. Run it with `make bench B=uploads`.

1 KB, 5 MB and 50 MB, the two taken in turn with fresh keys; the bucket has no trigger. Both send from memory over a
connection that they keep, and wait for the answer. The gateway's growth is read while the largest are on their way.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import urllib3

from bench import memory
from bench.common import System, report, system
from bench.overload_slow import gateway_of
from runtime.config.load import load_settings
from runtime.store.client import client

SIZES = {"1_kb": (1000, 300), "5_mb": (5 * 10**6, 30), "50_mb": (50 * 10**6, 8)}
"""Bytes, and how often."""
BUCKET = "uploads"
PROJECT = "version: 1\nfunctions: {noop: {handler: load.py:noop, triggers: [{http: {}}, {bucket: watched}]}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few of each size")
    quick: bool = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "load.py").write_text("def noop(objects: list = ()) -> None:\n    return None\n")
        file = Path(folder, "functions.yaml")
        file.write_text(PROJECT)
        with system(file) as found:
            store: Any = client(load_settings(found.environ, file=file).store)
            store.make_bucket(BUCKET)
            gateway = gateway_of(found.pid)
            for name, (size, times) in SIZES.items():
                before = memory.status("RssAnon", gateway)
                ours, theirs, grown = turns(found, store, gateway, size, 3 if quick else times)
                report(f"upload_{name}", ours, peer=theirs, peer_name="minio put_object")
                report(f"upload_{name}_gateway_growth", [max(0, grown - before)], "bytes")


def turns(found: System, store: Any, gateway: int, size: int, times: int) -> tuple[list[float], list[float], int]:
    """Seconds of each upload through the gateway and straight into the store, and the gateway's largest memory."""
    http = urllib3.PoolManager(retries=False, timeout=120.0)
    ours, theirs, largest = [], [], 0
    for number in range(-1, times):  # the first pair opens the connections
        data, key = os.urandom(size), uuid.uuid4().hex
        began = time.perf_counter()
        answer = http.request("PUT", f"{found.url}/buckets/{BUCKET}/{key}", body=data)
        took = time.perf_counter() - began
        largest = max(largest, memory.status("RssAnon", gateway))
        if answer.status != 200:
            raise SystemExit(f"the upload was answered {answer.status}: {answer.data!r}")
        began = time.perf_counter()
        store.put_object(BUCKET, f"{key}.peer", io.BytesIO(data), size)
        straight = time.perf_counter() - began
        for name in (key, f"{key}.peer"):
            store.remove_object(BUCKET, name)
        if number >= 0:
            ours.append(took)
            theirs.append(straight)
    return ours, theirs, largest


if __name__ == "__main__":
    main()
