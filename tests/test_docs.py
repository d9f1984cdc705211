"""The documentation names everything there is, and nothing that there is not: commands, routes, keys, variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.routes import TABLE
from runtime.cli.main import cli
from runtime.config import auth, limits, load, logs, metrics, schema, settings, tenants
from runtime.config import broker as broker_

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])

_METHODS = ("GET", "POST", "PUT", "DELETE")

INTERNAL = {"TUNDISH_LEASH_FD", "TUNDISH_STATUS_FD", "TUNDISH_GATE_FD", "TUNDISH_DESCRIPTION"}
"""Variables that one process of ours sets for another."""
OF_OTHERS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"}
"""Variables that we print for other programs."""
OF_FUNCTIONS_YAML = {"QDRANT_URL", "QDRANT_API_KEY"}
"""Variables that deploy/ sets and that are read only where functions.yaml names them."""

TABLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "`queues.NAME`": (settings.Queue, {}),
    "`retries`": (settings.Retries, {}),
    "`cron` and `every`": (settings.CronTrigger, {"cron": "0 2 * * *"}),
    "`bucket`": (settings.BucketTrigger, {"bucket": "documents"}),
    "`retention`": (settings.Retention, {}),
    "`limits`": (limits.Limits, {}),
    "`outbox`": (limits.OutboxSpec, {}),
    "`callbacks`": (limits.CallbackSpec, {}),
    "`tenants.NAME`": (tenants.TenantSpec, {}),
    "`broker`": (broker_.BrokerSpec, {}),
    "`auth`": (auth.AuthSpec, {}),
    "`auth.jwt`": (auth.JwtSpec, {"issuer": "x", "audience": "y", "jwks_file": "keys.json"}),
    "`metrics`": (metrics.MetricsSpec, {}),
    "`logs`": (logs.LogsSpec, {}),
    "`tracing`": (logs.TracingSpec, {}),
}
"""Headings of docs/functions-yaml.md, the model that the table below each is about, and what that cannot do without."""


SAID = [
    "A rollback holds the index at generation",
    "The broker cannot be reached",
    "The broker is at its memory limit and takes no new work",
    "although its name says so",
    "another attempt had taken over; its result stands",
    "calls that may wait are kept in",
    "comes twice, it runs the first time",
    "it is embedded; build_index has not published it yet",
    "left on request (exit code 0) and is not started again",
    "missing a worker",
    "no beat runs",
    "no ledger knows it",
    "no worker serves the queue",
    "not taken over, everything keeps running as it was",
    "objects have failed; see: tundish buckets failed",
    "put back: its worker",
    "ran longer than its timeout of",
    "refused the credentials",
    "the clock goes on",
    "the clock waits for the broker",
    "the clocks skip",
]
"""What systems say and the runbook quotes: people look for these words."""

LATER = ("priority",)
"""Of a queue: what its functions get where it says nothing is decided when they are resolved."""


def page(name: str) -> str:
    return (DOCS / name).read_text()


def table(heading: str) -> Iterator[tuple[str, str]]:
    """Key and default of each row of the first table below a heading of docs/functions-yaml.md."""
    below = re.split(rf"^#+ {re.escape(heading)}\n", page("functions-yaml.md"), flags=re.M)[1]
    found = re.search(r"^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)", below, re.M)
    assert found, f"there is no table below {heading}"
    for row in found[1].splitlines():
        keys, default, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        for key in re.findall(r"`([a-z_]+)`", keys):
            yield key, default.strip("`")


@pytest.mark.parametrize("command", cli.list_commands(None))  # type: ignore[arg-type]
def test_every_command_is_documented(command: str) -> None:
    assert f"`tundish {command}" in page("cli.md")


@pytest.mark.parametrize("path", TABLE)
def test_every_route_is_documented(path: str) -> None:
    if path.startswith("/static/"):
        return
    assert re.search(rf"[ `]{re.escape(_written(path))}[`?]", page("http.md")), _written(path)


@pytest.mark.parametrize("name", [path.name for path in PAGES if path.parent == DOCS])
def test_every_route_that_a_page_names_is_there(name: str) -> None:
    patterns = {method: [_pattern(path) for path, methods in TABLE.items() if method in methods] for method in _METHODS}
    for method, path in re.findall(r"`(GET|POST|PUT|DELETE) (/[^`?{\s]*)", page(name)):
        assert any(re.fullmatch(pattern, path) for pattern in patterns[method]), f"{method} {path}"


@pytest.mark.parametrize("place", schema._PLACES, ids=lambda place: ".".join(place[0]) or "top")
def test_every_key_is_documented(place: tuple[tuple[str, ...], type]) -> None:
    text = page("functions-yaml.md")
    missing = [key for key in schema._names(place[1]) if not re.search(rf"\b{key}\b", text)]
    assert not missing


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_has_the_keys_of_its_model_and_their_defaults(heading: str) -> None:
    model, base = TABLES[heading]
    rows = dict(table(heading))
    names = {field.alias or name: name for name, field in model.model_fields.items()}
    assert set(rows) == set(names)
    for key, default in rows.items():
        if (value := literal(default)) is not None and key not in (*base, *LATER):
            said = model.model_validate(base | {key: value})
            assert getattr(said, names[key]) == getattr(model.model_validate(base), names[key]), key


def test_the_table_of_functions_has_every_key_and_its_default(tmp_path: Path) -> None:
    rows = dict(table("`functions.NAME`"))
    assert set(rows) == set(schema._names(schema.FunctionItem))
    compared = 0
    for key, default in rows.items():
        if (value := literal(default)) is not None:
            compared += 1
            assert _function(tmp_path, {key: value}) == _function(tmp_path, {}), key
    assert compared >= 3


def test_a_function_of_a_queue_without_a_priority_has_the_documented_one(tmp_path: Path) -> None:
    told = literal(dict(table("`queues.NAME`"))["priority"])
    assert _function(tmp_path, {}).priority == told


def test_the_top_of_the_file_is_documented_whole() -> None:
    assert set(dict(table("Top level"))) == set(schema._names(schema.FunctionsFile))


def test_every_variable_is_documented_and_none_that_nobody_reads() -> None:
    sources = "\n".join(_sources("runtime", "gateway", "triggers"))
    read = set(re.findall(r'"((?:TUNDISH|CELERY|MINIO|REDIS|AWS|NO|PROMETHEUS|OTEL|FLOWER)_[A-Z_]*[A-Z])"', sources))
    told = set(re.findall(r"`([A-Z]+_[A-Z_0-9]+)`", page("environment.md")))
    assert told == (read | OF_FUNCTIONS_YAML) - INTERNAL - OF_OTHERS


@pytest.mark.parametrize("words", SAID)
def test_what_the_runbook_quotes_is_still_said(words: str) -> None:
    assert words in page("runbook.md")
    assert any(words in source for source in _sources("runtime", "gateway", "triggers", "functions"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_of_functions_that_a_page_shows_is_valid(path: Path, tmp_path: Path) -> None:
    """Blocks of YAML that are a whole file; those that name code that is not here are not loaded, only checked."""
    for number, text in enumerate(re.findall(r"^```yaml\n(version: 1\n.*?)^```$", path.read_text(), re.M | re.S)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        load.load({}, file=file)


def _sources(*folders: str) -> Iterator[str]:
    return (path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))


def literal(cell: str) -> Any:
    """The value that a cell of defaults says; None where it says it in words, or that there is none."""
    if cell in ("–", "below", "all", "none", "below") or re.search(r"[a-z]\w* \w", cell) or "`" in cell:
        return None
    return yaml.safe_load(cell)


def _written(path: str) -> str:
    """A route as pages write it: `/functions/NAME`."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: match[1].upper(), path)


def _pattern(path: str) -> str:
    """A route as a regular expression for the addresses that it serves."""
    return re.sub(r"\{\w+(:\w+)?\}", lambda match: ".+" if match[1] else "[^/]+", path)


def _function(folder: Path, keys: Mapping[str, Any]) -> settings.Function:
    """A function with these keys, as it is when everything is resolved."""
    file = folder / "functions.yaml"
    (folder / "one.py").write_text("def one() -> None: ...\n")
    file.write_text(yaml.safe_dump({"version": 1, "functions": {"one": {"handler": "one.py:one", **keys}}}))
    return load.load({}, file=file).settings.project.functions["one"]
