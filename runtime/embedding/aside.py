"""Work on a model in a process of its own: what it takes is given back, and it ends with the one that asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from runtime.errors import ServiceFailed
from runtime.host import leash

SECONDS = 1800.0
"""How long it may take: measuring a large model beside other work, which goes first, takes the longest."""


def run(module: str, words: Sequence[str], failed: str, environ: Mapping[str, str] | None = None) -> str:
    """What `python -m module words` prints. Raises ServiceFailed, which begins with `failed`, where it does not end
    well or in time."""
    command = [sys.executable, "-P", "-m", module, *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, **(environ or {})},
            preexec_fn=leash.dying_with_parent(),
        )
    except subprocess.TimeoutExpired as error:
        raise ServiceFailed(f"{failed} within {SECONDS:g} s. To see why: {' '.join(command)}") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ServiceFailed(f"{failed} ({last[0]}). To see all of it: {' '.join(command)}")
    return done.stdout
