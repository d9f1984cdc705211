"""Describe functions in a child process: the processes that only route calls never import anybody's code.

`python -m runtime.describe` reads {"root", "handlers": {name: handler}, "gathered": [name]} from standard input
and answers {name: {"schema", "returns", "doc", "accepts", "open", "error"}} on standard output.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import HandlerError

TIMEOUT_SECONDS = 120.0
"""Time for importing all the functions of a project; heavy libraries belong inside functions."""


def describe(
    root: Path, handlers: Mapping[str, str], environ: Mapping[str, str], gathered: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """What the functions accept and return, by name. Raises HandlerError where the child itself fails."""
    request = json.dumps({"root": str(root), "handlers": dict(handlers), "gathered": list(gathered)})
    command = [sys.executable, "-P", "-m", "runtime.describe"]
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


def describe_here(root: Path, handlers: Mapping[str, str], gathered: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """The child's half: load every handler in this process."""
    from runtime.gathered_signature import GatheredSignature
    from runtime.loader import load_handler, prepare_path
    from runtime.signature import Signature

    prepare_path(root)
    result: dict[str, dict[str, Any]] = {}
    for name, handler in handlers.items():
        try:
            function = load_handler(handler, root)
            signature = GatheredSignature(function) if name in gathered else Signature(function)
        except HandlerError as error:
            result[name] = {"error": str(error)}
            continue
        result[name] = {
            "schema": signature.schema(),
            "returns": signature.returns(),
            "doc": inspect.getdoc(function) or "",
            "accepts": list(signature.names),
            "open": signature.open,
            "error": None,
        }
    return result


def main() -> None:
    request = json.load(sys.stdin)
    # What modules print while they are imported must not get into the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(describe_here(Path(request["root"]), request["handlers"], request["gathered"]), answer)
    answer.close()


if __name__ == "__main__":
    main()
