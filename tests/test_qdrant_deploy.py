"""The optional Qdrant of deploy/: who reaches it, what it keeps where, with which key, and how it says it is well."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploying import DEPLOY, QUEUES, SECRET, filled
from tests.test_kubernetes import ALL, BASE, CONFIG, K8S, VERSION, documents

COMPOSE: dict[str, Any] = yaml.safe_load(filled((DEPLOY / "compose.yaml").read_text()))
SERVICE: dict[str, Any] = COMPOSE["services"]["qdrant"]
FOLDER = K8S / "qdrant"
OURS = documents(FOLDER)
(STATEFUL,) = (one for one in OURS if one["kind"] == "StatefulSet")
POD: dict[str, Any] = STATEFUL["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
KEPT = {"/qdrant/storage", "/qdrant/snapshots"}
URL = "http://qdrant:6333"


class Answers(BaseHTTPRequestHandler):
    """What a Qdrant that is or is not ready says."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_in_compose(port: int, monkeypatch: pytest.MonkeyPatch, status: int, healthy: bool) -> None:
    """Its very words, run by bash, which is all that the image has."""
    monkeypatch.setattr(Answers, "status", status)
    program, *words = SERVICE["healthcheck"]["test"]
    assert program == "CMD"
    words = [word.replace("$$", "$").replace("6333", str(port)) for word in words]
    assert (subprocess.run(words, check=False, timeout=30).returncode == 0) is healthy


def test_the_health_check_when_nobody_listens() -> None:
    words = [word.replace("$$", "$").replace("6333", "1") for word in SERVICE["healthcheck"]["test"][1:]]
    assert subprocess.run(words, check=False, timeout=30, capture_output=True).returncode


def test_compose_keeps_it_inside_and_bounded() -> None:
    assert SERVICE["profiles"] == ["qdrant"]
    assert SERVICE["networks"] == ["internal"]
    assert "ports" not in SERVICE
    assert SERVICE["mem_limit"] == "4g"
    assert (SERVICE["read_only"], SERVICE["cap_drop"]) == (True, ["ALL"])
    assert {volume.partition(":")[2] for volume in SERVICE["volumes"]} == KEPT
    assert SERVICE["environment"]["QDRANT__SERVICE__API_KEY"] == SECRET
    assert SERVICE["environment"]["QDRANT__TELEMETRY_DISABLED"] == "true"


def test_every_part_in_compose_knows_where_it_is_and_its_key() -> None:
    for name in ("gateway", "beat", "triggers", *(f"worker-{queue}" for queue in QUEUES)):
        told = COMPOSE["services"][name]["environment"]
        assert (told["QDRANT_URL"], told["QDRANT_API_KEY"]) == (URL, SECRET), name


@pytest.mark.parametrize("document", OURS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_the_schemas_of_kubernetes(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_pod_may_do_little_and_has_its_bounds() -> None:
    spec = POD["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 1000)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert CONTAINER["resources"]["limits"]["memory"]
    claims = {one["metadata"]["name"] for one in STATEFUL["spec"]["volumeClaimTemplates"]}
    mounted = {one["mountPath"]: one["name"] for one in CONTAINER["volumeMounts"]}
    assert {mounted[path] for path in KEPT} == claims, "what is kept outlives the pod"
    assert CONTAINER["image"] == SERVICE["image"]


def test_probes_ask_what_needs_no_key() -> None:
    paths = {name: one["httpGet"]["path"] for name, one in CONTAINER.items() if name.endswith("Probe")}
    assert paths == {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    ports = {one["name"]: one["containerPort"] for one in CONTAINER["ports"]}
    assert ports == {"http": 6333, "grpc": 6334, "p2p": 6335}


def test_its_key_is_a_secret() -> None:
    told = {one["name"]: one for one in CONTAINER["env"]}
    key = told["QDRANT__SERVICE__API_KEY"]["valueFrom"]["secretKeyRef"]
    assert key == {"name": "tundish", "key": "QDRANT_API_KEY"}
    assert "QDRANT_API_KEY=" in (K8S / "secrets.env.example").read_text().split()
    assert not [name for name in CONFIG if "KEY" in name]


def test_only_pods_of_the_namespace_call_it_and_only_peers_call_each_other() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in OURS if one["kind"] == "NetworkPolicy"}
    mine = {"podSelector": {"matchLabels": POD["metadata"]["labels"]}}
    calls, peers = policies["qdrant"]["ingress"]
    assert calls["from"] == [{"podSelector": {}}]
    assert {one["port"] for one in calls["ports"]} == {6333, 6334}
    assert peers["from"] == [mine]
    assert {one["port"] for one in peers["ports"]} == {6335}
    (out,) = policies["to-qdrant"]["egress"]
    assert out["to"] == [mine]
    services = {one["metadata"]["name"]: one["spec"] for one in OURS if one["kind"] == "Service"}
    assert all(one.get("type", "ClusterIP") == "ClusterIP" for one in services.values())
    assert services["qdrant-peers"]["clusterIP"] == "None"
    assert STATEFUL["spec"]["serviceName"] == "qdrant-peers"
    assert f"http://qdrant:{services['qdrant']['ports'][0]['port']}" == URL


@pytest.mark.parametrize(("host", "joins"), [("qdrant-0", False), ("qdrant-2", True)], ids=["the-first", "another"])
def test_the_first_peer_founds_the_cluster(tmp_path: Path, host: str, joins: bool) -> None:
    """The words of the manifest, run by bash."""
    said = tmp_path / "entrypoint.sh"
    said.write_text('#!/bin/sh\necho "$@"\n')
    said.chmod(0o755)
    words = [*CONTAINER["command"], *CONTAINER["args"]]
    environ = {"PATH": "/usr/bin:/bin", "HOSTNAME": host}
    told = subprocess.run(words, cwd=tmp_path, env=environ, check=True, capture_output=True, text=True).stdout.split()
    joining = ["--bootstrap", "http://qdrant-0.qdrant-peers:6335"] if joins else []
    assert told == ["--uri", f"http://{host}.qdrant-peers:6335", *joining]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("under", ["base", "keda"])
def test_kustomize_adds_it(tmp_path: Path, under: str) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    overlay = {"namespace": "tundish", "resources": [f"k8s/{under}"], "components": ["k8s/qdrant"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {one["metadata"].get("namespace", "tundish") for one in built} == {"tundish"}
    (told,) = [one["data"] for one in built if one["kind"] == "ConfigMap"]
    assert told["QDRANT_URL"] == URL
    kinds = {(one["kind"], one["metadata"]["name"]) for one in built}
    assert {(one["kind"], one["metadata"]["name"]) for one in [*ALL, *OURS]} <= kinds


def test_it_is_no_part_of_the_base() -> None:
    assert "QDRANT_URL" not in CONFIG
    assert "qdrant" not in (BASE / "kustomization.yaml").read_text()
