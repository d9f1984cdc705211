"""What commands print: JSON for programs, tables for people. Colours on a terminal only, and not with NO_COLOR."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

STYLES: Mapping[str, str] = {
    **dict.fromkeys(("succeeded", "done", "ok", "ready", "healthy", "woken"), "green"),
    **dict.fromkeys(("running", "queued", "accepted", "waiting", "counting"), "cyan"),
    **dict.fromkeys(("retrying", "paused", "cancelled", "expired", "silent", "starting", "near"), "yellow"),
    **dict.fromkeys(("failed", "dead", "missing", "unhealthy", "full"), "red"),
}
"""How the words for states are shown, where they begin a cell."""

_WIDTH = 200
_MARGIN = 6


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, states: Sequence[str] = ("state",)) -> None:
    """A table. Cells of the columns in `states` are coloured by the word that they begin with."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        # Text: brackets in a key are no markup
        table.add_row(
            *(Text(cell, _style(cell) if name in states else "") for name, cell in zip(columns, row, strict=True))
        )
    console = _console()
    if not console.is_terminal:
        console.width = _WIDTH  # for a file or a pipe nothing is to be cut
    console.print(table)


def print_styled(mark: tuple[str, str], text: tuple[str, str]) -> None:
    """A line behind a short mark at its margin, each (words, rich style). A terminal wraps it beside the margin."""
    from rich.table import Table
    from rich.text import Text

    console = _console()
    if not console.is_terminal:
        click.echo(f"{mark[0]:<{_MARGIN}}{text[0]}".rstrip())
        return
    grid = Table.grid(padding=0)
    grid.add_column(width=_MARGIN)
    grid.add_column()
    grid.add_row(Text(*mark), Text(*text))
    console.print(grid)


def snippet(text: str, width: int = 160) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def _style(cell: str) -> str:
    return STYLES.get(cell.partition(" ")[0].rstrip(":,"), "")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)
