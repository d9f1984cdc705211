"""Describe functions in a child process: the processes that only route calls never import anybody's code.

`python -m runtime.deployment.describe` reads {"root", "functions": {name: what request_for says}, "told": PATH} from
standard input and answers {name: what describe_function says} (runtime/deployment/describe_function.py) on standard
output. The file PATH says at any time which function is being imported: nothing else does, when the child hangs or
dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import HandlerError

TIMEOUT_SECONDS = 120.0
"""Time for importing all the functions of a project; heavy libraries belong inside functions."""


SLOW_SECONDS = 5.0
"""After so long somebody is told what is being imported."""


def slow(told: Path) -> str:
    """What is said after that."""
    return f"{being_imported(told)} is still being imported …"


def too_slow(told: Path) -> str:
    """What is said at the end of the time."""
    return f"{being_imported(told)} was not imported within {TIMEOUT_SECONDS:.0f} s; move slow work into the functions"


def being_imported(told: Path) -> str:
    """The function that a child is at, by its handler."""
    try:
        return told.read_text(encoding="utf-8") or "a function"
    except OSError:
        return "a function"


def describe(
    root: Path, functions: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str], python: str = sys.executable
) -> dict[str, dict[str, Any]]:
    """What the functions accept and return, by name; `python` runs the child.

    Raises HandlerError where the child itself fails.
    """
    command = [python, "-P", "-m", "runtime.deployment.describe"]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told")
        request = json.dumps({"root": str(root), "functions": functions, "told": str(told)}).encode()
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(environ)) as child:
            try:
                answer, said = _answer(child, request, told)
            except BaseException:
                child.kill()
                raise
        try:
            result: dict[str, dict[str, Any]] = json.loads(answer)
        except ValueError as error:
            tail = " ".join(said.decode(errors="replace").strip().splitlines()[-1:])
            raise HandlerError(
                f"{being_imported(told)} ended the process that imported it (exit {child.returncode}): {tail}"
            ) from error
    return result


def _answer(child: subprocess.Popen[bytes], request: bytes, told: Path) -> tuple[bytes, bytes]:
    """What a child says; who keeps it waiting is named as soon as it is known."""
    began, warned = time.monotonic(), False
    given: bytes | None = request
    while True:
        try:
            return child.communicate(given, SLOW_SECONDS)
        except subprocess.TimeoutExpired as error:
            given = None  # it is under way
            if time.monotonic() - began > TIMEOUT_SECONDS:
                raise HandlerError(too_slow(told)) from error
            if not warned and told.exists():
                warned = True
                sys.stderr.write(f"{slow(told)}\n")


def describe_here(
    root: Path, functions: Mapping[str, Mapping[str, Any]], told: Path | None = None
) -> dict[str, dict[str, Any]]:
    """The child's half: load every function in this process, and say in the file `told` which."""
    from runtime.deployment.describe_function import describe_function
    from runtime.deployment.loader import prepare_path

    prepare_path(root)
    described = {}
    for name, asked in functions.items():
        if told:
            told.write_text(str(asked["handler"]), encoding="utf-8")
        described[name] = describe_function(root, asked)
    return described


def main() -> None:
    request = json.load(sys.stdin)
    # What modules print while they are imported must not get into the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(describe_here(Path(request["root"]), request["functions"], Path(request["told"])), answer)
    answer.close()
    for said in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a module may have closed them
            said.flush()
    os._exit(0)  # a thread that a module has started would keep this process, and who waits for it, for ever


if __name__ == "__main__":
    main()
