"""Mail: over a real SMTP server of every kind, what it refuses, and as `on_failure` of a real call."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.send_email import Sent, send_email
from runtime.context import Parent
from runtime.errors import BadInput, Retry
from runtime.invocations.submit import Call, submit
from runtime.testing import MemoryCalls, fake_context
from tests.mailing import PASSWORD, Mailbox, mail_server
from tests.workers import deployment, ended, known, until, upkeep, worker


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A server with STARTTLS, and the environment that names it."""
    with mail_server() as found:
        point(monkeypatch, found)
        yield found


def point(monkeypatch: pytest.MonkeyPatch, box: Mailbox, **more: str) -> None:
    for name, value in {**box.environ, **more}.items():
        monkeypatch.setenv(name, value)


def sent(calls: MemoryCalls | None = None, **arguments: Any) -> Sent:
    given = {"to": "ann@example.org", "subject": "Hello", "text": "Hi Ann", **arguments}
    return send_email(**given, context=fake_context("send_email", calls=calls))


def body(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def test_a_message_arrives_whole(box: Mailbox) -> None:
    done = sent(
        to=["Ann Ü <ann@example.org>", "bob@example.org"],
        subject="Größe",
        text="Zeile 1\n.\nZeile 3",
        html="<p>Größe</p>",
        cc=["cat@example.org"],
        bcc=["dan@example.org"],
        reply_to="shop@example.org",
    )
    [mail] = box.mails
    assert box.recipients == [["ann@example.org", "bob@example.org", "cat@example.org", "dan@example.org"]]
    assert done == Sent("<test@shop.example>", box.recipients[0])
    assert (mail["Subject"], mail["From"]) == ("Größe", "Tundish <robot@shop.example>")
    assert (mail["To"], mail["Cc"], mail["Reply-To"]) == (
        "Ann Ü <ann@example.org>, bob@example.org",
        "cat@example.org",
        "shop@example.org",
    )
    assert mail["Message-ID"] == "<test@shop.example>" and mail["Date"].datetime
    assert "dan" not in mail.as_string()
    assert body(mail).splitlines() == ["Zeile 1", ".", "Zeile 3"]
    assert body(mail, "html").strip() == "<p>Größe</p>"


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # the server does not count a connection that began with TLS
@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_with_a_password_over_every_kind_of_connection(monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    with mail_server(security, login=security != "none") as box:
        known_as = {"SMTP_USER": "robot", "SMTP_PASSWORD": PASSWORD} if security != "none" else {}
        point(monkeypatch, box, SMTP_SECURITY=security, **known_as)
        sent()
    assert len(box.mails) == 1 and box.logins == (["robot"] if known_as else [])


def test_a_wrong_password_is_for_good_and_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(login=True) as box:
        point(monkeypatch, box, SMTP_USER="robot", SMTP_PASSWORD="wrong-one")
        with pytest.raises(BadInput, match="refused SMTP_USER or SMTP_PASSWORD") as caught:
            sent()
    assert "wrong-one" not in str(caught.value) and not box.mails


def test_a_certificate_of_nobody_is_refused(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(BadInput, match="is not trusted"):
        sent()
    assert not box.mails


def test_a_server_without_starttls_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server("none") as box:
        point(monkeypatch, box)
        with pytest.raises(BadInput, match="STARTTLS"):
            sent()
    assert not box.mails


@pytest.mark.parametrize(
    ("answer", "error"), [("450 greylisted", Retry), ("550 no such mailbox", BadInput), ("452 full", Retry)]
)
def test_a_recipient_that_is_refused(box: Mailbox, answer: str, error: type[Exception]) -> None:
    box.refuse["ann@example.org"] = answer
    with pytest.raises(error, match=f"ann@example.org: {answer}"):
        sent()


@pytest.mark.parametrize(("answer", "error"), [("451 later", Retry), ("554 spam", BadInput)])
def test_a_message_that_is_refused(box: Mailbox, answer: str, error: type[Exception]) -> None:
    box.data.append(answer)
    with pytest.raises(error, match=f"refused the message: {answer}"):
        sent()


def test_who_is_refused_for_the_moment_gets_it_later_and_nobody_twice(box: Mailbox) -> None:
    box.refuse = {"bob@example.org": "450 later", "cat@example.org": "550 gone"}
    calls = MemoryCalls()
    everybody = ["ann@example.org", "bob@example.org", "cat@example.org"]
    done = sent(calls, to=everybody, bcc=["dan@example.org"])
    assert done.recipients == ["ann@example.org", "dan@example.org"]
    assert done.refused == ["bob@example.org: 450 later", "cat@example.org: 550 gone"]
    [(function, arguments)] = calls.submitted
    assert (function, arguments["only"], done.later) == ("send_email", ["bob@example.org"], "call-1")
    box.refuse.clear()
    sent(**arguments)
    assert box.recipients[1] == ["bob@example.org"]
    assert box.mails[1]["To"] == ", ".join(everybody)


def test_a_server_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as box:
        point(monkeypatch, box)
    with pytest.raises(Retry, match="cannot be reached"):
        sent()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"to": "ann@example.org\nBcc: evil@example.org"}, "to: .* is not one mail address"),
        ({"to": "ann@example.org, evil@example.org"}, "to: .* is not one mail address"),
        ({"to": "ann"}, "to: .* is not one mail address"),
        ({"cc": ["Ann\r\nX: y <ann@example.org>"]}, "cc: .* is not one mail address"),
        ({"bcc": ["@example.org"]}, "bcc: .* is not one mail address"),
        ({"to": "<"}, "to: '<' is not one mail address"),
        ({"to": ".:"}, "to: '.:' is not one mail address"),
        ({"to": "(" * 5_000}, r"to: '\(+' is not one mail address"),
        ({"to": "Ann\u2028X: y <ann@example.org>"}, "to: .* is not one mail address"),
        ({"to": "ann@example.org\n"}, "to: .* is not one mail address"),
        ({"subject": "Hello\n"}, "subject: is one line"),
        ({"subject": "Hello\x0bX: y"}, "subject: is one line"),
        ({"subject": "Hello\x85"}, "subject: is one line"),
        ({"subject": "\u2028"}, "subject: is one line"),
        ({"reply_to": "a@example.org\nX: y"}, "reply_to: .* is not one mail address"),
        ({"subject": "Hello\r\nBcc: evil@example.org"}, "subject: is one line"),
        ({"to": None}, "There is no recipient"),
        ({"only": ["evil@example.org"]}, "There is no recipient"),
        ({"subject": "", "text": ""}, "nothing to send"),
    ],
)
def test_what_can_never_be_sent(box: Mailbox, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        sent(**arguments)
    assert not box.mails


def test_what_no_encoding_has_is_a_question_mark(box: Mailbox) -> None:
    sent(to="ann@example.org", subject="a\udd00\udc80", text="b\ud800", html="<b>\udfff</b>")
    [mail] = box.mails
    assert mail["Subject"] == "a??"
    assert [part.get_content().strip() for part in mail.iter_parts()] == ["b?", "<b>?</b>"]


odd_texts = st.text(st.sampled_from("""<>@.:;,"'()[]\\= ?\x0b\x85\u2028\n\0\tab8é""") | st.characters(), max_size=12)


def test_no_text_is_too_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no address or no subject is bad input, and nobody else gets what is sent."""
    with mail_server() as box:
        point(monkeypatch, box)

        @given(st.tuples(odd_texts, st.sampled_from(["", "<a@b.c>", "a@b.c", "@b.c"])).map("".join), odd_texts)
        @settings(max_examples=150, deadline=None)
        def attempt(address: str, text: str) -> None:
            box.mails.clear()
            with contextlib.suppress(BadInput):
                done = sent(to=address, subject=text, reply_to=address, text=text)
                [mail] = box.mails
                assert len(done.recipients) == len(mail["To"].addresses) == 1
                assert not mail.defects

        attempt()


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"SMTP_HOST": ""}, "set SMTP_HOST"),
        ({"SMTP_PORT": "70000"}, "SMTP_PORT"),
        ({"SMTP_SECURITY": "ssl"}, "starttls, tls, none"),
        ({"SMTP_FROM": "robot"}, "SMTP_FROM"),
        ({"SMTP_HOST": "mail.example.org", "SMTP_SECURITY": "none", "SMTP_USER": "u"}, "in the clear"),
    ],
)
def test_settings_that_are_wrong_say_so(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], reason: str
) -> None:
    point(monkeypatch, box, **environ)
    with pytest.raises(BadInput, match=reason):
        sent()


def test_a_report_names_every_call_and_stays_one_line_above(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    point(monkeypatch, box, SMTP_TO="ann@example.org, bob@example.org")
    error = {"summary": "ValueError: no\nBcc: evil@example.org", "traceback": "Traceback …\nValueError: no"}
    parents = [Parent(f"id-{number}", "charge", error, "dead") for number in range(25)]
    send_email(context=fake_context("send_email", parents=parents))
    [mail] = box.mails
    assert mail["Subject"] == "charge dead (and 24 more): ValueError: no Bcc: evil@example.org"
    assert box.recipients == [["ann@example.org", "bob@example.org"]]
    text = body(mail)
    assert "charge [id-0] dead" in text and "tundish tasks id-19" in text and "id-20" not in text
    assert "and 5 more" in text


def test_a_report_of_a_success_has_its_result(box: Mailbox) -> None:
    parents = [Parent("id-1", "stats", {"vectors": 3})]
    send_email("ann@example.org", context=fake_context("send_email", parents=parents))
    assert box.mails[0]["Subject"] == 'stats succeeded: {"vectors": 3}'


YAML = """
version: 1
queues: {work: {}}
defaults: {queue: work, retries: {max: 0}}
functions:
  charge: {handler: mine.py:charge, on_failure: send_email}
  send_email:
    handler: functions.send_email:send_email
    rate_limit: 100/m
    retries: {max: 2, backoff: 10ms}
    env: %s
    secrets: {SMTP_PASSWORD: password}
"""


def test_a_call_that_fails_is_reported_through_a_server_that_is_full_at_first(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("def charge(card: str) -> None:\n    raise ValueError('no money on ' + card)\n")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    file = tmp_path / "functions.yaml"
    with mail_server(login=True) as box:
        environ = {**box.environ, "SMTP_USER": "robot", "SMTP_TO": "ann@example.org"}
        file.write_text(YAML % json.dumps(environ))
        deployed = deployment(file, broker_url)
        box.data.append("452 full")
        with worker(file, broker_url, "work"), upkeep(redis_client, deployed):
            charged = submit(redis_client, deployed, Call("charge", {"card": "4711"}))
            ended(redis_client, charged)
            until(lambda: box.mails)
            refused = submit(redis_client, deployed, Call("send_email", {"to": "ann", "subject": "s"}))
            assert ended(redis_client, refused).state == "failed"
    [mail] = box.mails
    assert mail["Subject"] == "charge dead: ValueError: no money on 4711"
    assert "mine.py" in body(mail) and PASSWORD not in mail.as_string()
    reporter = known(redis_client, mail["Message-ID"].strip("<>").partition("@")[0])
    assert (reporter.function, reporter.attempts) == ("send_email", 2)
    assert known(redis_client, refused).attempts == 1
