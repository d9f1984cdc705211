"""The gateway's own process: what it imports, how it starts, reloads and stops."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
import urllib3

from runtime.broker import presence
from runtime.config.settings import StoreSettings
from tests.workers import environment, queued, until, worker

FUNCTIONS = """
import time

def add(a: int, b: int = 1) -> int:
    return a + b

def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
"""
YAML = """
version: 1
queues: {light: {concurrency: 1}}
defaults: {queue: light, timeout: 20s}
functions:
  add: {handler: mine.py:add, triggers: [{http: {}}]}
  nap: {handler: mine.py:nap, triggers: [{http: {}}]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (tmp_path / "functions.yaml").write_text(YAML)
    return tmp_path / "functions.yaml"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def environ(broker_url: str, store_settings: StoreSettings, project: Path) -> Mapping[str, str]:
    return environment(
        broker_url,
        {
            "TUNDISH_FILE": str(project),
            "TUNDISH_PORT": str(free_port()),
            "MINIO_ENDPOINT": store_settings.endpoint,
            "MINIO_ACCESS_KEY": store_settings.access_key,
            "MINIO_SECRET_KEY": store_settings.secret_key,
        },
    )


def answers(url: str) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("GET", f"{url}/healthz", retries=False).status == 200
    return False


@contextlib.contextmanager
def gateway(environ: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    process = subprocess.Popen([sys.executable, "-P", "-m", "gateway"], env=dict(environ))
    url = f"http://127.0.0.1:{environ['TUNDISH_PORT']}"
    try:
        until(lambda: answers(url))
        yield process, url
    finally:
        process.kill()
        process.wait()


def post(url: str, body: Any) -> urllib3.BaseHTTPResponse:
    return urllib3.request("POST", url, json=body, retries=False, timeout=30.0)


def test_calls_with_a_real_worker_reload_and_stop(
    environ: Mapping[str, str], project: Path, broker_url: str, redis_client: redis.Redis
) -> None:
    with gateway(environ) as (process, url), worker(project, broker_url, "light"):
        assert any(one.kind == "gateway" and one.pid == process.pid for one in presence.read(redis_client))
        answer = post(f"{url}/function/add", {"a": 2})
        assert (answer.status, answer.json()) == (200, 3)
        assert "server" not in answer.headers

        project.write_text(YAML.replace("add:", "plus:"))
        process.send_signal(signal.SIGHUP)
        until(lambda: "plus" in urllib3.request("GET", f"{url}/functions").data.decode())
        assert post(f"{url}/async-function/add", {"a": 2}).status == 404
        project.write_text("version: 1\nfunctions: [")
        process.send_signal(signal.SIGHUP)
        assert post(f"{url}/async-function/plus", {"a": 2}).status == 202

        found: list[urllib3.BaseHTTPResponse] = []
        waiting = threading.Thread(target=lambda: found.append(post(f"{url}/function/nap", {"seconds": 1.0})))
        waiting.start()
        until(lambda: redis_client.zcard("tundish:running"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        waiting.join()
        assert (found[0].status, found[0].json()) == (200, 1.0)
        until(lambda: not any(one.kind == "gateway" for one in presence.read(redis_client)))


def test_who_waits_longer_is_told_where_to_ask(environ: Mapping[str, str], redis_client: redis.Redis) -> None:
    with gateway({**environ, "TUNDISH_GRACE": "1s"}) as (process, url):
        found: list[urllib3.BaseHTTPResponse] = []
        waiting = threading.Thread(target=lambda: found.append(post(f"{url}/function/add", {"a": 1})))
        waiting.start()
        until(lambda: queued(redis_client))
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        waiting.join()
        told = found[0].json()
        assert found[0].status == 503
        assert told["call_id"] in told["detail"]
        assert queued(redis_client) == {told["call_id"]}  # it goes on


def test_it_does_not_pass_for_one_that_left_when_a_part_of_it_dies(environ: Mapping[str, str]) -> None:
    code = """
        import os, sys
        from gateway import serve
        from gateway.search.indexes import Indexes
        async def refresh(self): raise ImportError("half made")
        Indexes.refresh = refresh
        sys.exit(serve.main(os.environ))
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(code)],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 70
    assert "the index refresher of the gateway ended: this is a bug" in done.stderr + done.stdout


def test_it_imports_no_queue_no_model_and_no_user_code(environ: Mapping[str, str]) -> None:
    code = (
        "import os, sys, json; from runtime.config.load import load_settings;"
        "from runtime.deployment.deployment import load_deployment; import gateway.serve;"
        "from gateway.app import create_app;"
        "from starlette.testclient import TestClient; settings = load_settings(os.environ);"
        "app = create_app(settings, load_deployment(settings, os.environ));"
        "web = TestClient(app, 'http://127.0.0.1'); web.__enter__();"
        "[web.get(path) for path in ('/', '/plain', '/docs', '/functions', '/openapi.json', '/readyz')];"
        "web.get('/search?vector=1');"
        "[web.put('/buckets/tundish/x'), web.get('/documents/a/b'), web.post('/async-function/add', json={'a': 1})];"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], env=dict(environ), capture_output=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert "starlette" in loaded
    assert not loaded & {"celery", "kombu", "billiard", "torch", "transformers", "sentence_transformers", "mine"}


def failure(environ: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway"],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_in_use(environ: Mapping[str, str]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", int(environ["TUNDISH_PORT"])))
        sock.listen()
        said = failure(environ)
    assert f"Port {environ['TUNDISH_PORT']} on 127.0.0.1 is in use" in said
    assert said.count("\n") == 1


def test_an_address_that_everybody_reaches(environ: Mapping[str, str]) -> None:
    assert "TUNDISH_AUTH=off asks nobody" in failure({**environ, "TUNDISH_HOST": "0.0.0.0", "TUNDISH_AUTH": "off"})


def test_a_yaml_error(environ: Mapping[str, str], project: Path) -> None:
    project.write_text("version: 1\nfunctions: {add: {handlr: mine.py:add}}\n")
    assert "did you mean handler?" in failure(environ)
