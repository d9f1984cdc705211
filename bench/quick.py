"""A little of every benchmark that can be had in seconds: `make bench-quick`.

Each runs as a process of its own, one after the other, and prints what it prints when it is run alone; a line says how
long it took. The others need minutes; those that can be shorter take `--quick`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence

PARTS: Sequence[Sequence[str]] = (
    ("dispatch", "--quick", "--rounds", "1"),
    ("start", "--quick"),
    ("overload", "--quick"),
)


def main() -> None:
    failed = []
    for module, *words in PARTS:
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", f"bench.{module}", *words], check=False)
        took = {"metric": f"quick_{module}", "ours": round(time.perf_counter() - began, 1), "unit": "s"}
        print(json.dumps(took), flush=True)
        failed += [module] if done.returncode else []
    if failed:
        sys.exit(f"These did not come to their end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
