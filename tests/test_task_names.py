"""Functions may have names that no Python function could have."""

from __future__ import annotations

from pathlib import Path

import redis

from runtime.invocations.submit import Call, submit
from tests.workers import deployment, known, until, worker

NAMES = ("lambda", "mail.send-now", "a.class")


def test_a_worker_runs_functions_whose_names_are_no_identifiers(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path
) -> None:
    (tmp_path / "hello.py").write_text("def hello() -> str:\n    return 'hello'\n")
    listed = "".join(f"  {name}: {{handler: hello.py:hello, queue: q}}\n" for name in NAMES)
    file = tmp_path / "functions.yaml"
    file.write_text(f"version: 1\nqueues: {{q: {{}}}}\nfunctions:\n{listed}")
    found = deployment(file, broker_url)
    with worker(file, broker_url, "q"):
        tasks = [submit(redis_client, found, Call(name)) for name in NAMES]
        until(lambda: all(known(redis_client, task).state == "succeeded" for task in tasks))
