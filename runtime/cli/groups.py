"""Commands that do something alone and have others below them."""

from __future__ import annotations

import click
from click.core import ParameterSource


def hand_down(ctx: click.Context) -> bool:
    """Let what was given before a subcommand hold for it (`tundish schedule --json next`); whether there is one."""
    if ctx.invoked_subcommand is None:
        return False
    given = {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    ctx.default_map = {ctx.invoked_subcommand: given}
    return True
