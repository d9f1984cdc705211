"""deploy/prometheus, alertmanager and grafana: read by the programs they are for, and by the names that we export."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from runtime.config.load import load_settings
from runtime.host.free_ports import Ports
from tests.mailing import mail_server
from tests.receiving import receiving
from tests.test_metrics_names import GATEWAY, PAGE, QUOTAS, SYSTEM
from tests.workers import until

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROMTOOL, AMTOOL = shutil.which("promtool"), shutil.which("amtool")
ALERTMANAGER = shutil.which("prometheus-alertmanager")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="the Debian package prometheus is not installed")
needs_amtool = pytest.mark.skipif(AMTOOL is None, reason="the Debian package prometheus-alertmanager is not installed")

SUFFIXES = re.compile(r"_(?:bucket|count|sum)$")
OWN = {"up", "ALERTS"}
"""Series that Prometheus makes itself."""


def run(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, cwd=DEPLOY)
    assert done.returncode == 0, done.stdout + done.stderr


def groups() -> Iterator[dict[str, Any]]:
    for file in RULES:
        yield from yaml.safe_load(file.read_text())["groups"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def dashboard(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def expressions(path: Path) -> Iterator[str]:
    """Those of every panel, with Grafana's own variables filled in."""
    for panel in dashboard(path)["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$task_name", ".*")


def series(expression: str) -> set[str]:
    """The names of series in an expression. None of ours is a word of PromQL."""
    return set(re.findall(r"\b(?:celery_|tundish[_:]|process_|up\b|ALERTS\b)[a-z0-9_:]*", expression))


@cache
def exported() -> set[str]:
    recorded = {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}
    names = {name.partition("{")[0] for name in SYSTEM | GATEWAY | QUOTAS}
    return recorded | names | OWN


def missing(expression: str) -> set[str]:
    known = exported()
    return {name for name in series(expression) if name not in known and SUFFIXES.sub("", name) not in known}


@needs_promtool
def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    """The key is that of an installation; the rules are read along."""
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    (tmp_path / "key").write_text("key")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/tundish/prometheus.key", "key"))
    shutil.copytree(DEPLOY / "prometheus" / "rules", tmp_path / "rules")
    run(PROMTOOL, "check", "config", tmp_path / "prometheus.yml")


@needs_promtool
def test_every_alert_fires_for_what_it_is_about() -> None:
    run(PROMTOOL, "test", "rules", *sorted((DEPLOY / "prometheus" / "tests").glob("*.yml")))


def test_no_alert_is_left_out_of_these_tests() -> None:
    text = "".join(path.read_text() for path in (DEPLOY / "prometheus" / "tests").glob("*.yml"))
    assert not [rule["alert"] for rule in alerts() if rule["alert"] not in text]


def test_every_alert_and_objective_is_documented() -> None:
    known = {rule["alert"] for rule in alerts()}
    assert set(re.findall(r"`(Tundish[A-Z]\w+)`", PAGE)) == known
    objectives = {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}
    assert set(re.findall(r"`(tundish:objective:\w+)`", PAGE)) == {
        name for name in objectives if name.startswith("tundish:objective:")
    }


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "action"}


def test_rules_name_only_what_is_exported() -> None:
    found = {rule["expr"]: missing(rule["expr"]) for group in groups() for rule in group["rules"]}
    assert not {expression: names for expression, names in found.items() if names}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_names_only_what_is_exported(path: Path) -> None:
    found = {expression: missing(expression) for expression in expressions(path)}
    assert len(found) > 5
    assert not {expression: names for expression, names in found.items() if names}


@needs_promtool
def test_prometheus_can_read_every_expression_of_the_dashboards(tmp_path: Path) -> None:
    found = [expression for path in DASHBOARDS for expression in expressions(path)]
    rules = [{"record": f"test:panel:{number}", "expr": expression} for number, expression in enumerate(found)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    run(PROMTOOL, "check", "rules", tmp_path / "rules.yml")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    """Its name is its file's, panels have ids of their own and do not lie on each other, and the source is ours."""
    found = dashboard(path)
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert found["uid"] == path.stem
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
        assert all(target["datasource"]["uid"] == source["uid"] for target in panel.get("targets", []))


def test_every_metric_of_ours_is_on_a_dashboard_or_in_a_rule() -> None:
    shown = set().union(*(series(expression) for path in DASHBOARDS for expression in expressions(path)))
    shown |= set().union(*(series(rule["expr"]) for group in groups() for rule in group["rules"]))
    shown = {SUFFIXES.sub("", name) for name in shown}
    left = {name.partition("{")[0] for name in SYSTEM | GATEWAY if not name.startswith("process_")} - shown
    assert left <= {
        "celery_queue_size",
        "celery_task_success_total",
        "tundish_outbox_bytes",
        "tundish_worker_processes",
    }


def test_each_queue_has_its_worker_scraped() -> None:
    """Those of the shipped functions.yaml, at the ports of their positions."""
    queues = list(load_settings({}, file=ROOT / "functions.yaml").project.queues)
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (workers,) = (job for job in jobs if job["job_name"] == "tundish-workers")
    found = {(one["names"][0], one["port"]) for one in workers["dns_sd_configs"]}
    assert found == {(f"worker-{queue}", 9540 + position) for position, queue in enumerate(queues)}


@needs_amtool
def test_alertmanager_takes_its_configuration() -> None:
    run(AMTOOL, "check-config", DEPLOY / "alertmanager" / "alertmanager.yml")


@pytest.mark.skipif(ALERTMANAGER is None, reason="the Debian package prometheus-alertmanager is not installed")
def test_a_real_alertmanager_posts_and_mails(tmp_path: Path) -> None:
    """With the shipped routes and receivers, at addresses of ours, and without waiting for more alerts."""
    port = Ports(tmp_path / "ports").take("alertmanager")
    with receiving() as hook, mail_server("none") as box:
        config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
        config["global"] = {
            "smtp_smarthost": f"localhost:{box.port}",
            "smtp_from": config["global"]["smtp_from"],
            "smtp_require_tls": False,
        }
        config["route"]["group_wait"] = "0s"
        config["receivers"][0]["webhook_configs"][0]["url"] = hook.url()
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config))
        command = [str(ALERTMANAGER), f"--config.file={tmp_path / 'alertmanager.yml'}", f"--storage.path={tmp_path}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        alert = {"labels": {"alertname": "TundishNoWorker", "queue_name": "q", "severity": "critical"}}
        try:
            until(lambda: _sent(f"http://127.0.0.1:{port}/api/v2/alerts", [alert]))
            until(lambda: hook.posts and box.mails)
        finally:
            process.terminate()
            process.wait()
    assert json.loads(hook.posts[0].body)["alerts"][0]["labels"] == alert["labels"]
    assert "TundishNoWorker" in box.mails[0]["subject"]
    assert box.mails[0]["to"] == "operators@example.com"


def _sent(url: str, alerts: list[dict[str, Any]]) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("POST", url, json=alerts, retries=False, timeout=5.0).status == 200
    return False


def test_alerts_go_to_a_webhook_and_what_is_critical_by_mail() -> None:
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    kinds = {receiver["name"]: set(receiver) - {"name"} for receiver in config["receivers"]}
    assert kinds == {"webhook": {"webhook_configs"}, "email": {"email_configs"}}
    assert "password:" not in (DEPLOY / "alertmanager" / "alertmanager.yml").read_text(), "secrets are in files"
