"""How a function is told of objects: as `objects`, or in Amazon S3's own words for code that came from AWS Lambda."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from runtime.buckets import dead
from runtime.buckets.s3_records import keys_in, records
from runtime.config.settings import BucketTrigger, Function, StoreSettings
from runtime.deployment.deployment import Deployed
from runtime.invocations.blobs import StoreBlobs
from tests.trying import Trial, trial
from tests.workers import until
from triggers.records import arguments_for

CREATED = {"bucket": "docs", "key": "a b/ü+1.txt", "event": "created", "etag": "e1", "size": 3, "seq": 300}
REMOVED = {"bucket": "docs", "key": "old.txt", "event": "removed", "etag": None, "size": None, "seq": 70_000}


def deployed(*names: str, **fields: Any) -> Deployed:
    return Deployed(Function(name="work", handler="work.py:work"), accepts=frozenset(names), **fields)


def handed(target: Deployed, **options: Any) -> dict[str, Any]:
    trigger = BucketTrigger(bucket="docs", **options)
    return arguments_for(target, trigger, [CREATED, REMOVED], region="eu-west-1", at=1_795_000_000.5)


def test_a_function_says_by_its_parameters_what_it_gets() -> None:
    assert handed(deployed("objects")) == {"objects": [CREATED, REMOVED]}
    assert set(handed(deployed("Records"))) == {"Records"}
    assert set(handed(deployed("event"))["event"]) == {"Records"}
    assert set(handed(deployed("event", "Records"))) == {"Records"}
    assert set(handed(deployed("event", "objects"))) == {"objects"}
    assert set(handed(deployed(open=True))) == {"objects"}
    assert handed(deployed("other")) == {}


def test_what_the_trigger_says_itself_stays() -> None:
    given_event = handed(deployed("event"), **{"with": {"event": "mine"}})
    assert given_event == {"event": "mine"}
    assert handed(deployed("event", "index"), index="notes")["index"] == "notes"
    assert "index" not in handed(deployed("event"), index="notes")


def test_a_function_that_could_not_be_described_gets_everything() -> None:
    assert set(handed(deployed(error="broken"), index="notes")) == {"objects", "index"}


def test_a_record_is_what_amazon_s3_sends() -> None:
    [made, gone] = handed(deployed("Records"))["Records"]
    assert made == {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-11-18T11:06:40.500Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "tundish"},
        "requestParameters": {"sourceIPAddress": "0.0.0.0"},
        "responseElements": {"x-amz-request-id": "", "x-amz-id-2": ""},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "work",
            "bucket": {"name": "docs", "ownerIdentity": {"principalId": "tundish"}, "arn": "arn:aws:s3:::docs"},
            "object": {
                "key": "a+b/%C3%BC%2B1.txt",
                "size": 3,
                "eTag": "e1",
                "sequencer": "000000000000012C",
            },
        },
    }
    assert gone["eventName"] == "ObjectRemoved:Delete"
    assert gone["s3"]["object"] == {"key": "old.txt", "sequencer": "0000000000011170"}
    assert made["s3"]["object"]["sequencer"] < gone["s3"]["object"]["sequencer"]


def test_the_fields_are_those_of_a_recorded_message() -> None:
    """MinIO's records have the same fields, and some of their own."""
    file = Path(__file__).parent / "fixtures" / "minio" / "webhook.jsonl"
    body = json.loads(json.loads(file.read_text().splitlines()[0])["body"])

    def missing(ours: Any, theirs: Any, path: str = "") -> list[str]:
        if not isinstance(ours, dict):
            return [] if type(ours) is type(theirs) else [path]
        lacking = [f"{path}.{name}" for name in ours if name not in theirs]
        return lacking + [
            one for name in ours if name in theirs for one in missing(ours[name], theirs[name], f"{path}.{name}")
        ]

    [made] = records([CREATED], "us-east-1", 0.0, "work")
    assert not missing(made, body["Records"][0])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_every_key_is_read_back(key: str) -> None:
    listed = records([{**CREATED, "key": key}], "r", 0.0, "work")
    assert unquote_plus(listed[0]["s3"]["object"]["key"]) == key
    assert listed[0]["s3"]["object"]["key"].isascii()
    for arguments in ({"Records": listed}, {"event": {"Records": listed}}, {"objects": [{**CREATED, "key": key}]}):
        assert keys_in(arguments, "docs") == [key]
        assert not keys_in(arguments, "others")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"event": None},
        {"event": "mine"},
        {"Records": [{}, 3, {"s3": None}]},
        {"Records": {"s3": 1}},
        {"objects": 3},
    ],
)
def test_what_is_no_record_has_no_keys(arguments: dict[str, Any]) -> None:
    assert keys_in(arguments, "docs") == []


LAMBDA = """
from urllib.parse import unquote_plus

def lambda_handler(event, context):
    found = []
    for record in event["Records"]:
        key = unquote_plus(record["s3"]["object"]["key"])
        if "broken" in key:
            raise ValueError("broken")
        found.append([record["eventName"].split(":")[0], record["s3"]["bucket"]["name"], key])
    return found
"""


@pytest.fixture
def house(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Trial:
    """Code as it runs on AWS Lambda, under a bucket trigger."""
    (tmp_path / "ported.py").write_text(LAMBDA)
    spec = {"handler": "ported.py:lambda_handler", "retries": {"max": 0}}
    return trial(redis_client, broker_url, store_settings, tmp_path, spec, {"batch": {"max_items": 1}})


def test_a_lambda_function_runs_unchanged(house: Trial) -> None:
    with house.running():
        house.store.put(house.bucket, "neu/ä b.txt", b"text")
        assert house.result("neu/ä b.txt") == [["ObjectCreated", house.bucket, "neu/ä b.txt"]]
        house.store.delete(house.bucket, "neu/ä b.txt")
        assert house.result("neu/ä b.txt", "removed") == [["ObjectRemoved", house.bucket, "neu/ä b.txt"]]


def test_its_dead_letter_is_redriven_with_its_object(house: Trial) -> None:
    with house.running():
        house.store.put(house.bucket, "broken", b"text")
        failed = until(lambda: house.entry("broken", "dead"))
        assert "broken" in failed.reason
        (house.home / "ported.py").write_text(LAMBDA.replace("broken", "never"))
    with house.running():
        blobs = StoreBlobs(lambda: house.store)
        assert dead.redrive(house.client, house.deployment, blobs, [failed.invocation]).ids == [failed.invocation]
        until(lambda: house.entry("broken", "done"))
