"""Every command that a page tells its reader to type exists, with these options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from runtime.cli.main import cli
from tests.pages import blocks

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])

NOT_NEEDED = {"deploy"}
"""Commands of other systems, of which pages say that there is none here."""

_INLINE = re.compile(r"`(tundish [^`\n]+)`")
_COMMAND = re.compile(r"(?:^|[;&|(] *|\$ )(?:\.venv/bin/)?(tundish [^#;&\n)]+)", re.M)


def commands(page: Path) -> Iterator[str]:
    """Those in the text, and those in blocks of shell or of no language."""
    yield from _INLINE.findall(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))
    for block in blocks(page, {}):
        if block.lang in ("", "sh", "bash", "console"):
            yield from _COMMAND.findall(block.body)


def trouble(command: str) -> str:
    """What is wrong with a command, if anything is. What follows `|`, and words in capitals, stand for anything."""
    try:
        words = shlex.split(command.partition(" | ")[0])[1:]
    except ValueError:  # a quote that is closed in a later line
        words = command.split()[1:]
    found: click.Command = cli
    with click.Context(cli) as context:
        while words and isinstance(found, click.Group) and not words[0].startswith("-"):
            below = found.get_command(context, words[0])
            if below is None:
                if found is cli and words[0] not in NOT_NEEDED and not re.fullmatch(r"[A-Z]+…?|…", words[0]):
                    return f"there is no `tundish {words[0]}`"
                break
            found, words = below, words[1:]
        options = {opt for one in found.get_params(context) for opt in (*one.opts, *one.secondary_opts)} | {
            "--help",
            "--version",
        }
    if found.context_settings.get("ignore_unknown_options"):
        return ""
    for word in words:
        name = word.partition("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*", name) and name not in options:
            return f"`{command}`: no {name} there"
    return ""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_commands_of_a_page_exist(path: Path) -> None:
    assert [wrong for command in commands(path) if (wrong := trouble(command))] == []


def test_what_does_not_exist_is_found_out(tmp_path: Path) -> None:
    assert trouble("tundish fly") == "there is no `tundish fly`"
    assert trouble("tundish put x --bukket y").endswith("no --bukket there")
    assert trouble("tundish dead list --since 2h") == ""
    page = tmp_path / "page.md"
    page.write_text("`tundish up`\n```text\ntundish no\n```\n```\nx=$(tundish env) && tundish put a  # b\n```\n")
    assert list(commands(page)) == ["tundish up", "tundish env", "tundish put a  "]
