"""Describe functions in a child process: the processes that only route calls never import anybody's code.

`python -m runtime.describe` reads {"root", "functions": {name: what request_for says}} from standard input and answers
{name: what describe_function says} (runtime/describe_function.py) on standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import HandlerError

TIMEOUT_SECONDS = 120.0
"""Time for importing all the functions of a project; heavy libraries belong inside functions."""


def describe(
    root: Path, functions: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str], python: str = sys.executable
) -> dict[str, dict[str, Any]]:
    """What the functions accept and return, by name; `python` runs the child.

    Raises HandlerError where the child itself fails.
    """
    request = json.dumps({"root": str(root), "functions": functions})
    command = [python, "-P", "-m", "runtime.describe"]
    try:
        done = subprocess.run(
            command,
            input=request.encode(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            env=dict(environ),
        )
    except subprocess.TimeoutExpired as error:
        message = f"importing the functions took more than {TIMEOUT_SECONDS:.0f} s; move slow work into the functions"
        raise HandlerError(message) from error
    try:
        result: dict[str, dict[str, Any]] = json.loads(done.stdout)
    except ValueError as error:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise HandlerError(
            f"the functions could not be described (exit {done.returncode}): {' '.join(tail)}"
        ) from error
    return result


def describe_here(root: Path, functions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The child's half: load every function in this process."""
    from runtime.describe_function import describe_function
    from runtime.loader import prepare_path

    prepare_path(root)
    return {name: describe_function(root, told) for name, told in functions.items()}


def main() -> None:
    request = json.load(sys.stdin)
    # What modules print while they are imported must not get into the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(describe_here(Path(request["root"]), request["functions"]), answer)
    answer.close()


if __name__ == "__main__":
    main()
