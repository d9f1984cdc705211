"""The documentation names everything there is: commands, routes and keys of functions.yaml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.routes import TABLE
from runtime import schema
from runtime.cli.main import cli

DOCS = Path(__file__).parent.parent / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("command", cli.list_commands(None))  # type: ignore[arg-type]
def test_every_command_is_documented(command: str) -> None:
    assert f"`tundish {command}" in page("cli.md")


@pytest.mark.parametrize("path", TABLE)
def test_every_route_is_documented(path: str) -> None:
    if path.startswith("/static/"):
        return
    words = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: match[1].upper(), path)
    assert re.search(rf"[ `]{re.escape(words)}[`?]", page("http.md")), words


@pytest.mark.parametrize("place", schema._PLACES, ids=lambda place: ".".join(place[0]) or "top")
def test_every_key_is_documented(place: tuple[tuple[str, ...], type]) -> None:
    text = page("functions-yaml.md")
    missing = [key for key in schema._names(place[1]) if not re.search(rf"\b{key}\b", text)]
    assert not missing


@pytest.mark.parametrize("path", [*DOCS.glob("*.md"), DOCS.parent / "README.md"], ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target
