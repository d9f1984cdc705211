"""The command `tundish`. Each command's module is imported when it is called: `--help` must cost nothing."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

# name: (module, one line for the list of commands)
_COMMANDS = {
    "up": ("up", "Start the whole system and keep it running."),
    "gateway": ("part", "Run the HTTP gateway and its embedder alone."),
    "worker": ("part", "Run the workers (or that of one queue) alone."),
    "beat": ("part", "Run the schedules alone."),
    "triggers": ("part", "Run the bucket triggers alone."),
    "env": ("env", "Print the connections as `export` lines for other clients."),
    "functions": ("functions", "Show what is deployed."),
    "invoke": ("invoke", "Call a function."),
    "logs": ("logs", "Show what functions put out."),
    "tasks": ("tasks", "List calls, or show one with everything that came of it."),
    "cancel": ("tasks", "Cancel calls that wait or run."),
    "retry": ("tasks", "Repeat calls that have ended."),
    "purge": ("tasks", "Cancel everything that waits in a queue."),
    "dead": ("dead", "Look at dead letters, run them again, delete them."),
    "pause": ("resting", "Let a function, queue, trigger or schedule rest."),
    "resume": ("resting", "Let it go on."),
    "put": ("put", "Upload files and wait until they are searchable."),
    "rm": ("documents", "Remove objects; they leave the index."),
    "search": ("documents", "Search the indexed documents."),
    "index": ("index", "Show the current version of the index; compare it with its buckets."),
    "buckets": ("buckets", "Show the bucket triggers, wire the store, look at what failed."),
    "replay": ("replay", "Run the triggers of a bucket again over its objects."),
    "schedule": ("schedule", "Show the schedules and preview their next runs."),
    "check": ("check", "Check functions.yaml: every problem at once."),
}


class _Commands(click.Group):
    """Knows the names; imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"runtime.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        from runtime.errors import ConfigError, TundishError

        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            ctx.exit(1)
        except TundishError as error:
            click.echo(f"tundish: {error}", err=True)
            ctx.exit(int(getattr(error, "exit_code", 1)))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tundish", message="tundish %(version)s")
def cli() -> None:
    """Tundish runs plain Python functions on your own machine: by HTTP, on schedules, and when files arrive.

    Exit codes: 0 it worked, 1 it failed, 2 wrong usage, 3 the system cannot be reached.
    """


def main() -> None:
    """The console script."""
    try:
        cli(obj=dict(os.environ), prog_name="tundish")
    except BrokenPipeError:  # `tundish functions | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
