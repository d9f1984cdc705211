"""`tundish completion`: the script by which a shell completes `tundish`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog='For good: add  eval "$(tundish completion bash)"  to ~/.bashrc, the same with zsh to ~/.zshrc; for fish: '
    "tundish completion fish > ~/.config/fish/completions/tundish.fish"
)
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@click.pass_obj
def completion(environ: Mapping[str, str], shell: str | None) -> None:
    """Print the script that makes your shell complete commands, options, and names of functions, queues and buckets.

    SHELL is the one that $SHELL names, unless given.
    """
    from click.shell_completion import get_completion_class

    from runtime.cli.main import cli

    shell = shell or PurePath(environ.get("SHELL", "")).name
    found = get_completion_class(shell) if shell in _SHELLS else None
    if found is None:
        raise click.UsageError(f"Which shell? Write: tundish completion {'|'.join(_SHELLS)}")
    click.echo(found(cli, {}, "tundish", "_TUNDISH_COMPLETE").source())
