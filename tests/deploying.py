"""What the tests of deploy/ share: files read as those read them who run them, with every secret filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from runtime.cli.main import cli

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
SECRET = "0123456789abcdef01234567"
NAMED = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
PARTS = ("gateway", "worker", "beat", "triggers")
QUEUES: list[str] = list(yaml.safe_load((ROOT / "functions.yaml").read_text())["queues"])


def parsed(words: list[str]) -> None:
    """Whether `tundish` takes these words. Raises click.UsageError."""
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, words
    command.make_context(words[0], words[1:], obj={})


def filled(text: str) -> str:
    """With a secret for every variable that must be set, and the default of every other one."""
    return NAMED.sub(lambda found: found[3] if found[2] == "-" else SECRET, text)


def undocumented(names: Mapping[str, Any]) -> set[str]:
    """Those of these environment variables that docs/environment.md does not name."""
    page = (ROOT / "docs" / "environment.md").read_text()
    return {name for name in names if f"`{name}`" not in page}
