"""A measurement in a fresh process, held to one core where the platform can: `python -m bench.alone STEP JSON`.

What ran before it in the same process cannot help or harm it: no warm caches, no memory that was grown already.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import Any

from bench.common import ROOT

_HOURS = 4 * 3600.0


def alone(step: str, *, one_core: bool = True, **given: Any) -> dict[str, Any]:
    """What `module:function` of this package returns for plain data. Raises SystemExit with its output if it fails."""
    with started(step, one_core=one_core, **given) as process:
        try:
            stdout, _ = process.communicate(timeout=_HOURS)
        finally:
            process.kill()  # where we are ended before it
    if process.returncode:
        raise SystemExit(f"{step} ended with {process.returncode}:\n{stdout}")
    told: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return told


def started(step: str, *, one_core: bool = True, **given: Any) -> subprocess.Popen[str]:
    """The same without waiting: the last line that it writes is the answer."""
    command = [sys.executable, "-P", "-m", "bench.alone", step, json.dumps({"one_core": one_core, **given})]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **({"OMP_NUM_THREADS": "1"} if one_core else {})}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def hold_to_one_core() -> None:
    """The last core there is; the servers that are asked have the others."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def keep_apart(pid: int) -> None:
    """Give another process the last core, and this one the others."""
    if sys.platform == "linux":
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(pid, {max(cores)})
        os.sched_setaffinity(0, cores - {max(cores)} or cores)


def main() -> None:
    name, given = sys.argv[1], json.loads(sys.argv[2])
    if given.pop("one_core"):
        hold_to_one_core()
    module, _, function = name.partition(":")
    print(json.dumps(getattr(importlib.import_module(f"bench.{module}"), function)(**given)))


if __name__ == "__main__":
    main()
