"""Every recorded notification of real stores becomes the right hints, and junk becomes none."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from triggers.sources.base import Hint
from triggers.sources.poll import Poll
from triggers.sources.registry import PARSERS, Sources

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = [
    "space name.txt",
    "plus+sign.txt",
    "a+b c.txt",
    "umlaut-äöüß.txt",
    "日本語/ファイル.txt",
    "percent%20literal.txt",
    "quote\"and'.txt",
    "hash#mark.txt",
    "emoji-🙂.txt",
    "tab\there.txt",
    "new\nline.txt",
    "..dots.txt",
]


def recorded(source: str) -> list[tuple[str, list[Hint]]]:
    """(step, hints) of every recorded message."""
    sources, found = Sources(), []
    for line in (FIXTURES / source / "webhook.jsonl").read_text().splitlines():
        message = json.loads(line)
        found.append((message["step"], sources.parse(source, message["body"].encode())))
    assert not sources.unusable
    return found


def objects(messages: list[tuple[str, list[Hint]]]) -> list[tuple[str, str]]:
    return [(hint.bucket, hint.key) for _, hints in messages for hint in hints if hint.kind == "object"]


def test_seaweedfs() -> None:
    messages = recorded("seaweedfs")
    keys = [key for bucket, key in objects(messages) if bucket == "documents"]
    expected = ["hello.txt", "meta.txt", "hello.txt", "hello.txt", "empty.txt", *NAMES[:9]]
    assert keys[: len(expected)] == expected
    assert len(keys[len(expected)]) == 812 and keys[len(expected)].startswith("deep/dddd")
    assert len(keys[len(expected) + 1]) == 255
    assert keys[len(expected) + 2 :] == [
        *NAMES[9:],
        "a/double.txt",
        "big.bin",
        "copy of hello.txt",
        "plus+sign.txt",
        "renamed.txt",
        "a+b c.txt",
        "empty.txt",
        "umlaut-äöüß.txt",
    ]


def test_seaweedfs_wakes_the_key_whose_versions_change() -> None:
    versioned = [pair for pair in objects(recorded("seaweedfs")) if pair[0] == "versioned"]
    assert set(versioned) == {("versioned", "doc.txt")}


def test_seaweedfs_says_nothing_about_uploads_and_new_folders() -> None:
    for step, hints in recorded("seaweedfs"):
        assert all(not hint.key.startswith(".uploads") for hint in hints), step
        assert all(hint.kind == "object" for hint in hints), step


@pytest.mark.parametrize(
    ("event", "key", "message", "expected"),
    [
        ("delete", "/buckets/b/dir", {"old_entry": {"is_directory": True}}, [Hint("b", "dir/", "folder")]),
        ("delete", "/buckets/b", {"old_entry": {"is_directory": True}}, [Hint("b", "", "folder")]),
        ("create", "/buckets/b", {"new_entry": {"is_directory": True}}, []),
        ("delete", "/topics/x", {"old_entry": {}}, []),
        (
            "rename",
            "/buckets/b/old",
            {
                "old_entry": {"is_directory": True},
                "new_entry": {"name": "new", "is_directory": True},
                "new_parent_path": "/buckets/b",
            },
            [Hint("b", "old/", "folder"), Hint("b", "new/", "folder")],
        ),
    ],
)
def test_seaweedfs_folders_that_go_ask_for_a_listing(
    event: str, key: str, message: dict[str, object], expected: list[Hint]
) -> None:
    body = json.dumps({"event_type": event, "key": key, "message": message}).encode()
    assert Sources().parse("seaweedfs", body) == expected


def test_minio() -> None:
    told: dict[str, list[str]] = {}
    for line in (FIXTURES / "minio" / "webhook.jsonl").read_text().splitlines():
        message = json.loads(line)
        body = json.loads(message["body"])
        hints = Sources().parse("minio", message["body"].encode())
        if "ObjectAccessed" in body["EventName"]:
            assert hints == [], message["step"]
            continue
        # MinIO says the key twice: escaped in the record, and plain beside the event's name.
        assert [f"{hint.bucket}/{hint.key}" for hint in hints] == [body["Key"]]
        told.setdefault(hints[0].bucket, []).append(hints[0].key)
    assert set(NAMES) <= set(told["documents"])
    assert told["versioned"] == ["doc.txt"] * 5


def test_our_own_notes() -> None:
    body = json.dumps({"bucket": "b", "key": "a b+c%20.txt", "event": "created"}).encode()
    assert Sources().parse("gateway", body) == [Hint("b", "a b+c%20.txt")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b"\xff\xfe",
        b'{"Records": 7}',
        b'{"Records": [null]}',
        b'{"Records": [{"eventName": 1}]}',
        b'{"Records": [{"s3": {"bucket": {"name": 1}, "object": {"key": "a"}}}]}',
        b'{"event_type": "delete", "key": 1}',
        b'{"event_type": "explode", "key": "/buckets/b/k"}',
        b'{"event_type": "rename", "key": "/buckets/b/k", "message": {}}',
        b'{"bucket": 1, "key": "k"}',
        b'{"bucket": "b", "key": "\\ud800"}',
        b'{"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "\\ud800"}}}]}',
        b'[{"Event": [{"s3": {"bucket": {"name": "b"}, "object": {"key": 7}}}]}]',
        b'[{"EventTime": ""}]',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("source", [*PARSERS, "carrier pigeon"])
def test_junk_is_counted_and_said_once(source: str, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    sources = Sources()
    assert sources.parse(source, body) == []
    assert sources.parse(source, body) == []
    assert sources.unusable[source] == 2
    assert caplog.text.count("cannot be used") == 1


@pytest.mark.parametrize(
    ("source", "body", "reason"),
    [
        ("minio", b"", "it is empty; JSON was expected"),
        ("minio", b'{"Records": ', "it is no JSON from line 1, column 13 on"),
        ("minio", b"\xc3(", "it is no text in UTF-8; JSON was expected"),
        ("minio", b"[]", "it is a list; an object with `Records` was expected"),
        ("minio", b'{"EventName": "x", "Key": "y"}', "it has only EventName, Key; `Records` was expected"),
        ("minio", b'{"Records": {}}', "`Records` is no list of records"),
        ("minio", b'{"Records": [{"s3": {"bucket": {"name": "b"}}}]}', "`s3` has only bucket; `object` was expected"),
        ("minio", b'{"Records": [{"eventName": "x"}]}', "a record has only eventName; `s3` was expected"),
        ("minio", b'{"Records": [7]}', "a record is a number; an object with `s3` was expected"),
        (
            "minio",
            b'{"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": 7}}}]}',
            "`s3.object.key` is a number; text was expected",
        ),
        ("minio_listen", b"{}", "it is empty; `Records` was expected"),
        ("minio_redis", b"{}", "it is no list of events, as the target writes them with format=access"),
        ("minio_redis", b'[{"Event": null}]', "`Event` is null; a list was expected"),
        ("seaweedfs", b'{"key": "/buckets/b/k"}', "it has only key; `event_type` was expected"),
        (
            "seaweedfs",
            b'{"event_type": "explode", "key": "/buckets/b/k"}',
            "`event_type` is 'explode'; one of create, update, delete, rename was expected",
        ),
        (
            "seaweedfs",
            b'{"event_type": "rename", "key": "/buckets/b/k", "message": {}}',
            "`message` is empty; `new_parent_path` was expected",
        ),
        ("gateway", b'{"bucket": "b"}', "it has only bucket; `key` was expected"),
        ("gateway", b"9" * 5000, "it holds a number of too many digits"),
        ("gateway", b"[" * 100_000, "it is nested too deeply"),
        ("gateway", b'{"\\ud800": 1}', "it has only \\ud800; `bucket` was expected"),
    ],
)
def test_what_cannot_be_used_is_told_in_words_for_people(source: str, body: bytes, reason: str) -> None:
    letters: list[tuple[str, bytes, str]] = []
    Sources(lambda *letter: letters.append(letter)).parse(source, body)
    assert letters == [(source, body, reason)]


def test_the_test_event_of_s3_is_no_junk() -> None:
    sources = Sources()
    told = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}
    assert sources.parse("minio", json.dumps(told).encode()) == [] and not sources.unusable


NAMES_OF_FIELDS = [
    "Records",
    "Event",
    "s3",
    "bucket",
    "name",
    "object",
    "key",
    "eventName",
    "event_type",
    "message",
    "old_entry",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["rename", "create", "/buckets/b/k"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES_OF_FIELDS), inner, max_size=4),
)


@hypothesis.given(VALUES, st.sampled_from(sorted(PARSERS)))
@hypothesis.settings(max_examples=500)
def test_no_json_upsets_a_parser(value: object, source: str) -> None:
    reasons: list[str] = []
    for hint in Sources(lambda *letter: reasons.append(letter[2])).parse(source, json.dumps(value).encode()):
        assert isinstance(hint.bucket, str) and isinstance(hint.key, str)
    assert not any("another shape" in reason for reason in reasons)  # each was foreseen, and has a sentence


LAST = {"ended": 1000.0, "took": 2.0}


def test_a_process_lists_at_its_start_then_every_rescan_seconds() -> None:
    poll = Poll(lambda: 60.0)
    assert poll.due(LAST) == 0.0
    poll.listed(998.0)
    assert poll.due(LAST) == 1060.0


def test_listings_never_take_more_than_a_twentieth_of_the_time() -> None:
    poll = Poll(lambda: 60.0)
    poll.listed(998.0)
    assert poll.due({"ended": 1000.0, "took": 10.0}) == 1190.0
    poll.ask(1001.0)
    assert poll.due(LAST) == 1038.0


def test_what_is_asked_during_a_listing_leads_to_another() -> None:
    poll = Poll(lambda: 60.0)
    poll.listed(900.0)
    poll.ask(999.0)
    poll.listed(998.0)
    assert poll.due(LAST) == 1038.0
    poll.listed(1038.0)
    assert poll.due({"ended": 1040.0, "took": 2.0}) == 1100.0
