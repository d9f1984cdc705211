"""`tundish new`: one more function, with its test and its entry in functions.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

_CALLED = {
    "http": 'tundish invoke {name} -d \'{{"name": "Ada"}}\'',
    "cron": "tundish schedule next {name}",
    "bucket": "tundish put data.csv --bucket inbox",
}


@click.command()
@click.argument("name")
@click.option(
    "--trigger", type=click.Choice(["http", "cron", "bucket"]), default="http", show_default=True, help="What calls it."
)
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
@click.pass_obj
def new(environ: Mapping[str, str], name: str, trigger: str, file: Path | None) -> None:
    """Add a function: functions/NAME.py, tests/test_NAME.py, and an entry at the end of functions.yaml.

    Comments and order of functions.yaml stay as they are. Nothing is written over.
    """
    from runtime.cli import scaffold
    from runtime.config.yaml_insert import insert_function
    from runtime.errors import TundishError
    from runtime.host.state_folder import places

    file, _ = places(file, None, environ)
    made, entry = scaffold.function(name, trigger)
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            text = insert_function(opened.read(), name, entry)
    except FileNotFoundError as error:
        mend = "Make a project with `tundish init FOLDER`, or name the file with -f."
        raise TundishError(f"There is no {file}. {mend}") from error
    except UnicodeDecodeError as error:
        raise TundishError(f"{file} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except OSError as error:
        raise TundishError(f"{file} cannot be read: {error.strerror}.") from error
    # Last of all: a running system looks for the code when this file changes.
    scaffold.write(file.parent, made, then=lambda: _replace(file.resolve(), text))
    for path in made:
        click.echo(f"made {path}")
    click.echo(f"added {name} to {file.name}\nTry: {_CALLED[trigger].format(name=name)}")


def _replace(file: Path, text: str) -> None:
    """Replace a file whole, so that nobody reads half of it."""
    passing = file.with_name(f".{file.name}.new")
    with passing.open("w", encoding="utf-8", newline="") as opened:
        opened.write(text)
    passing.chmod(file.stat().st_mode & 0o777)
    passing.replace(file)
