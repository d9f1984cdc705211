"""Schedules as people see them: `GET /admin/schedules`, `/metrics`, `tundish schedule`, with a system and without."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime import keys
from runtime.cli.main import cli
from runtime.deployment.deployment import Deployment
from runtime.invocations import pause
from runtime.schedules.schedule import Schedule, parse_tick, schedules, tick_name
from tests.gatewaying import ORIGIN, problem
from tests.workers import deployment, environment
from triggers.clock import Clock

YAML = """
version: 1
queues: {default: {}}
functions:
  night:
    handler: job.py:job
    triggers:
      - {cron: "30 2 * * *", timezone: Europe/Berlin, overlap: forbid, catch_up: 1h}
  often:
    handler: job.py:job
    triggers:
      - {every: 30s}
      - {cron: "@hourly", jitter: 5m}
  quiet:
    handler: job.py:job
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "job.py").write_text("def job() -> None: ...\n")
    (tmp_path / "functions.yaml").write_text(YAML)
    return tmp_path / "functions.yaml"


@pytest.fixture
def deployed(file: Path, broker_url: str) -> Deployment:
    return deployment(file, broker_url)


@pytest.fixture
def web(redis_client: redis.Redis, deployed: Deployment) -> Iterator[TestClient]:
    app = create_app(deployed.settings, deployed)
    with TestClient(app, ORIGIN, client=("127.0.0.1", 1)) as client:
        yield client


def listed(web: TestClient, **asked: Any) -> dict[str, Any]:
    """The schedules by what they are in functions.yaml."""
    found = web.get("/admin/schedules", params=asked).json()["schedules"]
    return {one["expression"]: one for one in found}


def tick(client: redis.Redis, deployed: Deployment, ago: float) -> list[Schedule]:
    """What a clock does that has looked at nothing for so many seconds, a quarter past a whole minute."""
    now = datetime.fromtimestamp(time.time() // 60 * 60 + 0.25, UTC)
    found = schedules(deployed.settings.project)
    for schedule in found:
        seen = now - timedelta(seconds=ago)
        client.hset(keys.schedule(schedule.name), "seen", round(seen.timestamp() * 1000))
    Clock(client, deployed, lambda: now).tick(0.5)
    return found


def test_every_schedule_with_its_last_run_and_its_next(
    web: TestClient, redis_client: redis.Redis, deployed: Deployment
) -> None:
    found = listed(web)
    assert list(found) == ["30 2 * * *", "every 30s", "@hourly"]
    night = found["30 2 * * *"]
    assert night["name"].startswith("night-") and night["function"] == "night"
    assert (night["timezone"], night["overlap"], night["catch_up"]) == ("Europe/Berlin", "forbid", "1h")
    assert (night["paused"], night["last"]) == (None, None)
    assert night["ticks"] == {"submitted": 0, "skipped": 0, "missed": 0}
    assert len(night["next"]) == 1

    tick(redis_client, deployed, 35)
    last = listed(web)["every 30s"]["last"]
    record = redis_client.hgetall(keys.invocation(last["invocation"]))
    assert record[b"function"] == b"often"
    assert last["state"] == "queued"
    assert last["lateness_seconds"] == 0.25
    assert parse_tick(last["tick"]).timestamp() % 30 == 0
    redis_client.delete(keys.invocation(last["invocation"]))
    assert listed(web)["every 30s"]["last"]["state"] is None


def test_the_runs_to_come(web: TestClient) -> None:
    often = listed(web, name="often", next=3)
    assert list(often) == ["every 30s", "@hourly"]
    ticks = [parse_tick(run["tick"]) for run in often["every 30s"]["next"]]
    assert [later - earlier for earlier, later in itertools.pairwise(ticks)] == [timedelta(seconds=30)] * 2
    for run in often["@hourly"]["next"]:
        late = parse_tick(run["at"]) - parse_tick(run["tick"])
        assert timedelta() <= late < timedelta(minutes=5)
    (run,) = listed(web, name="night")["30 2 * * *"]["next"]
    assert run["local"][11:16] in ("02:30", "03:00") and run["local"][-6:] in ("+01:00", "+02:00")


@pytest.mark.parametrize(("asked", "status"), [("name=nigth", 404), ("next=0", 422), ("next=x", 422), ("nxt=1", 422)])
def test_what_is_asked_wrongly_is_refused(web: TestClient, asked: str, status: int) -> None:
    told = problem(web.get(f"/admin/schedules?{asked}"), status)
    assert "did you mean n" in json.dumps(told) or "next" in json.dumps(told)


def test_what_is_paused_says_so(web: TestClient, redis_client: redis.Redis, deployed: Deployment) -> None:
    pause.pause(redis_client, "schedule", "night", "on holiday")
    found = listed(web)
    assert found["30 2 * * *"]["paused"]["reason"] == "on holiday"
    assert found["every 30s"]["paused"] is None
    pause.pause(redis_client, "schedule", found["every 30s"]["name"])
    told = {one["name"]: one for one in web.get("/functions").json()["functions"]}
    assert told["night"]["triggers"][0]["paused"]["reason"] == "on holiday"
    assert [bool(one["paused"]) for one in told["often"]["triggers"]] == [True, False]
    assert [one["name"] for one in web.get("/functions/often").json()["triggers"]] == [
        found[name]["name"] for name in ("every 30s", "@hourly")
    ]


def test_lateness_and_ticks_are_measured(web: TestClient, redis_client: redis.Redis, deployed: Deployment) -> None:
    found = tick(redis_client, deployed, 3600 * 3)
    text = web.get("/metrics").text
    # Three hours of silence: the newest tick is on time, the others are gone.
    hourly = next(one.name for one in found if one.trigger.cron == "@hourly")
    often = next(one.name for one in found if one.trigger.every)

    def value(name: str, schedule: str, **labels: str) -> float:
        wanted = [f'{key}="{label}"' for key, label in {"schedule": schedule, **labels}.items()]
        lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
        (line,) = (line for line in lines if all(label in line for label in wanted))
        return float(line.rpartition(" ")[2])

    ticks = "tundish_schedule_ticks_total"
    assert value(ticks, often, outcome="submitted") == 1
    assert value(ticks, often, outcome="missed") == 359
    assert value(ticks, often, outcome="skipped") == 0
    assert value(ticks, hourly, outcome="missed") in (2, 3)
    late = "tundish_schedule_lateness_seconds"
    assert value(f"{late}_count", often) == value(f"{late}_bucket", often, le="+Inf") == 1
    assert (value(f"{late}_bucket", often, le="0.1"), value(f"{late}_bucket", often, le="0.25")) == (0, 1)
    assert value(f"{late}_sum", often) == 0.25
    assert f'{late}_count{{function="often",schedule="{often}"}} 1.0' in text


def run(file: Path, *words: str, **environ: str) -> Result:
    given = environment("redis://127.0.0.1:9/0", {"TUNDISH_FILE": str(file), "TUNDISH_HOME": str(file.parent / "home")})
    return CliRunner().invoke(cli, list(words), obj={**given, **environ})


def test_without_a_system_the_file_is_previewed(file: Path) -> None:
    told = json.loads(run(file, "schedule", "next", "night", "-n", "3", "--json").stdout)["schedules"]
    assert [one["function"] for one in told] == ["night"] and len(told[0]["next"]) == 3
    table = run(file, "schedule", "next").stdout
    assert len(table.splitlines()) == 2 + 3 * 5
    assert "Europe/Berlin" in table
    listing = run(file, "schedule").stdout
    assert "every 30s" in listing and "forbid" in listing and "unknown" in listing
    assert json.loads(run(file, "schedule", "--json").stdout)["schedules"][0]["ticks"] is None


def test_a_name_that_is_no_schedule(file: Path) -> None:
    result = run(file, "schedule", "next", "nigth")
    assert result.exit_code == 1 and "did you mean night?" in result.stderr
    assert run(file, "schedule", "next", "-n", "0").exit_code == 2


def test_a_file_with_errors_is_reported(file: Path) -> None:
    file.write_text(YAML.replace("30 2 * * *", "* 30 2 * * *"))
    result = run(file, "schedule")
    assert result.exit_code == 1 and "five fields" in result.stderr


def test_the_running_system_is_asked(
    web: TestClient, redis_client: redis.Redis, deployed: Deployment, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        def get(self, path: str, **fields: str) -> Any:
            return web.get(path, params=fields).json()

    monkeypatch.setattr("runtime.cli.client.find", lambda _: Found())
    pause.pause(redis_client, "schedule", "night", "on holiday")
    tick(redis_client, deployed, 35)
    last = listed(web)["every 30s"]["last"]
    lines = run(file, "schedule").stdout.splitlines()
    (night,) = (line for line in lines if line.startswith("night-"))
    assert "none yet" in night and "on holiday" in night
    (often,) = (line for line in lines if "every 30s" in line)
    assert last["invocation"] in often and "queued" in often
    told = json.loads(run(file, "schedule", "next", "often", "-n", "2", "--json").stdout)["schedules"]
    assert [len(one["next"]) for one in told] == [2, 2]
    assert tick_name(parse_tick(told[0]["next"][0]["tick"])) == told[0]["next"][0]["tick"]
