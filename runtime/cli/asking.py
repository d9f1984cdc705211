"""Questions before what cannot be undone."""

from __future__ import annotations

import click


def agreed(question: str) -> bool:
    """Ask for a yes or a no. Raises SystemExit, with 1, where nobody is there to answer, and click.Abort at Ctrl-C."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as ended:
        if not isinstance(ended.__context__, EOFError):
            raise
    click.echo("\ntundish: Nobody answered, which is a no. With --yes nothing is asked.", err=True)
    raise SystemExit(1)


def insist(question: str) -> None:
    """Go on only with a yes. Raises as `agreed` does, and click.Abort at a no."""
    if not agreed(question):
        raise click.Abort
