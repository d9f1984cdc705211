"""`tundish keys create|list|revoke`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from runtime.cli import complete
from runtime.cli.groups import hand_down

_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_PATH = "/api/v1/keys"


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def keys(ctx: click.Context, as_json: bool) -> None:
    """Make, list and revoke API keys. They are asked for where the gateway listens beyond this machine."""
    if not hand_down(ctx):
        ctx.invoke(list_, as_json=as_json)


@keys.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(("read", "invoke", "admin")),
    default="invoke",
    show_default=True,
    help="read: only look. invoke: also call functions and put documents. admin: everything.",
)
@click.option("--tenant", help="Whose key it is: it sees and changes what is that tenant's only.")
@click.option("--all-tenants", is_flag=True, help="It sees what is everybody's, as a monitor's has to.")
@click.option(
    "--function",
    "functions",
    multiple=True,
    metavar="NAME",
    help="The only function that it may call; give it as often as needed.",
    shell_complete=complete.functions,
)
@click.option("--expires", metavar="DURATION", help="How long it holds, as 90d. Without it: until it is revoked.")
@_json
@click.pass_obj
def create(
    environ: Mapping[str, str],
    name: str,
    role: str,
    tenant: str | None,
    all_tenants: bool,
    functions: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a key and print it, this once: it is stored nowhere."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json

    wanted: dict[str, Any] = {"name": name, "role": role, "all_tenants": all_tenants}
    wanted |= {"tenant": tenant} if tenant else {}
    wanted |= {"functions": list(functions)} if functions else {}
    wanted |= {"expires": expires} if expires else {}
    told = find(environ).post(_PATH, wanted)
    if as_json:
        print_json(told)
        return
    click.echo(told["key"])
    click.echo("It is shown this once. Send it as `Authorization: Bearer KEY`, or set TUNDISH_API_KEY.", err=True)


@keys.command("list")
@_json
@click.pass_obj
def list_(environ: Mapping[str, str], as_json: bool) -> None:
    """List the keys: what they may do, what is left of their limits, how long they hold. Never the secrets."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table
    from runtime.cli.task_output import when
    from runtime.cli.usage import limits

    found = find(environ).get(_PATH)["keys"]
    if as_json:
        print_json({"keys": found})
        return
    if not found:
        click.echo("There are no keys but the administrator's. Make one: tundish keys create NAME")
        return
    rows = [
        (
            key["name"],
            key["role"],
            key["tenant"] if key["confined"] else "all",
            ", ".join(key["functions"]) if key["functions"] is not None else "all",
            ("expired " if key["expired"] else "") + (when(key["expires"]) if key["expires"] else "never"),
            when(key["used"]) if key["used"] else "never",
            limits(key),
            key["by"],
        )
        for key in found
    ]
    columns = ("name", "role", "tenant", "functions", "expires", "last use", "limits", "made by")
    print_table(columns, rows, states=("expires",))


@keys.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_json
@click.pass_obj
def revoke(environ: Mapping[str, str], names: tuple[str, ...], as_json: bool) -> None:
    """Revoke keys: within half a second they open nothing any more, at any gateway. Exit code 1: one was not there."""
    from runtime.cli.client import Refused, find
    from runtime.cli.output import print_json

    client = find(environ)
    revoked, refused = list[str](), list[str]()
    for name in names:
        try:
            client.call("DELETE", f"{_PATH}/{quote(name, safe='')}")
            revoked.append(name)
        except Refused as error:  # the others are revoked all the same
            if error.status != 404:
                raise
            refused.append(str(error))
    if as_json:
        print_json({"revoked": revoked})
    elif revoked:
        click.echo(f"Revoked: {', '.join(revoked)}.")
    for words in refused:
        click.echo(words, err=True)
    if refused:
        raise SystemExit(1)
