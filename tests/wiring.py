"""A project whose triggers watch buckets of some store, and `tundish buckets wire` aimed at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis
import yaml
from click.testing import CliRunner, Result

from runtime import keys
from runtime.cli.main import cli
from runtime.config.settings import StoreSettings
from tests.system import clean_environ

TOKEN = "token-of-the-tests"
WEBHOOK = "arn:minio:sqs::tundish:webhook"
BOTH = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


class House:
    """A project whose triggers watch buckets of a store, and the command aimed at it."""

    def __init__(self, folder: Path, store: StoreSettings, *triggers: dict[str, Any], broker: str = "") -> None:
        self.folder, self.store = folder, store
        (folder / "f.py").write_text("def f(objects): pass\n")
        function = {"handler": "f.py:f", "queue": "q", "triggers": list(triggers)}
        project = {"version": 1, "queues": {"q": {}}, "functions": {"f": function}}
        (folder / "functions.yaml").write_text(yaml.safe_dump(project))
        self.environ = {
            "TUNDISH_FILE": str(folder / "functions.yaml"),
            "TUNDISH_HOME": str(folder / "home"),
            "TUNDISH_EVENT_TOKEN": TOKEN,
            "CELERY_BROKER_URL": broker or "redis://:secret%21@127.0.0.1:6379/0",
            "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key,
        }

    def wire(self, *words: str, answer: str = "") -> Result:
        return CliRunner().invoke(cli, ["buckets", "wire", *words], obj=clean_environ(**self.environ), input=answer)


def bucket(name: str = "documents", **options: Any) -> dict[str, Any]:
    return {"bucket": name, **options}


def notified(client: redis.Redis) -> list[dict[str, Any]]:
    """The bodies of all notifications that the gateway has kept."""
    entries: Any = client.xrange(keys.EVENTS)
    return [json.loads(fields[b"body"]) for _, fields in entries]
