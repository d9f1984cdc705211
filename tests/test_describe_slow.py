"""Functions whose import hangs, is slow or ends the process: they are named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.deployment import describe, describer
from runtime.deployment.describer import Describer
from runtime.errors import HandlerError

CODE = {
    "good": "def good() -> int:\n    return 1\n",
    "dies": "import os\nos._exit(3)\n",
    "slow": "import time\ntime.sleep(2.5)\n\ndef slow() -> None: ...\n",
    "stays": "import threading as t, time\nt.Thread(target=time.sleep, args=(600,)).start()\ndef stays(): ...\n",
    "never": "while True:\n    pass\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "functions").mkdir()
    for name, text in CODE.items():
        (tmp_path / "functions" / f"{name}.py").write_text(text)
    return tmp_path


def asked(*names: str) -> dict[str, dict[str, Any]]:
    plain: dict[str, Any] = {"gathered": False, "style": None, "setup": None, "env": {}}
    return {name: {"handler": f"functions/{name}.py:{name}", **plain} for name in names}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def kept(said: list[str]) -> Iterator[Describer]:
    made = Describer(dict(os.environ), say=said.append)
    yield made
    made.close()


def test_who_ends_the_process_is_named(project: Path, kept: Describer) -> None:
    with pytest.raises(HandlerError, match=r"functions/dies\.py:dies ended the process that imported it \(exit 3\)"):
        describe.describe(project, asked("good", "dies", "never"), os.environ)
    with pytest.raises(HandlerError, match=r"functions/dies\.py:dies could not be imported: .*exit code 3"):
        kept.describe(project, asked("good", "dies", "never"))
    assert kept.describe(project, asked("good"))["good"]["error"] is None


def test_who_is_slow_is_named_while_one_waits(
    project: Path, kept: Describer, said: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for module in (describe, describer):
        monkeypatch.setattr(module, "SLOW_SECONDS", 1.0)
    kept.describe(project, asked("good"))  # its libraries are there from now on
    assert kept.describe(project, asked("good", "slow"))["slow"]["error"] is None
    assert said == ["functions/slow.py:slow is still being imported …"]
    assert describe.describe(project, asked("slow"), os.environ)["slow"]["error"] is None
    assert capfd.readouterr().err == "functions/slow.py:slow is still being imported …\n"


def test_who_is_never_imported_is_named_in_the_end(
    project: Path, kept: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (describe, describer):
        monkeypatch.setattr(module, "SLOW_SECONDS", 1.0)
        monkeypatch.setattr(module, "TIMEOUT_SECONDS", 3.0)
    with pytest.raises(HandlerError, match=r"functions/never\.py:never was not imported within 3 s"):
        kept.describe(project, asked("good", "never"))
    with pytest.raises(HandlerError, match=r"functions/never\.py:never was not imported within 3 s"):
        describe.describe(project, asked("good", "never"), os.environ)


def test_a_thread_that_a_module_starts_keeps_nobody_waiting(project: Path) -> None:
    assert describe.describe(project, asked("stays"), os.environ)["stays"]["error"] is None
