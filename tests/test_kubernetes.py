"""deploy/k8s: what the cluster is told, checked against its schemas, and the decision that scales workers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from gateway.routes import TABLE
from gateway.tasks.stats import _queue
from runtime.config.broker import GRACE_SECONDS
from runtime.config.environ import Environment, connect
from runtime.config.metrics import FIRST_PORT
from runtime.invocations.workload import QueueLoad
from tests.deploying import DEPLOY, PARTS, QUEUES, ROOT, SECRET, parsed, undocumented

K8S = DEPLOY / "k8s"
BASE, KEDA = K8S / "base", K8S / "keda"
VERSION = "1.32"
SCHEMA: dict[str, Any] = json.loads((ROOT / "tests" / "fixtures" / "keda.json").read_text())
Document = dict[str, Any]


def documents(folder: Path) -> list[Document]:
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    files = [folder / name for name in listed if name.endswith(".yaml")]
    assert {*files, folder / "kustomization.yaml"} == set(folder.glob("*.yaml")), "a file that is not listed"
    return [found for file in files for found in yaml.safe_load_all(file.read_text())]


ALL = documents(BASE)
DEPLOYMENTS: dict[str, Document] = {one["metadata"]["name"]: one for one in ALL if one["kind"] == "Deployment"}
SCALING = documents(KEDA)
SCALED: dict[str, Document] = {one["metadata"]["name"]: one["spec"] for one in SCALING if one["kind"] == "ScaledObject"}
CONFIG: dict[str, str] = next(one["data"] for one in ALL if one["kind"] == "ConfigMap")
IDLE = QueueLoad("embedding", {}, 0, 0, 0, None, paused=False)


def pod(name: str) -> Document:
    found: Document = DEPLOYMENTS[name]["spec"]["template"]
    return found


def container(name: str) -> Document:
    (found,) = pod(name)["spec"]["containers"]
    return dict(found)


def probes(name: str) -> dict[str, Document]:
    return {key: one for key, one in container(name).items() if key.endswith("Probe")}


def selected(labels: dict[str, str]) -> set[str]:
    return {name for name in DEPLOYMENTS if labels.items() <= pod(name)["metadata"]["labels"].items()}


@pytest.mark.parametrize("document", ALL, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_the_schemas_of_kubernetes(document: Document) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("document", SCALING, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_the_schemas_of_keda(document: Document) -> None:
    errors = [error.message for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(document)]
    assert not errors


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("folder", [BASE, KEDA], ids=lambda folder: folder.name)
def test_kustomize_builds_it(folder: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    names = {one["metadata"]["name"] for one in built if one["kind"] == "Deployment"}
    assert names == set(DEPLOYMENTS)
    assert all(one["metadata"].get("namespace", "tundish") == "tundish" for one in built)
    workers = [one["spec"] for one in built if one["kind"] == "Deployment" and "worker-" in one["metadata"]["name"]]
    assert all(("replicas" in one) == (folder == BASE) for one in workers)
    (told,) = [one["data"] for one in built if one["kind"] == "ConfigMap"]
    assert told.get("TUNDISH_SCALE_TO_ZERO") == (None if folder == BASE else "true")
    for one in built:
        if one["kind"] not in ("ScaledObject", "TriggerAuthentication"):
            kubernetes_validate.validate(one, VERSION, strict=True)


def test_every_part_and_queue_is_deployed() -> None:
    words = {name: container(name)["args"] for name in DEPLOYMENTS}
    for given in words.values():
        parsed(given)
    assert {given[0] for given in words.values()} == set(PARTS)
    assert {given[-1]: name for name, given in words.items() if given[0] == "worker"} == {
        queue: f"worker-{queue}" for queue in QUEUES
    }


def test_what_they_are_told_is_documented_and_right() -> None:
    example = (K8S / "secrets.env.example").read_text()
    secrets = dict(line.split("=", 1) for line in example.splitlines() if line and not line.startswith("#"))
    own = {one["name"]: one["value"] for name in DEPLOYMENTS for one in container(name).get("env", [])}
    assert not undocumented({**CONFIG, **secrets, **own, "TUNDISH_SCALE_TO_ZERO": ""})
    problems: list[Any] = []
    given = {**CONFIG, **{name: value or SECRET for name, value in secrets.items()}}
    found = connect(Environment(given, problems, {}))
    assert not problems
    assert found["store"].secure
    assert found["broker_url"].startswith("rediss://")
    for name in DEPLOYMENTS:
        assert container(name)["envFrom"] == [{"configMapRef": {"name": "tundish"}}, {"secretRef": {"name": "tundish"}}]


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_pod_may_do_little(name: str) -> None:
    spec = pod(name)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "a service of another name could set TUNDISH_PORT"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {one["mountPath"] for one in container(name)["volumeMounts"]}
    assert {"/state", "/tmp"} <= mounted  # noqa: S108 - inside
    assert container(name)["resources"]["limits"]["memory"]
    assert set(container(name)["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_probes(name: str) -> None:
    found = probes(name)
    assert set(found) == {"startupProbe", "readinessProbe", "livenessProbe"}
    for key, one in found.items():
        if "exec" in one:
            program, *words = one["exec"]["command"]
            assert program == "tundish"
            parsed(words)
            assert ("--live" in words) == (key == "livenessProbe"), "a broker that is away must restart nobody"
            continue
        path = urlsplit(one["httpGet"]["path"]).path
        assert "GET" in TABLE[path]
        assert one["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
        asked = parse_qs(urlsplit(one["httpGet"]["path"]).query)
        assert asked == ({"part": ["gateway"]} if path == "/readyz" else {})
        assert path == "/readyz" or key != "readinessProbe"


def test_gateways_have_time_to_answer_who_waits() -> None:
    assert pod("gateway")["spec"]["terminationGracePeriodSeconds"] > GRACE_SECONDS


def test_workers_have_time_to_finish_and_tell_their_metrics() -> None:
    for position, queue in enumerate(QUEUES):
        name = f"worker-{queue}"
        assert pod(name)["spec"]["terminationGracePeriodSeconds"] > GRACE_SECONDS
        port = FIRST_PORT + position
        assert container(name)["ports"] == [{"name": "metrics", "containerPort": port}]
        assert pod(name)["metadata"]["annotations"]["prometheus.io/port"] == str(port)
        (policy,) = [one for one in ALL if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "metrics"]
        ((rule,),) = [one["ports"] for one in policy["spec"]["ingress"]]
        assert rule["port"] <= port <= rule["endPort"]


def test_every_pod_is_minded_and_behind_a_policy() -> None:
    minded: list[str] = []
    for one in ALL:
        if one["kind"] == "PodDisruptionBudget":
            minded += selected(one["spec"]["selector"]["matchLabels"])
    assert sorted(minded) == sorted(DEPLOYMENTS), "each by one budget: two of them block every drain"
    policies = {one["metadata"]["name"]: one["spec"] for one in ALL if one["kind"] == "NetworkPolicy"}
    assert policies["closed"]["podSelector"] == {}
    assert set(policies["closed"]["policyTypes"]) == {"Ingress", "Egress"}
    assert selected(policies["gateway"]["podSelector"]["matchLabels"]) == {"gateway"}
    (service,) = [one for one in ALL if one["kind"] == "Service"]
    assert selected(service["spec"]["selector"]) == {"gateway"}


def test_every_worker_is_scaled_by_numbers_that_there_are() -> None:
    assert set(SCALED) == {f"worker-{queue}" for queue in QUEUES}
    (authentication,) = [one for one in SCALING if one["kind"] == "TriggerAuthentication"]
    names = {name.lower() for name in CONFIG["TUNDISH_ALLOWED_HOSTS"].split(",")}
    formulas = set()
    for name, spec in SCALED.items():
        assert spec["scaleTargetRef"]["name"] == name
        assert spec["minReplicaCount"] == 0
        formulas.add(spec["advanced"]["scalingModifiers"]["formula"])
        for trigger in spec["triggers"]:
            assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
            url = urlsplit(trigger["metadata"]["url"])
            assert url.hostname in names
            assert "GET" in TABLE[url.path]
            assert parse_qs(url.query) == {"queue": [name.removeprefix("worker-")]}
            assert isinstance(read(trigger, IDLE), int | float)  # null would be an error to KEDA
    assert len(formulas) == 1


def read(trigger: Document, load: QueueLoad) -> Any:
    """What KEDA finds in the answer."""
    found: Any = {"queues": [_queue(load)]}
    for step in trigger["metadata"]["valueLocation"].split("."):
        found = found[int(step) if step.isdigit() else step]
    return found


def factor(load: QueueLoad) -> float:
    """What KEDA makes of it: conditions and values of the formula in turn, with these numbers."""
    spec = SCALED["worker-embedding"]
    numbers = {trigger["name"]: float(read(trigger, load)) for trigger in spec["triggers"]}
    formula = spec["advanced"]["scalingModifiers"]["formula"]
    *cases, otherwise = formula.split(" : ")
    for case in cases:
        condition, value = case.split(" ? ")
        holds = []
        for part in condition.split(" || "):
            name, sign, bound = re.fullmatch(r"(\w+) (>=|>) ([\d.]+)", part).groups()  # type: ignore[union-attr]
            holds.append(numbers[name] >= float(bound) if sign == ">=" else numbers[name] > float(bound))
        if any(holds):
            return float(value)
    return float(otherwise)


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        (IDLE, 0.0),
        (replace(IDLE, queued={9: 1}, oldest=0.1), 0.5),  # one worker: half of one is one
        (replace(IDLE, running=1), 0.5),  # what runs keeps the last one
        (replace(IDLE, due=1), 0.5),  # and so does what is due soon
        (replace(IDLE, queued={9: 2, 0: 2}, oldest=1.0), 0.5),
        (replace(IDLE, queued={9: 2, 5: 2, 0: 1}, oldest=1.0), 1.0),  # from 5 on it stays
        (replace(IDLE, queued={5: 20}, oldest=5.0), 1.0),
        (replace(IDLE, queued={5: 11, 0: 10}, oldest=1.0), 2.0),  # all priorities count
        (replace(IDLE, queued={5: 1}, oldest=5.1), 2.0),
        (replace(IDLE, messages=21), 2.0),  # of other programs
        (replace(IDLE, queued={5: 500}, oldest=900.0, paused=True), 0.0),
    ],
)
def test_when_workers_come_and_go(load: QueueLoad, wanted: float) -> None:
    assert factor(load) == wanted
