"""A real Prometheus scrapes a real gateway and a real worker, with the rules that ship."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import urllib3
import yaml

from runtime.broker import presence
from runtime.deployment.deployment import Deployment
from runtime.host.free_ports import Ports
from tests.fronts import Front, front
from tests.workers import SAMPLES, until, upkeep, worker

FILE = SAMPLES / "metrics" / "functions.yaml"
DEPLOY = Path(__file__).parent.parent / "deploy" / "prometheus"
PROGRAM = shutil.which("prometheus")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="the Debian package prometheus is not installed")
Ask = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Ports:
    return Ports(tmp_path_factory.mktemp("ports"))


@pytest.fixture(scope="module")
def house(broker_url: str, client: redis.Redis, deployed: Deployment, ports: Ports) -> Iterator[tuple[Front, int]]:
    """A gateway, the worker of the queue `work` and the port of its metrics; nobody serves the queue `other`."""
    port = ports.take("metrics")
    environ = {"PROMETHEUS_PORT": str(port - 1)}
    with front(FILE, broker_url) as gate, worker(FILE, broker_url, "work", environ=environ), upkeep(client, deployed):
        yield gate, port


@pytest.fixture(scope="module")
def prometheus(house: tuple[Front, int], ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. It is told what deploy/prometheus says, with targets of ours, and with less patience."""
    gate, metrics = house
    folder, port = tmp_path_factory.mktemp("prometheus"), ports.take("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "200ms"}
    del config["alerting"]
    targets = {"tundish": gate.url.removeprefix("http://"), "tundish-workers": f"127.0.0.1:{metrics}"}
    config["scrape_configs"] = [
        {"job_name": one["job_name"], "static_configs": [{"targets": [targets[one["job_name"]]]}]}
        for one in config["scrape_configs"]
        if one["job_name"] in targets
    ]
    (folder / "rules").mkdir()
    for file in (DEPLOY / "rules").glob("*.yml"):
        rules = yaml.safe_load(file.read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                if rule.get("alert") != "TundishDown":  # a busy machine may miss a scrape
                    rule.pop("for", None)
        (folder / "rules" / file.name).write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [str(PROGRAM), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def ask(prometheus: str) -> Ask:
    """What a query finds now: labels and values."""

    def asked(query: str) -> list[dict[str, Any]]:
        try:
            answer = urllib3.request("GET", f"{prometheus}/api/v1/query", fields={"query": query}, retries=False)
        except urllib3.exceptions.HTTPError:  # it is starting
            return []
        found = answer.json()["data"]["result"] if answer.status == 200 else []
        return [{**one["metric"], "value": float(one["value"][1])} for one in found]

    return asked


def seen(ask: Ask, query: str, total: float) -> None:
    """Wait until what a query finds makes so much together."""
    until(lambda: sum(one["value"] for one in ask(query)) == total, 60)


def test_both_are_scraped(ask: Ask) -> None:
    until(lambda: {one["job"] for one in ask("up == 1")} == {"tundish", "tundish-workers"})


def test_calls_are_seen_at_the_gateway_and_at_the_worker(ask: Ask, house: tuple[Front, int]) -> None:
    gate, _ = house
    until(lambda: ask('celery_tasks_total{job="tundish", task_name="fine", status="succeeded"}'))
    for number in range(5):
        gate.send("fine", number=number)
    gate.send("bad")
    for job in ("tundish", "tundish-workers"):
        seen(ask, f'celery_task_success_total{{job="{job}", task_name="fine"}}', 5)
        seen(ask, f'celery_task_duration_seconds_count{{job="{job}", task_name="fine"}}', 5)
        seen(ask, f'celery_task_failure_total{{job="{job}", task_name="bad"}}', 1)
    until(lambda: ask('celery_queue_depth{queue_name="other"}'))


def test_every_rule_can_be_evaluated_and_the_right_alerts_fire(
    ask: Ask, prometheus: str, house: tuple[Front, int], client: redis.Redis
) -> None:
    """Nobody serves the queue `other`, no beat runs, and a call has failed for good; nothing else is wrong."""
    assert not [one for one in presence.read(client) if one.kind == "beat"]
    house[0].send("bad")

    def health() -> set[tuple[str, str]]:
        told = urllib3.request("GET", f"{prometheus}/api/v1/rules", retries=False).json()["data"]["groups"]
        return {(rule["name"], rule["health"]) for group in told for rule in group["rules"]}

    until(lambda: {state for _, state in health()} == {"ok"})
    wanted = {"TundishNoWorker", "TundishNoBeat", "TundishDeadLetters", "TundishFailureRate"}
    until(lambda: wanted <= {one["alertname"] for one in ask('ALERTS{alertstate="firing"}')})
    firing = {one["alertname"] for one in ask('ALERTS{alertstate="firing"}')}
    assert firing - wanted <= {"TundishObjectiveMissed"}
    assert [one["queue_name"] for one in ask('ALERTS{alertname="TundishNoWorker"}')] == ["other"]
