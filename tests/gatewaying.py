"""A gateway for tests, over a hand-made deployment; `Hand` stands in for a worker: it takes a call and ends it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime import keys
from runtime.attempts.attempt import claim, finish
from runtime.config.settings import BucketTrigger, Function, Project, Queue, Settings, StoreSettings
from runtime.deployment.deployment import Deployed, Deployment

TOKEN = "event-token-of-the-tests"
ORIGIN = "http://127.0.0.1:8000"


def settings(broker_url: str, store: StoreSettings, home: Path, *, bucket: str = "documents") -> Settings:
    functions = {
        "add": Function(name="add", handler="f.py:add", http=True, timeout=5),
        "cut": Function(name="cut", handler="f.py:cut", http=True, timeout=0.2),
        "hidden": Function(name="hidden", handler="f.py:hidden"),
        "broken": Function(name="broken", handler="f.py:broken", http=True),
        "embed": Function(
            name="embed", handler="f.py:embed", buckets=(BucketTrigger(bucket=bucket, suffix=(".txt", ".md")),)
        ),
    }
    project = Project(queues={"default": Queue(), "other": Queue()}, functions=functions)
    return Settings(
        project=project, file=home / "functions.yaml", home=home, broker_url=broker_url, store=store, event_token=TOKEN
    )


def deployment(made: Settings) -> Deployment:
    numbers = {
        "type": "object",
        "properties": {
            "a": {"type": "number"},
            "b": {"type": "number", "default": 1},
            "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
        },
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {
            "Item": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        },
    }
    found = {name: Deployed(spec=spec) for name, spec in made.project.functions.items()}
    add = made.project.functions["add"]
    found["add"] = Deployed(spec=add, schema=numbers, doc="Add two numbers.\n\nSlowly.", accepts=frozenset("ab"))
    found["broken"] = Deployed(spec=made.project.functions["broken"], error="No module named 'numpyy'")
    return Deployment(made, found)


@contextlib.contextmanager
def serving(made: Settings, *, raise_server_exceptions: bool = False) -> Iterator[TestClient]:
    app = create_app(made, deployment(made))
    with TestClient(app, ORIGIN, raise_server_exceptions, client=("127.0.0.1", 1)) as client:
        yield client


class Hand:
    """Ends every call of a queue as `answer(function, arguments)` says: (state, fields of the record)."""

    def __init__(self, client: redis.Redis, made: Settings, answer: Callable[..., tuple[str, dict[str, Any]]]) -> None:
        self._client, self._settings, self._answer = client, made, answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Hand:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            found: Any = self._client.brpop(keys.queue_lists("default"), timeout=0.1)
            if found:
                self.end(json.loads(found[1])["headers"]["id"])

    def end(self, task_id: str) -> None:
        attempt = claim(self._client, task_id, "hand")
        assert not isinstance(attempt, str)
        spec = self._settings.project.functions[attempt.text("function")]
        state, fields = self._answer(spec.name, attempt.arguments())
        assert finish(self._client, spec, attempt, state, fields)


def add(_: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "succeeded", {"result": json.dumps(arguments["a"] + arguments.get("b", 1))}


def failing(error: str, message: str, **more: Any) -> Callable[..., tuple[str, dict[str, Any]]]:
    told = {"type": error, "message": message, "traceback": "Traceback …", **more}
    return lambda *_: ("failed", {"error": json.dumps(told)})


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The problem document of an answer, which must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["type"] and told["title"] and told["detail"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return told
