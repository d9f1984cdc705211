"""`tundish models`: the embedding models, and how the back ends of this machine run them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from runtime.embedding.backend import SentenceTransformerModels

_COLUMNS = ("model", "back end", "state", "36 tokens", "130 tokens", "cosine", "rank")


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml (default: the one here).")
@click.option("--measure", is_flag=True, help="Measure every back end of this machine now; up to a minute a model.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_obj
def models(environ: Mapping[str, str], file: Path | None, measure: bool, as_json: bool) -> None:
    """Show the models of functions.yaml and the back ends that can run them on this machine.

    Speeds are texts a second, by one thread. `cosine` and `rank` compare a back end with fp32: the mean cosine of
    its vectors, and the mean reciprocal rank of known answers. Exit code 1: a model cannot be used.
    """
    from dataclasses import asdict

    from runtime.cli.output import print_json, print_table
    from runtime.config.load import load_settings
    from runtime.embedding.library import library
    from runtime.errors import ServiceFailed

    found = library(load_settings(environ, file=file))
    told: list[dict[str, Any]] = []
    for name in found.names:
        try:
            model = found.get(name)
            model.check()
            known = list(_backends(model, measure))
            told.append(
                {"model": model.name, "prompts": asdict(model.source.prompts), "backends": known, "error": None}
            )
        except (ServiceFailed, OSError) as error:
            told.append({"model": name, "prompts": None, "backends": [], "error": str(error)})
    if as_json:
        print_json({"models": told})
    else:
        print_table(_COLUMNS, (row for one in told for row in _rows(one)))
        for one in told:
            if one["error"]:
                click.echo(f"{one['model']}: {one['error']}", err=True)
        refused = [f"{found['backend']}: {found['why']}" for one in told for found in one["backends"] if found["why"]]
        for line in dict.fromkeys(refused):  # what is missing here is missing for all models
            click.echo(line, err=True)
    if any(one["error"] for one in told):
        raise SystemExit(1)


def _backends(model: SentenceTransformerModels, measure: bool) -> Iterator[dict[str, Any]]:
    """What is known of every back end, those that this machine does not have included."""
    from dataclasses import asdict

    from runtime.embedding import choice
    from runtime.models import backends

    known = choice.known(model.given)
    if measure:
        wanted = backends.usable()
        click.echo(f"measuring {model.name}: {', '.join(wanted)}; up to a minute", err=True)
        known = {one.backend: one for one in choice.measured(model.given, wanted, again=True)}
    chosen = choice.foreseen(model.given, model.pinned)
    for name in backends.NAMES:
        why, one = backends.trouble(name), known.get(name)
        refused = one.refused if one else ""
        begins = name == backends.EXACT and not chosen and not model.pinned
        state = "missing" if why else "failed" if refused else "unknown" if one is None else "faithful"
        plain = {"short": None, "long": None, "cosine": None, "rank": None} if one is None else asdict(one)
        plain = {key: plain[key] for key in ("short", "long", "cosine", "rank")}
        yield {
            "backend": name,
            "state": "ready" if name == chosen else "begins" if begins else state,
            "chosen": name == chosen or begins,
            "pinned": name == model.pinned,
            **plain,
            "why": why or refused,
        }


_STATES = {
    "ready": "ready: it is used",
    "begins": "ready: until all are measured",
    "missing": "not here",
    "failed": "failed: refused",
    "unknown": "not measured",
}


def _rows(one: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if one["error"]:
        yield one["model"], "", "failed: cannot be used", *("" for _ in range(4))
    for place, found in enumerate(one["backends"]):
        numbers = ("" if found[key] is None else f"{found[key]:g}" for key in ("short", "long", "cosine", "rank"))
        state = _STATES.get(found["state"], found["state"]) + (" (pinned)" if found["pinned"] else "")
        yield "" if place else one["model"], found["backend"], state, *numbers
