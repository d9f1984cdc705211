"""`tundish usage`: what people see of quotas. tests/test_tenant_limits.py looks at what it is told."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from runtime.cli import client, usage
from runtime.cli.main import cli


def part(used: float, limit: float) -> dict[str, float]:
    return {"used": used, "limit": limit, "share": used / limit if limit else 1.0}


ACME = {
    "tenant": "acme",
    "calls": 812,
    "seconds": 96.4,
    "documents": 40,
    "bytes": 3 * 2**19,
    "days": {"01": {"calls": 2, "seconds": 1.25, "documents": 1, "bytes": 10}},
    "quota": {"per": "day", "seconds": part(36, 7200), "calls": part(812, 1000)},
    "rate": "600/m",
    "key_rate": "60/m",
    "key_quota": {"per": "day", "calls": 200},
}
NONE = dict.fromkeys(("quota", "rate", "key_rate", "key_quota"))
GLOBEX = {"tenant": "globex", "calls": 1234567, "seconds": 0, "documents": 0, "bytes": 0, "days": {}} | NONE
KEY = {"name": "acme-app", "rate": "60/m", "quota": {"per": "day", "calls": part(200, 200)}}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, ""),
        (ACME["quota"], "near: 81 % of 1000 calls, 0 % of 2h a day"),
        ({"per": "month", "bytes": part(2**20, 2**29)}, "ok: 0 % of 512.0 MiB a month"),
        ({"per": "day", "documents": part(0, 0)}, "full: 100 % of 0 documents a day"),
    ],
)
def test_a_quota_in_words(told: Any, words: str) -> None:
    assert usage.quota(told) == words


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What the command asked the gateway for; two tenants are answered."""
    found: list[dict[str, str]] = []

    class Client:
        def get(self, path: str, **fields: str) -> Any:
            assert path == "/api/v1/usage"
            found.append(fields)
            return {"month": "2026-03", "tenants": [ACME, GLOBEX], "key": KEY}

    monkeypatch.setattr(client, "find", lambda environ: Client())
    return found


def shown(*words: str) -> list[list[str]]:
    done = CliRunner().invoke(cli, ["usage", *words], obj={})
    assert done.exit_code == 0, done.output
    return [line.split() for line in done.output.splitlines() if line]


def test_a_line_for_every_tenant(asked: list[dict[str, str]]) -> None:
    lines = shown()
    acme, globex = (
        next(line for line in lines if line[0] == "acme"),
        next(line for line in lines if line[0] == "globex"),
    )
    assert acme[1:6] == ["812", "96.4", "40", "1.5", "MiB"]
    assert " ".join(acme[6:]) == "near: 81 % of 1000 calls, 0 % of 2h a day 600/m 60/m, 200 calls a day"
    assert globex == ["globex", "1,234,567", "0.0", "0", "0", "B"]
    assert " ".join(lines[-1]) == "Of this key (acme-app): 60/m, full: 100 % of 200 calls a day"
    assert asked == [{}]


def test_the_days_of_a_month(asked: list[dict[str, str]]) -> None:
    lines = shown("acme", "--month", "2026-03", "--days")
    assert ["acme", "2026-03-01", "2", "1.2", "1", "10", "B"] in lines
    assert asked == [{"tenant": "acme", "month": "2026-03"}]
