"""What a person sees of a call that runs: lines, and a bar while it reports progress. All of it on standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.pace import pace

if TYPE_CHECKING:
    from rich.progress import Progress


class Display:
    """A terminal gets the bar; a file or a pipe only lines."""

    def __init__(self) -> None:
        self.draws = sys.stderr.isatty()
        self._bar: Progress | None = None

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def line(self, text: str) -> None:
        if self._bar is None:
            click.echo(text, err=True)
            return
        from rich.text import Text

        self._bar.console.print(Text.from_ansi(text), soft_wrap=True)

    def progress(self, report: Mapping[str, Any]) -> None:
        """Draw `{done, total, message}`, with pace and time left where it says; without a total nobody knows how long
        the bar is."""
        if not self.draws:
            return
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task("", count="", message="")
        total = report["total"]
        count = f"{report['done']:g}" + (f"/{total:g}" if total is not None else "")
        message = " · ".join(filter(None, (pace(report), report["message"])))
        self._bar.update(self._bar.task_ids[0], completed=report["done"], total=total, count=count, message=message)

    def clear(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}", markup=False),
    )
    # What is printed meanwhile goes above the bar; where standard output is a file or a pipe, it goes there.
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
