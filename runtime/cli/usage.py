"""`tundish usage`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

NEAR = 0.8
"""From this share on every answer warns of a quota, too (docs/tenants.md)."""
_COLUMNS = ("calls", "seconds", "documents", "bytes")


@click.command()
@click.argument("tenant", required=False)
@click.option("--month", metavar="YYYY-MM", help="Which month, in UTC: 2026-03. Without it: this one.")
@click.option("--days", is_flag=True, help="A line for every day of it on which something was used.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_obj
def usage(environ: Mapping[str, str], tenant: str | None, month: str | None, days: bool, as_json: bool) -> None:
    """Show what tenants have used this month, and how much of their quotas is left."""
    from runtime.cli.client import find
    from runtime.cli.output import print_json, print_table

    wanted = {name: value for name, value in (("tenant", tenant), ("month", month)) if value}
    told = find(environ).get("/api/v1/usage", **wanted)
    if as_json:
        print_json(told)
        return
    if not told["tenants"]:
        click.echo("No tenant has used anything yet.")
    elif days:
        print_table(("tenant", "day", *_COLUMNS), [row for one in told["tenants"] for row in _days(one, told["month"])])
    else:
        columns = ("tenant", *_COLUMNS, "quota", "rate", "each of its keys")
        print_table(columns, [_row(one) for one in told["tenants"]], states=("quota",))
    own = told["key"]
    if own["quota"] or own["rate"]:
        click.echo(f"Of this key ({own['name']}): {limits(own)}")


def limits(key: Mapping[str, Any]) -> str:
    """The rate and quota of an API key, and what is used of them."""
    return ", ".join(part for part in (key["rate"], quota(key["quota"])) if part)


def quota(told: Mapping[str, Any] | None) -> str:
    """`near: 81 % of 1000 calls, 2 % of 5000 documents a day`; what is used most comes first."""
    if not told:
        return ""
    parts = sorted(((name, one) for name, one in told.items() if name != "per"), key=lambda part: -part[1]["share"])
    share = parts[0][1]["share"]
    state = "full" if share >= 1 else "near" if share >= NEAR else "ok"
    words = ", ".join(f"{one['share']:.0%} of {_amount(name, one['limit'])}" for name, one in parts)
    return f"{state}: {words} a {told['per']}".replace("%", " %")


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    used = (_short(name, one[name]) for name in _COLUMNS)
    of_key = [one["key_rate"] or ""]
    if most := one["key_quota"]:
        counts = [_amount(name, value) for name, value in most.items() if name != "per"]
        of_key.append(f"{', '.join(counts)} a {most['per']}")
    return one["tenant"], *used, quota(one["quota"]), one["rate"] or "", ", ".join(filter(None, of_key))


def _days(one: Mapping[str, Any], month: str) -> Iterator[tuple[str, ...]]:
    for day, used in one["days"].items():
        yield one["tenant"], f"{month}-{day}", *(_short(name, used[name]) for name in _COLUMNS)


def _amount(name: str, value: float) -> str:
    """`1000 calls`, `2h`, `512 MiB`."""
    from runtime.values.units import format_duration

    if name == "seconds":
        return format_duration(value)
    return _short(name, value) if name == "bytes" else f"{value:.0f} {name}"


def _short(name: str, value: float) -> str:
    """A number for a column: bytes in the largest unit of which there is one."""
    if name != "bytes":
        return f"{value:,.1f}" if name == "seconds" else f"{value:,.0f}"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"
