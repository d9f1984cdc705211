"""A real worker's metrics: right whatever becomes of its processes, and the same as those of the broker."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import urllib3
from prometheus_client.parser import text_string_to_metric_families

from runtime import keys
from runtime.config.load import load_settings
from runtime.config.metrics import FIRST_PORT, MetricsSpec
from runtime.deployment.deployment import Deployment
from runtime.errors import ConfigError
from runtime.host.free_ports import Ports
from runtime.invocations.submit import Call, submit
from runtime.metrics import measures
from tests.workers import SAMPLES, ended, until, upkeep, worker

FILE = SAMPLES / "metrics" / "functions.yaml"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> int:
    """That of the second queue, `work`; the environment names the first."""
    return Ports(tmp_path_factory.mktemp("ports")).take("metrics")


@pytest.fixture(scope="module")
def running(broker_url: str, client: redis.Redis, deployed: Deployment, port: int) -> Iterator[Any]:
    environ = {"PROMETHEUS_PORT": str(port - 1)}
    with worker(FILE, broker_url, "work", environ=environ) as process, upkeep(client, deployed):
        yield process


def scraped(port: int, host: str = "127.0.0.1") -> Samples:
    text = urllib3.request("GET", f"http://{host}:{port}/metrics", retries=False, timeout=10.0).data.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def send(client: redis.Redis, deployed: Deployment, function: str, *many: dict[str, Any]) -> list[str]:
    return [submit(client, deployed, Call(function, arguments)) for arguments in many]


def ends(client: redis.Redis, ids: list[str]) -> Counter[str]:
    return Counter(ended(client, task_id).state for task_id in ids)


def test_every_end_is_counted_although_processes_come_and_go(
    running: Any, client: redis.Redis, deployed: Deployment, port: int
) -> None:
    """A process is replaced after three calls; one is killed in the middle of one, one by its time limit."""
    counts = ends(
        client,
        [
            *send(client, deployed, "fine", *({"number": number} for number in range(20))),
            *send(client, deployed, "bad", {}, {}),
            *send(client, deployed, "again", {}),
            *send(client, deployed, "dies", {}),
            *send(client, deployed, "late", {}),
            *send(client, deployed, "together", *({"number": number} for number in range(5))),
            *send(client, deployed, "counting", {}),
        ],
    )
    assert counts == {"succeeded": 28, "dead": 3}

    def told() -> Samples | None:
        """The process that ended a call may not have said so yet."""
        found = scraped(port)
        total = sum(number for (name, _), number in found.items() if name == "celery_tasks_total")
        return found if total >= 31 else None

    found = until(told)
    for name, number in {"fine": 20, "again": 1, "dies": 1, "together": 5, "counting": 1}.items():
        assert value(found, "celery_task_success_total", task_name=name) == number, name
        assert value(found, "celery_tasks_total", task_name=name, status="succeeded") == number, name
    assert value(found, "celery_task_failure_total", task_name="bad", exception_type="ValueError") == 2
    assert value(found, "celery_task_failure_total", task_name="late", exception_type="TimeLimitExceeded") == 1
    assert value(found, "celery_task_retry_total", task_name="again") == 2
    assert value(found, "celery_task_execution_seconds_count", task_name="again", queue="work") == 3
    assert value(found, "celery_task_execution_seconds_count", task_name="fine", queue="work") == 20
    assert value(found, "celery_task_duration_seconds_count", task_name="fine") == 20
    assert value(found, "celery_task_queue_wait_seconds_count", task_name="fine", queue="work") == 20
    assert value(found, "tundish_worker_cpu_seconds_total", worker="work@test", queue="work") > 0
    # A moment later: the parent has yet to hear of the last end, and to replace the last process.
    until(lambda: value(scraped(port), "celery_active_tasks", worker="work@test") == 0)
    until(lambda: value(scraped(port), "tundish_worker_processes", worker="work@test", queue="work") == 3)

    system = measures.decode([client.hgetall(name) for name in measures.NAMES])  # type: ignore[misc]
    assert {pair: count for pair, count in system.ends.items() if count} == {
        (dict(labels)["task_name"], dict(labels)["status"]): number
        for (name, labels), number in found.items()
        if name == "celery_tasks_total" and number
    }
    assert sum(system.runs["fine", "work"].counts) == 20
    assert system.retries == {"again": 2}
    assert system.others["counted", "counting\nrows_read"] == 7


def test_a_worker_says_through_the_broker_what_it_takes(running: Any, client: redis.Redis) -> None:
    found: Any = until(lambda: client.hgetall(keys.metrics_worker("work@test")))
    assert float(found[b"cpu"]) > 0
    assert int(found[b"memory"]) > 10_000_000
    assert 0 < client.ttl(keys.metrics_worker("work@test")) <= 60


def test_the_code_that_takes_over_has_the_port_and_goes_on_counting(
    running: Any, client: redis.Redis, deployed: Deployment, port: int
) -> None:
    os.kill(running.pid, signal.SIGHUP)

    def renewed() -> bool:
        try:
            return any(dict(labels).get("worker") == "work.2@test" for _, labels in scraped(port))
        except urllib3.exceptions.HTTPError:  # nobody has it just now
            return False

    assert until(renewed)
    before = value(scraped(port), "celery_task_success_total", task_name="fine")
    assert ends(client, send(client, deployed, "fine", {}, {}, {})) == {"succeeded": 3}
    until(lambda: value(scraped(port), "celery_task_success_total", task_name="fine") == before + 3)


def test_a_port_that_is_taken_keeps_nobody_from_working(
    broker_url: str, client: redis.Redis, deployed: Deployment, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with worker(FILE, broker_url, "other", environ={"PROMETHEUS_PORT": str(taken)}, name="other@test"):
            other.close()
            until(lambda: _answers(taken))
            assert value(scraped(taken), "celery_active_tasks", worker="other@test") == 0


def _answers(port: int) -> bool:
    try:
        return bool(scraped(port))
    except urllib3.exceptions.HTTPError:
        return False


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nmetrics: {port: 9700, host: 127.0.0.2}\nfunctions: {}\n")
    assert load_settings({}, file=file).project.metrics == MetricsSpec(port=9700, host="127.0.0.2")
    environ = {"PROMETHEUS_PORT": "0", "PROMETHEUS_HOST": "::1"}
    assert load_settings(environ, file=file).project.metrics == MetricsSpec(port=0, host="::1")
    with pytest.raises(ConfigError, match="PROMETHEUS_PORT"):
        load_settings({"PROMETHEUS_PORT": "many"}, file=file)


def test_ports_by_position() -> None:
    assert [MetricsSpec().port_of(position) for position in (0, 1)] == [FIRST_PORT, FIRST_PORT + 1]
    assert FIRST_PORT == 9540
    assert MetricsSpec(port=0).port_of(1) is None
    assert MetricsSpec(port=65_000).port_of(536) is None
