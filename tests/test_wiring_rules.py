"""What wiring adds to a bucket's notification configuration, and what it can tell a server."""

from __future__ import annotations

import pytest

from runtime.config.settings import BucketTrigger
from runtime.wiring import rules
from runtime.wiring.minio import _parsed
from runtime.wiring.target import NotWired
from tests.minio_server import EMPTY
from tests.wiring import BOTH, WEBHOOK


def test_prefixes_leave_out_what_another_covers() -> None:
    triggers = [BucketTrigger(bucket="bbb", prefix=prefix) for prefix in ("a/b/", "a/", "c", "c", "ab")]
    assert rules.prefixes(triggers) == ["a/", "ab", "c"]
    assert rules.prefixes([*triggers, BucketTrigger(bucket="bbb")]) == [""]


@pytest.mark.parametrize(
    ("there", "prefix", "events"),
    [
        ("", "a/", BOTH),
        ("<Event>s3:ObjectCreated:*</Event>", "a/", ["s3:ObjectRemoved:*"]),
        ("<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event>", "a/", []),
        ("<Event>s3:ObjectCreated:Put</Event><Event>s3:ObjectRemoved:*</Event>", "a/", ["s3:ObjectCreated:*"]),
        ("FILTER prefix a", "a/", []),
        ("FILTER Prefix a/b", "a/", BOTH),
        ("FILTER suffix .txt", "a/", BOTH),
    ],
)
def test_only_what_is_missing_is_added(there: str, prefix: str, events: list[str]) -> None:
    if there.startswith("FILTER"):
        _, name, value = there.split()
        rule = f"<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>"
        there = f"<Filter><S3Key>{rule}</S3Key></Filter>" + "".join(f"<Event>{event}</Event>" for event in BOTH)
    rule = f"<QueueConfiguration>{there}<Queue>arn:minio:sqs:eu:tundish:webhook</Queue></QueueConfiguration>"
    before = EMPTY.replace(b"><", b">" + rule.encode() + b"<")
    after, added = rules.merged(before, WEBHOOK, [prefix])
    assert added == ([prefix] if events else [])
    assert rules.merged(after, WEBHOOK, [prefix])[1] == []
    assert [text for text in BOTH if after.count(text.encode()) > before.count(text.encode())] == events


@pytest.mark.parametrize("configuration", [b"<html/>", b"junk", b"<a><b></a>"])
def test_what_is_no_configuration_is_refused(configuration: bytes) -> None:
    with pytest.raises(NotWired):
        rules.merged(configuration, WEBHOOK, [""])


def test_an_empty_answer_is_an_empty_configuration() -> None:
    xml, added = rules.merged(b"", WEBHOOK, [""])
    assert added == [""]
    assert rules.arns(xml) == [WEBHOOK]


def test_the_configuration_that_minio_shows_is_read() -> None:
    text = (
        "# MINIO_NOTIFY_WEBHOOK_ENABLE_ONE=on\n# MINIO_NOTIFY_WEBHOOK_ENDPOINT_ONE=http://a/b?c=d\n"
        "notify_webhook:ONE endpoint= auth_token= queue_limit=0 \n"
        'notify_webhook:two endpoint=http://e/ auth_token="with space" comment="a b" \n'
        "notify_webhook enable=off endpoint= auth_token= \nnotify_redis:two address=x \n"
    )
    found = _parsed(text, "notify_webhook")
    assert found["ONE"]["endpoint"] == "http://a/b?c=d"
    assert found["ONE"]["env"] == "enable endpoint"
    assert found["two"]["auth_token"] == "with space"
    assert found["_"]["enable"] == "off"
    assert set(found) == {"ONE", "two", "_"}
