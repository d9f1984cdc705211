"""The command `tundish`. Each command's module is imported when it is called: `--help` must cost nothing."""

from __future__ import annotations

import difflib
import importlib
import os
from typing import TYPE_CHECKING, Any

import click

from runtime.cli import streams

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name: (module, one line for the list of commands)
_COMMANDS = {
    "init": ("init", "Make a project: functions.yaml, a function, its test."),
    "new": ("new", "Add a function, its test and its entry in functions.yaml."),
    "up": ("up", "Start the whole system and keep it running."),
    "gateway": ("part", "Run the HTTP gateway and its embedder alone."),
    "worker": ("part", "Run the workers (or that of one queue) alone."),
    "beat": ("part", "Run the schedules alone."),
    "triggers": ("part", "Run the bucket triggers alone."),
    "flower": ("flower", "Run Celery's own monitor beside the system."),
    "reload": ("reload", "Take over changed code, without dropping a call."),
    "env": ("env", "Print the connections as `export` lines for other clients."),
    "functions": ("functions", "Show what is deployed."),
    "invoke": ("invoke", "Call a function."),
    "logs": ("logs", "Show what functions put out."),
    "tasks": ("tasks", "List calls, or show one with everything that came of it."),
    "cancel": ("tasks", "Cancel calls that wait or run."),
    "retry": ("tasks", "Repeat calls that have ended."),
    "queues": ("load", "Show what waits and runs in every queue, and who works."),
    "workers": ("load", "Show every worker, with what it runs."),
    "drain": ("drain", "Let queues rest and wait until nothing runs in them."),
    "scale": ("scale", "Let the workers of a queue run more or fewer calls at once."),
    "purge": ("tasks", "Cancel everything that waits in a queue."),
    "dead": ("dead", "Look at dead letters, run them again, delete them."),
    "keys": ("keys", "Make, list and revoke API keys."),
    "usage": ("usage", "Show what tenants have used, and what is left of their quotas."),
    "pause": ("resting", "Let a function, queue, trigger or schedule rest."),
    "resume": ("resting", "Let it go on."),
    "put": ("put", "Upload files and wait until they are searchable."),
    "rm": ("documents", "Remove objects; they leave the index."),
    "search": ("documents", "Search the indexed documents."),
    "index": ("index", "Show, build, verify an index; go back to an older version."),
    "models": ("models", "Show the embedding models, and which back end runs them how fast."),
    "buckets": ("buckets", "Show the bucket triggers, wire the store, look at what failed."),
    "replay": ("replay", "Run the triggers of a bucket again over its objects."),
    "schedule": ("schedule", "Show the schedules and preview their next runs."),
    "doctor": ("doctor", "Examine everything, and say how to mend what is wrong."),
    "healthy": ("healthy", "Say whether what runs on this host does its work."),
    "check": ("check", "Check functions.yaml: every problem at once."),
    "completion": ("completion", "Print the script by which your shell completes tundish."),
}

_GROUPS = {
    "Project": ("init", "new", "check", "doctor", "completion"),
    "Run": ("up", "reload", "gateway", "worker", "beat", "triggers", "flower", "env"),
    "Call": ("functions", "invoke", "logs", "tasks", "cancel", "retry", "dead"),
    "Look after": (
        *("queues", "workers", "keys", "usage", "pause", "resume"),
        *("drain", "scale", "purge", "schedule", "healthy"),
    ),
    "Documents": ("put", "rm", "search", "index", "models", "buckets", "replay"),
}
"""The headings of `tundish --help`. What is in none of them comes last."""


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, _COMMANDS, 1)
            word = f"did you mean {near[0]}?" if near else "`tundish --help` lists what there is."
            raise click.UsageError(f"There is no command {name}; {word}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        grouped = {name for names in _GROUPS.values() for name in names}
        groups = {**_GROUPS, "More": tuple(name for name in _COMMANDS if name not in grouped)}
        for heading, names in groups.items():
            if rows := [(name, _COMMANDS[name][1]) for name in names if name in _COMMANDS]:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # fish takes a comma for the end of the description
        words = {name: told[1].replace(",", ";") for name, told in _COMMANDS.items() if name.startswith(incomplete)}
        names = [CompletionItem(name, help=told) for name, told in words.items()]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        from runtime.errors import BrokerDown, ConfigError, StoreDown, TundishError

        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
            ctx.exit(1)
        except TundishError as error:
            click.echo(f"tundish: {error}", err=True)
            away = isinstance(error, BrokerDown | StoreDown)
            ctx.exit(int(getattr(error, "exit_code", 3 if away else 1)))
        except KeyboardInterrupt:
            ctx.exit(130)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="tundish", message="tundish %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Tundish runs plain Python functions on your own machine: by HTTP, on schedules, and when files arrive.

    Exit codes: 0 it worked, 1 it failed, 2 wrong usage, 3 the system cannot be reached or has to be waited for,
    130 you stopped it.
    """
    if ctx.invoked_subcommand is None:
        from runtime.cli.start import start

        start(ctx.obj or {})


def main() -> None:
    """The console script."""
    with streams.ready():
        cli(obj=dict(os.environ), prog_name="tundish")


if __name__ == "__main__":
    main()
