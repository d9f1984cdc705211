"""Probes and metrics."""

from __future__ import annotations

import json
from pathlib import Path

import redis

from gateway.operations.health import check_parts
from runtime import keys
from runtime.broker import presence
from runtime.config.settings import Project, Queue, StoreSettings
from tests.gatewaying import Hand, add, serving, settings
from tests.workers import until


def process(kind: str, name: str = "", *, ready: bool = True) -> presence.Process:
    return presence.Process(kind, name or f"{kind}-1", 1, "host", 0.0, ready)


def test_parts() -> None:
    project = Project(queues={"mail": Queue(), "mail.2": Queue()}, functions={})
    found = check_parts(
        project,
        [
            process("gateway"),
            process("beat", ready=False),
            process("worker", "mail.7@host"),
            process("worker", "mail.2@host", ready=False),
        ],
    )
    assert {name for name, check in found.items() if check["ready"]} == {"gateway", "worker mail"}
    assert found["beat"]["detail"] == "is starting"
    assert found["triggers"]["detail"] == "is not running"
    assert found["worker mail.2"]["processes"] == 1


def test_ready_only_with_every_part(
    broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    with serving(settings(broker_url, store_settings, tmp_path)) as web:
        assert web.get("/healthz").status_code == web.get("/livez").status_code == 200
        answer = web.get("/readyz")
        assert answer.status_code == 503
        checks = answer.json()["checks"]
        assert checks["broker"]["ready"]
        assert checks["store"]["ready"]
        assert not checks["worker default"]["ready"]
        parts = [process(kind) for kind in ("gateway", "triggers", "beat", "embedder")]
        for part in [*parts, process("worker", "default@here"), process("worker", "other@here")]:
            with redis_client.pipeline() as pipe:
                presence.write(pipe, part)
                pipe.execute()
        until(lambda: web.get("/readyz").json()["status"] == "ready")  # the index has been looked at by then


def test_without_broker_and_store(tmp_path: Path) -> None:
    store = StoreSettings(endpoint="127.0.0.1:9", access_key="a", secret_key="b")
    with serving(settings("redis://127.0.0.1:9/0", store, tmp_path)) as web:
        checks = web.get("/readyz").json()["checks"]
        assert "CELERY_BROKER_URL" in checks["broker"]["detail"]
        assert "MINIO_ENDPOINT" in checks["store"]["detail"]
        assert "tundish_broker_up 0.0" in web.get("/metrics").text


def test_metrics(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> None:
    made = settings(broker_url, StoreSettings(), tmp_path)
    with serving(made) as web:
        ids = [web.post("/async-function/add", json={"a": 1}).json()["task_id"] for _ in range(3)]
        Hand(redis_client, made, add).end(ids[0])
        redis_client.lpush(keys.queue_list("other", 9), json.dumps({}))
        web.get("/functions/some-made-up-name")
        web.request("MADEUP", "/nowhere/at/all")
        text = web.get("/metrics").text
    lines = set(text.splitlines())
    assert {
        "tundish_broker_up 1.0",
        'celery_queue_depth{queue_name="default"} 3.0',
        'celery_queue_depth{queue_name="other"} 1.0',
        'celery_tasks_total{status="succeeded",task_name="add"} 1.0',
        'tundish_invocations{state="queued"} 2.0',
    } <= lines
    assert 'route="/functions/{name}",status="404"' in text
    assert 'method="other",route="none",status="404"' in text
    assert "made-up" not in text
