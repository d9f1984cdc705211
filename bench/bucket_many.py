"""A bucket with very many objects, within minutes.

The objects of the first folder are PUT. The other folders are copies of it: its entries as SeaweedFS saves them, under
other names of the same length, loaded by SeaweedFS's own shell. A listing and a HEAD cannot tell the difference; a
million PUTs would take half an hour.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from runtime.config.settings import StoreSettings
from runtime.store.port import MinioStore
from runtime.system.services import Service

BUCKET = "many"
FOLDER_SIZE = 1_000
_FIRST = b"%07d" % 0


def fill(home: Path, weed: Service, store: StoreSettings, count: int) -> float:
    """Put `count` objects into the bucket, a multiple of FOLDER_SIZE; returns the seconds that it took."""
    began = time.perf_counter()
    port = MinioStore(store)
    port.ensure_bucket(BUCKET)
    for number in range(FOLDER_SIZE):
        port.put(BUCKET, f"year/{0:07}/object-{number:07}.txt", b"%d" % number)
    saved, loaded = home / "first.meta", home / "others.meta"
    shell(home, weed, f"fs.meta.save -o {saved} /buckets/{BUCKET}/year")
    entries = saved.read_bytes()
    with loaded.open("wb") as file:
        # The shell may end before its last few entries are in: it gets the last folder twice.
        for folder in [*range(1, count // FOLDER_SIZE), max(1, count // FOLDER_SIZE - 1)]:
            name = b"%07d" % folder
            # As part of a path, and as the folder's own entry: a string of seven bytes in protobuf.
            file.write(entries.replace(b"year/" + _FIRST, b"year/" + name).replace(b"\x07" + _FIRST, b"\x07" + name))
    shell(home, weed, f"fs.meta.load -v=false -concurrency=8 {loaded}")
    saved.unlink()
    loaded.unlink()
    return time.perf_counter() - began


def shell(home: Path, weed: Service, command: str) -> None:
    """Run a command of SeaweedFS's shell."""
    flags = dict(word.removeprefix("-").split("=", 1) for word in weed.argv if "=" in word)
    master, filer = (f"127.0.0.1:{flags[f'{part}.port']}.{flags[f'{part}.port.grpc']}" for part in ("master", "filer"))
    words = [weed.argv[0], f"-config_dir={flags['config_dir']}", "shell", f"-master={master}", f"-filer={filer}"]
    done = subprocess.run(words, input=f"{command}\n", cwd=home, capture_output=True, text=True, check=False)
    if done.returncode or "error" in done.stderr.lower():
        raise SystemExit(f"weed shell: {command}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
