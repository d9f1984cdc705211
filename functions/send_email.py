"""Mail through an SMTP server: for other functions, for callers, and as `on_failure` of any function."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from runtime.context import Context, Parent
from runtime.errors import BadInput

from ._smtp import Refused, send, server_of

TIMEOUT_SECONDS = 30.0
LATER_SECONDS = 60
"""When those who were refused for the moment are tried again, while others got the message."""

_MOST_REPORTS = 20
_SUBJECT_LIMIT = 150
_ADDRESS_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """Who has the message now, and who was refused, as `address: code words`; `later` is the call for those who may
    get it yet."""

    message_id: str
    recipients: list[str]
    refused: list[str] = field(default_factory=list)
    later: str | None = None


def send_email(
    to: str | list[str] | None = None,
    subject: str = "",
    text: str = "",
    html: str | None = None,
    cc: list[str] | None = None,
    bcc: list[str] | None = None,
    reply_to: str | None = None,
    only: list[str] | None = None,
    *,
    context: Context,
) -> Sent:
    """Send one message; without a text it reports on the calls before it (`on_failure`, `on_success`).

    `to` is SMTP_TO where nobody is named. `only` are the recipients that are still to get it. Raises BadInput for what
    no further try mends: a bad address, a password or a recipient that is refused for good.
    """
    server = server_of(os.environ)
    sender = _address("SMTP_FROM", os.environ.get("SMTP_FROM", ""))
    reported = _report(context.parents) if context.parents and not (text or html) else ("", "")
    subject, text = subject or reported[0], text or reported[1]
    if not (subject or text or html):
        raise BadInput("There is nothing to send: give subject and text.")
    named = [to] if isinstance(to, str) else to or [one for one in os.environ.get("SMTP_TO", "").split(",") if one]
    lists = {"To": _addresses("to", named), "Cc": _addresses("cc", cc), "Bcc": _addresses("bcc", bcc)}
    everybody = list(dict.fromkeys(one.addr_spec for group in lists.values() for one in group))
    wanted = everybody if only is None else [one for one in everybody if one in only]
    if not wanted:
        raise BadInput("There is no recipient: give `to`, or set SMTP_TO in the function's env.")
    message = _message(subject, text, html)
    message["From"], message["Date"] = sender, formatdate(context.accepted)
    # A call that is repeated sends the same message: its id lets mailboxes see that.
    message["Message-ID"] = f"<{context.id}@{sender.domain}>"
    for name in ("To", "Cc"):  # nobody sees who got a blind copy
        if lists[name]:
            message[name] = lists[name]
    if reply_to:
        message["Reply-To"] = _address("reply_to", reply_to)
    left = context.time_left()
    timeout = TIMEOUT_SECONDS if left is None else min(TIMEOUT_SECONDS, max(1.0, left))
    refused = send(server, message, sender.addr_spec, wanted, timeout)
    gone = {one.address for one in refused}
    for one in refused:
        context.log.warning("%s was refused: %d %s", one.address, one.code, one.reason)
    later = None
    if waiting := [one.address for one in refused if one.temporary]:
        given = {"to": named, "subject": subject, "text": text, "html": html, "cc": cc, "reply_to": reply_to}
        options = {"delay": LATER_SECONDS}
        later = context.submit(context.function, options=options, bcc=bcc, only=waiting, **given)
    return Sent(
        str(message["Message-ID"]), [one for one in wanted if one not in gone], [_told(one) for one in refused], later
    )


def _message(subject: str, text: str, html: str | None) -> EmailMessage:
    if not _is_one_line(subject):
        raise BadInput("subject: is one line; a line break in it could smuggle headers in.")
    message = EmailMessage(SMTP)
    message["Subject"] = _encodable(subject)
    message.set_content(_encodable(text))
    if html is not None:
        message.add_alternative(_encodable(html), "html")
    return message


def _encodable(text: str) -> str:
    """Lone surrogates, which JSON and file names can hold and no encoding has, are question marks."""
    return text.encode("utf-8", "replace").decode()


def _addresses(name: str, given: Sequence[str] | None) -> list[Address]:
    return [_address(name, one) for one in given or ()]


def _address(name: str, text: str) -> Address:
    """One mailbox, `ann@example.org` or `Ann <ann@example.org>`. Raises BadInput."""
    found: tuple[Address, ...] = ()
    if _is_one_line(text) and len(text) <= _ADDRESS_LIMIT:
        try:
            header = SMTP.header_factory("To", text)
            found = () if header.defects else header.addresses
        except Exception as error:  # the library's parser has many ways to fall over what is no address
            raise BadInput(_no_address(name, text)) from error
    if len(found) != 1 or not (found[0].username and found[0].domain):
        raise BadInput(_no_address(name, text))
    return found[0]


def _no_address(name: str, text: str) -> str:
    return f"{name}: {text[:100]!r} is not one mail address, like ann@example.org or Ann <ann@example.org>."


def _is_one_line(text: str) -> bool:
    """By the rule of the library, which knows more line breaks than CR and LF."""
    return text.splitlines() in ([], [text])


def _told(one: Refused) -> str:
    return f"{one.address}: {one.code} {one.reason}"


def _report(parents: Sequence[Parent]) -> tuple[str, str]:
    """Subject and text about the calls that led here."""
    first = parents[0]
    more = f" (and {len(parents) - 1} more)" if len(parents) > 1 else ""
    about = " ".join(f"{first.function} {first.state}{more}: {_summary(first)}".split())
    parts = [_paragraph(parent) for parent in parents[:_MOST_REPORTS]]
    if len(parents) > _MOST_REPORTS:
        parts.append(f"… and {len(parents) - _MOST_REPORTS} more: tundish tasks --state failed")
    return about[:_SUBJECT_LIMIT], "\n\n".join(parts) + "\n"


def _summary(parent: Parent) -> str:
    told = parent.result
    if isinstance(told, Mapping) and "summary" in told and parent.state != "succeeded":
        return str(told["summary"])
    return json.dumps(told, ensure_ascii=False)[:500]


def _paragraph(parent: Parent) -> str:
    told = parent.result if isinstance(parent.result, Mapping) and parent.state != "succeeded" else {}
    trace = str(told.get("traceback", "")).strip()
    lines = (f"{parent.function} [{parent.id}] {parent.state}", _summary(parent), trace, f"tundish tasks {parent.id}")
    return "\n".join(filter(None, lines))
