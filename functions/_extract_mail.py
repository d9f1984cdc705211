"""E-mail: who wrote what to whom; attachments are named and not opened. Runs in the extractor's child."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from itertools import islice

from ._extract_found import Found, Limits
from ._extract_xberg import MIME_TYPES, parsed

_HEADERS = ("From", "To", "Cc", "Date")
_HEADER_LIMIT = 2000
_MOST_PARTS = 1000
_MOST_NAMED = 50


async def read(data: bytes, kind: str, limits: Limits) -> Found:
    """Raises Refused."""
    message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
    subject = _header(message, "Subject")
    body = message.get_body(("plain", "html"))
    text = _content(body) if body is not None else ""
    if body is not None and body.get_content_subtype() == "html":
        text = (await parsed(text.encode(errors="replace"), MIME_TYPES["html"], "html", limits)).content
    told = [f"{name}: {value}" for name in _HEADERS if (value := _header(message, name))]
    attached = list(islice(_attached(message), _MOST_NAMED + 1))
    if len(attached) > _MOST_NAMED:
        attached[-1] = "and more"
    parts = [
        f"# {subject}" if subject else "",
        "\n".join(told),
        text.strip(),
        "Attachments: " + "; ".join(attached) if attached else "",
    ]
    found = Found("\n\n".join(filter(None, parts)), subject)
    if attached:
        found.notes.append(f"attachments are named and not read: {'; '.join(attached)}")
    if any(part.defects for part in islice(message.walk(), _MOST_PARTS)):
        found.notes.append("the e-mail is damaged or cut short: this is what could be read of it")
    return found


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = str(message.get(name, ""))
    except (ValueError, LookupError, AttributeError, IndexError):  # addresses that no one can parse
        return ""
    return " ".join(value.split())[:_HEADER_LIMIT]


def _content(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except (LookupError, ValueError):  # an encoding that does not exist
        raw = part.get_payload(decode=True)
        return raw.decode(errors="replace") if isinstance(raw, bytes) else ""


def _attached(message: EmailMessage) -> Iterator[str]:
    for part in islice(message.iter_attachments(), _MOST_PARTS):
        raw = part.get_payload(decode=True)
        size = f", {len(raw)} B" if isinstance(raw, bytes) else ""
        yield f"{part.get_filename() or 'without a name'} ({part.get_content_type()}{size})"
