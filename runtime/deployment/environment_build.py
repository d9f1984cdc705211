"""Making an environment: a venv, filled by pip."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

import runtime
from runtime.errors import EnvironmentFailed
from runtime.values.requirements import shown

CORE = (
    *("amqp", "billiard", "celery", "click", "cronsim", "hiredis", "jsonschema-rs", "kombu", "minio", "msgpack"),
    *("prometheus-client", "pydantic", "pydantic-core", "pyyaml", "redis", "typing-extensions", "urllib3", "vine"),
)
"""What a worker itself stands on: another version of these beside the functions would break it."""

_TOLD = ("Collecting ", "Building ", "Installing ")
_LAST_LINES = 12


def build(folder: Path, python: str, requirements: Sequence[str], say: Callable[[str], None], lock: int) -> None:
    """Make a venv at `folder` for the interpreter `python`, with `requirements`. Raises EnvironmentFailed.

    It is made where it stays: programs that come with packages name their interpreter by its whole path. Tundish's
    packages are found behind its own, pip among them, and before pip looks: what is there already is not installed
    twice. `lock` is handed to pip.
    """
    own = importlib.util.find_spec("pip") is None
    venv = [python, "-P", "-m", "venv", *([] if own else ["--without-pip"]), str(folder)]
    _run(venv, "The environment could not be made", lambda _: None, lock)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "tundish.pth").write_text("".join(f"{line}\n" for line in _path_lines()))
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in _constraints()))
    pip = [str(folder / "bin" / "python"), "-P", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    failed = f"pip could not install {shown(', '.join(requirements))}"
    _run([*pip, "--progress-bar", "off", "-c", str(constraints), "--", *requirements], failed, say, lock)


def _run(command: Sequence[str], failed: str, say: Callable[[str], None], lock: int) -> None:
    """Run it to its end and tell of its progress. Raises EnvironmentFailed with its last lines."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            last.append(shown(line.rstrip()))
            if line.startswith(_TOLD):
                say(f"  pip: {last[-1][:200]}")
    if process.returncode:
        told = "\n".join(f"  {line}" for line in last if line)
        if "(constraint)" in told:
            told += "\n  What Tundish itself runs on stays at its version in every environment."
        raise EnvironmentFailed(f"{failed} (exit {process.returncode}):\n{told or shown(shlex.join(command))}")


def _path_lines() -> Iterable[str]:
    """Lines of a .pth file: the folders that this process finds packages in, with their own .pth files, then ours."""
    for place in dict.fromkeys(sys.path):
        if Path(place).name in ("site-packages", "dist-packages"):
            yield f"import site; site.addsitedir({place!r})"
    yield str(Path(runtime.__file__ or "").parent.parent)


def _constraints() -> Iterable[str]:
    for name in CORE:
        try:
            yield f"{name}=={metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
