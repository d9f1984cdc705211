"""`tundish init`: a folder to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--search", is_flag=True, help="With the shipped functions that make documents searchable.")
def init(folder: Path, search: bool) -> None:
    """Make a project: functions.yaml, a function with a trigger of each kind, its test.

    FOLDER is made, or filled where it is there. Nothing is written over.
    """
    from runtime.cli import scaffold

    made = scaffold.project(folder.resolve().name, search=search)
    scaffold.write(folder, made)
    for path in made:
        click.echo(f"made {folder / path}")
    here = folder.resolve() == Path.cwd()
    click.echo(f"Now: {'' if here else f'cd {shlex.quote(str(folder))} && '}tundish up")
