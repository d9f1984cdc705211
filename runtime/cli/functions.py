"""`tundish functions`: what is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from runtime.cli import complete


@click.command()
@click.argument("name", required=False, shell_complete=complete.functions)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_obj
def functions(environ: Mapping[str, str], name: str | None, as_json: bool) -> None:
    """Show what is deployed; with NAME everything about one function.

    Asks the running system; without one, functions.yaml is read and described here.
    """
    from runtime.cli.output import print_json, print_table

    if name:
        found = _one(environ, name)
        print_json(found) if as_json else _print_one(found)
        return
    listed = _all(environ)
    if as_json:
        print_json({"functions": listed})
        return
    columns = ("function", "handler", "queue", "timeout", "retries", "triggers", "arguments")
    print_table(columns, [_row(found) for found in listed])
    for found in listed:
        if found.get("error"):
            click.echo(f"{found['name']} is not available: {found['error']}")
        if paused := found.get("paused"):
            click.echo(f"{found['name']} rests{': ' if paused['reason'] else ''}{paused['reason']}")


def _one(environ: Mapping[str, str], name: str) -> dict[str, Any]:
    from runtime.cli.client import Unreachable, find

    try:
        found: dict[str, Any] = find(environ).get(f"/functions/{quote(name, safe='')}")
    except Unreachable:
        from runtime.cli.described import Described

        found = Described(environ).one(name)
    return found


def _all(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    from runtime.cli.client import Unreachable, find

    try:
        client = find(environ)
        names = [found["name"] for found in client.get("/functions")["functions"]]
        return [client.get(f"/functions/{quote(name, safe='')}") for name in names]
    except Unreachable:
        from runtime.cli.described import Described

        return Described(environ).all()


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    properties = (found.get("schema") or {}).get("properties", {})
    required = (found.get("schema") or {}).get("required", ())
    retries = found.get("retries") or {}
    return (
        found["name"],
        found["handler"],
        found["queue"],
        found.get("timeout") or "none",
        str(retries.get("max", "")),
        ", ".join(_trigger(trigger) for trigger in found["triggers"]) or "none",
        ", ".join(key if key in required else f"{key}?" for key in properties),
    )


def _trigger(trigger: Mapping[str, Any]) -> str:
    if "bucket" in trigger:
        return f"bucket {trigger['bucket']}"
    if "cron" in trigger:
        return f"cron {trigger['cron']}"
    return f"every {trigger['every']}" if "every" in trigger else "http"


def _print_one(found: Mapping[str, Any]) -> None:
    click.echo(f"{found['name']}: {found.get('doc') or 'no description'}")
    for key in ("handler", "queue", "priority", "timeout", "soft_timeout", "role", "on_failure", "error"):
        if found.get(key) is not None:
            click.echo(f"{key}: {found[key]}")
    for key in ("retries", "triggers", "on_success", "schema", "returns"):
        if found.get(key):
            click.echo(f"{key}: {json.dumps(found[key], indent=2, ensure_ascii=False)}")
