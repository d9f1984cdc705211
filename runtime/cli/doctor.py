"""`tundish doctor`: what is wrong with a system, or soon will be, each with what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
@click.option("--home", type=click.Path(path_type=Path), help="State folder (default: .tundish beside the file).")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_obj
def doctor(environ: Mapping[str, str], file: Path | None, home: Path | None, as_json: bool) -> None:
    """Examine project, broker, store, workers, triggers and this host, and say how to mend what is wrong.

    Asks each of them itself; what cannot be checked, because no system runs, is said so. It writes a probe object into
    the store and a probe message into every queue, and removes them. Exit code 1: something has failed.
    """
    from runtime.cli.output import print_json, print_styled
    from runtime.doctor.examine import examine
    from runtime.doctor.finding import Finding, Unchecked
    from runtime.doctor.patient import Patient

    findings: list[Finding] = []
    unchecked: list[Unchecked] = []
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for told in examine(Patient(environ, file, home), _checking):
        _checking("")
        if isinstance(told, Unchecked):
            unchecked.append(told)
            continue
        findings.append(told)
        if not as_json:
            print_styled((told.state, styles[told.state]), (f"{told.name}: {told.found}", ""))
            if told.mend:
                print_styled(("", ""), (told.mend, "cyan"))
    counts = {state: sum(told.state == state for told in findings) for state in styles}
    if as_json:
        print_json(
            {
                "ok": not counts["fail"],
                "findings": [asdict(told) for told in findings],
                "unchecked": [asdict(told) for told in unchecked],
            }
        )
    else:
        for reason in dict.fromkeys(told.reason for told in unchecked):
            names = ", ".join(told.name for told in unchecked if told.reason == reason)
            print_styled(("-", "dim"), (f"cannot be checked, as {reason}: {names}", ""))
        rest = f", {len(unchecked)} could not be checked" if unchecked else ""
        click.echo(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed{rest}")
    if counts["fail"]:
        raise SystemExit(1)


def _checking(name: str) -> None:
    """Say on a terminal what is being looked at: something that does not answer takes a while. Empty: nothing is."""
    if sys.stderr.isatty():
        click.echo(f"\r{name}{' …' if name else ''}\x1b[K\r", nl=False, err=True)
