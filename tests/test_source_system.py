"""embed_all on real workers, a real broker and a real store: a worker that is killed, progress, arguments."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from uuid import uuid4

import jsonschema_rs
import pytest
import redis

from gateway.web.schemas import Schemas
from runtime import keys
from runtime.attempts.lines import PROGRESS, decode
from runtime.config.schema_errors import errors_of
from runtime.config.settings import StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.deployment.validate import validate
from runtime.errors import InvalidArguments
from runtime.invocations.submit import Call, submit
from runtime.store.port import MinioStore
from tests.workers import SAMPLES, deployment, ended, kill, known, until, upkeep, worker

FILE = SAMPLES / "sources" / "functions.yaml"
SOURCE = {"objects": "exports/*.jsonl", "text": "body", "id": "sku", "metadata": ["lang"]}


@pytest.fixture(scope="module")
def environ(store_settings: StoreSettings) -> dict[str, str]:
    return {
        "MINIO_ENDPOINT": store_settings.endpoint,
        "MINIO_ACCESS_KEY": store_settings.access_key,
        "MINIO_SECRET_KEY": store_settings.secret_key,
    }


@pytest.fixture
def store(store_settings: StoreSettings) -> MinioStore:
    store = MinioStore(store_settings)
    for bucket in (store.bucket, "documents", "marks"):
        store.ensure_bucket(bucket)
    return store


def test_a_killed_worker_s_run_goes_on_and_embeds_nothing_twice(
    redis_client: redis.Redis, broker_url: str, store: MinioStore, environ: dict[str, str]
) -> None:
    index = f"i{uuid4().hex[:8]}"
    large = "long text " * 220_000  # two of them do not go into one batch
    rows = [json.dumps({"sku": f"p{number}", "body": f"{number} {large}"}) for number in range(12)]
    prefix = f"exports/{index}"
    store.put("documents", f"{prefix}.jsonl", "\n".join(rows).encode())
    deployed = deployment(FILE, broker_url, environ)
    source = {**SOURCE, "objects": f"{prefix}*"}
    call = Call("embed_all", {"index": index, "source": {**source, "format": "jsonl"}})
    with worker(FILE, broker_url, "embedding", environ=environ), upkeep(redis_client, deployed):
        with worker(FILE, broker_url, "planning", environ=environ) as process:
            task = submit(redis_client, deployed, call)
            until(lambda: any(store.list(store.bucket, f"sources/{index}/runs/")))
            kill(process)  # it has laid down a part of the batches
            redis_client.hset(keys.invocation(task), "lease", 1)  # which lapses by itself, too, in ten seconds
        with worker(FILE, broker_url, "planning", name="planning@next", environ=environ) as process:
            until(lambda: known(redis_client, task).state == "waiting")
            assert not redis_client.zscore(keys.RUNNING, task), "it holds no place while its batches are embedded"
            kill(process)  # nobody is there when the last of them ends
        with worker(FILE, broker_url, "planning", name="planning@last", environ=environ):
            record = ended(redis_client, task)
    assert record.state == "succeeded", record.error
    result = json.loads(record.result_json or b"{}")
    assert (result["total_docs"], result["batches"], result["failed"], result["version"]) == (12, 12, 0, "built")
    marks = Counter(item.key.split("/")[1] for item in store.list("marks", f"{index}/"))
    assert marks == {f"p{number}": 1 for number in range(12)}
    assert not list(store.list(store.bucket, f"sources/{index}/runs/"))
    assert len(list(store.list("marks", f"{index}-built/"))) == 1
    lines: Any = redis_client.xrange(keys.log(task))
    told = [line.shown() for line in map(decode, lines) if line.stream == PROGRESS]
    live = [one for one in told if "per_second" in one]
    assert live and all(one["total"] == 12 and one["message"] == "documents" for one in live)
    assert [one["done"] for one in live] == sorted(one["done"] for one in live)
    assert any(0 < one["done"] < 12 and one["seconds_left"] > 0 for one in live)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"objects": "x"}, {"source.text": "is missing"}),
        (
            {"objects": "x", "text": "a", "colour": "red", "id": 1},
            {"source.colour": "not known", "source.id": "1 is not"},
        ),
        ({"objects": "x", "text": 1}, {"source.text": "1 is not of type"}),
        ([], {"source": "[] is not of type"}),
    ],
)
def test_a_source_of_another_shape_is_refused_at_the_door(
    wrong: Any, said: dict[str, str], deployed: Deployment
) -> None:
    function, door = deployed.find("embed_all"), Schemas(deployed)
    door.check("embed_all", {"source": SOURCE})
    with pytest.raises(InvalidArguments) as caught:
        door.check("embed_all", {"source": wrong})
    assert {error.field for error in caught.value.errors} == set(said)
    assert all(part in str(caught.value) for part in said.values())
    validate(function, {"source": SOURCE})
    with pytest.raises(InvalidArguments) as within:
        validate(function, {"source": wrong})
    assert "under any of the schemas" not in str(within.value) or wrong in ([], {"objects": "x", "text": 1})


def test_a_union_of_more_than_one_kind_is_told_whole() -> None:
    schema = {"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}}}
    [whole] = [error for found in jsonschema_rs.iter_errors(schema, {"a": 1}) for error in errors_of(found)]
    assert whole.kind.name == "anyOf"
    [meant] = [error for found in jsonschema_rs.iter_errors(schema, {"a": ["x", 1]}) for error in errors_of(found)]
    assert (meant.kind.name, list(meant.instance_path)) == ("type", ["a", 1])
