"""What logs must never say."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.config.load import load_settings
from runtime.security import redact
from runtime.security.redact import MASK, Redactor
from runtime.telemetry.log_format import formatter

MASKED = [
    ("redis://:pa55word@host:6379/0", "redis://:***@host:6379/0"),
    ("rediss://user:p@ss@host is away", "rediss://user:***@host is away"),
    ("GET http://a:b@c/d and http://e:f@g/h", "GET http://a:***@c/d and http://e:***@g/h"),
    ("Authorization: Bearer abc.def", "Authorization: ***"),
    ("{'authorization': 'Basic dTpw', 'x': 1}", "{'authorization': '***', 'x': 1}"),
    ("[(b'authorization', b'Basic dTpw')]", "[(b'authorization', b'***')]"),
    ("sent Bearer eyJhbGciOi.x-Y along", "sent Bearer *** along"),
    ("Cookie: session=1; other=2", "Cookie: ***"),
    ("X-Api-Key: tundish_k_1234", "X-Api-Key: ***"),
    ("tried tundish_ci-bot_aB3-9xYzaB3-9xYzaB3-9xYzaB3_9xYz twice", "tried tundish_ci-bot_*** twice"),
    ("smtp_password=hunter22&x=1", "smtp_password=***&x=1"),
    ("PUT /a?X-Amz-Signature=abcdef&k=2", "PUT /a?X-Amz-Signature=***&k=2"),
    ('{"token": "abc", "k": 2}', '{"token": "***", "k": 2}'),
    ("MINIO_SECRET_KEY=abcd", "MINIO_SECRET_KEY=***"),
    ("--basic-auth=me:secret", "--basic-auth=***"),
    ("it knows t0psecret-value", "it knows ***"),
]
PLAIN = [
    "embed_batch[6ce71ab5-5b31-4ade-a320-5412d0c6e42c] succeeded in 0.123 s",
    "chunks of tokens=254, overlap: 32",
    "http://127.0.0.1:8000/healthz answered",
    "mail to somebody@example.org: sent",
    "bearer authentication is needed",
    "Basic authentication, and the authorization of others",
    "the secret of success",
    "a token: whatever",
    "tundish_gateway_request_seconds_bucket",
    "",
]
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=redact.SHORTEST, max_size=30)


@pytest.mark.parametrize(("text", "shown"), MASKED, ids=range(len(MASKED)))
def test_a_secret_is_masked(text: str, shown: str) -> None:
    redactor = Redactor(["t0psecret-value", "short"])
    assert redactor(text) == shown
    assert redactor(shown) == shown


@pytest.mark.parametrize("text", PLAIN, ids=range(len(PLAIN)))
def test_what_is_none_stays(text: str) -> None:
    assert Redactor(["t0psecret-value"])(text) == text


@settings(deadline=None)
@given(st.text(), secrets, st.text())
def test_a_known_value_is_never_shown(before: str, secret: str, after: str) -> None:
    assert secret not in Redactor([secret])(before + secret + after).replace(MASK, " ")


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="/@:'\"", exclude_categories=("Z", "C")), min_size=1))
def test_no_password_of_a_url_is_shown(password: str) -> None:
    assert Redactor()(f"to redis://user:{password}@host/0, again") == "to redis://user:***@host/0, again"


def test_a_long_line_takes_no_long_time() -> None:
    word = "a" * 200_000
    assert Redactor(["nothing-of-it"])(f"{word} :// @ token {word}") == f"{word} :// @ token {word}"


def test_values_of_secret_names_are_masked_at_every_depth() -> None:
    given = {"user": "me", "smtp_password": "x", "more": [{"Authorization": "y", "n": 1}], "odd": object}
    found = Redactor().value(given)
    assert found == {"user": "me", "smtp_password": MASK, "more": [{"Authorization": MASK, "n": 1}], "odd": str(object)}
    assert json.dumps(found)


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.none()), st.text())
def test_every_record_is_one_line_of_json(message: str, more: dict[str, object], secret: str) -> None:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "x", **more, "args": ()})
    record.msg = message
    try:
        raise ValueError(message)
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    told = formatter("json", "test", Redactor([secret])).format(record)
    assert "\n" not in told
    assert isinstance(json.loads(told), dict)


def test_what_a_process_knows() -> None:
    environ = {
        "CELERY_BROKER_URL": "redis://:broker-password@127.0.0.1:1/0",
        "MINIO_ENDPOINT": "127.0.0.1:1",
        "MINIO_ACCESS_KEY": "somebody",
        "MINIO_SECRET_KEY": "store-secret",
        "TUNDISH_EVENT_TOKEN": "event-token",
        "SMTP_PASSWORD": "mail-password",
        "FLOWER_BASIC_AUTH": "me:flower-one,you:flower-two",
        "OTHER_URL": "https://a:url-password@b",
        "PATH": "/usr/bin",
    }
    found = redact.known(load_settings(environ), environ)
    assert {"broker-password", "store-secret", "event-token", "mail-password", "flower-one", "flower-two"} <= found
    assert "url-password" in found and "/usr/bin" not in found and "somebody" not in found
