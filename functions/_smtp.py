"""One message to one SMTP server, and what its answers mean."""

from __future__ import annotations

import contextlib
import ipaddress
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Literal, cast

from runtime.errors import BadInput, Retry

Security = Literal["starttls", "tls", "none"]
PORTS: Mapping[Security, int] = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class Server:
    """How to reach a server. `password` never shows in a log."""

    host: str
    port: int
    security: Security
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A recipient that the server did not take, with its words. `temporary`: it may take it later."""

    address: str
    code: int
    reason: str

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500


def server_of(environ: Mapping[str, str]) -> Server:
    """The server that `SMTP_HOST` and its companions name. Raises BadInput."""
    host, security = environ.get("SMTP_HOST", ""), environ.get("SMTP_SECURITY", "starttls").lower()
    if not host:
        raise BadInput("No mail server is named: set SMTP_HOST in the function's env (docs/send-email.md).")
    if security not in PORTS:
        raise BadInput(f"SMTP_SECURITY is {security!r}; it is one of {', '.join(PORTS)}.")
    kind = cast("Security", security)
    port = environ.get("SMTP_PORT") or str(PORTS[kind])
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise BadInput(f"SMTP_PORT is {port!r}; it is a number from 1 to 65535.")
    server = Server(host, int(port), kind, environ.get("SMTP_USER", ""), environ.get("SMTP_PASSWORD", ""))
    if server.user and kind == "none" and not _is_loopback(host):
        raise BadInput("SMTP_SECURITY: none would send the password in the clear; use starttls or tls.")
    return server


def send(
    server: Server, message: EmailMessage, sender: str, recipients: Sequence[str], timeout: float
) -> list[Refused]:
    """Hand a message over; the recipients that the server refused while it took the message for others.

    Raises Retry for what may pass (no connection, answers 4xx), BadInput for what stays (a wrong password, answers
    5xx): no recipient has got the message then.
    """
    found: Mapping[str, tuple[int, bytes]] = {}
    with _told(server), _connected(server, timeout) as smtp:
        if server.user:
            smtp.login(server.user, server.password)
        try:
            found = smtp.send_message(message, sender, list(recipients))
        except smtplib.SMTPRecipientsRefused as error:
            refused = _refusals(error.recipients)
            told = "; ".join(f"{one.address}: {one.code} {one.reason}" for one in refused)
            # One that may be taken later is worth another try.
            kind = Retry if any(one.temporary for one in refused) else BadInput
            raise kind(f"{server.host} refused every recipient: {told}") from error
    return _refusals(found)


@contextlib.contextmanager
def _connected(server: Server, timeout: float) -> Iterator[smtplib.SMTP]:
    context = ssl.create_default_context()
    if server.security == "tls":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=timeout, context=context)
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=timeout)
    try:
        if server.security == "starttls":
            smtp.starttls(context=context)
        yield smtp
        with contextlib.suppress(smtplib.SMTPException, OSError):  # the message is taken, whatever comes now
            smtp.quit()
    finally:
        smtp.close()


@contextlib.contextmanager
def _told(server: Server) -> Iterator[None]:
    """Errors of the library as ours, which say whether another try is worth it."""
    place = f"{server.host}:{server.port}"
    try:
        yield
    except smtplib.SMTPNotSupportedError as error:
        raise BadInput(f"{place} cannot do what is needed: {error} Look at SMTP_SECURITY and SMTP_USER.") from error
    except smtplib.SMTPAuthenticationError as error:
        if 400 <= error.smtp_code < 500:
            raise Retry(f"{place} cannot check the password now: {_words(error.smtp_error)}") from error
        raise BadInput(f"{place} refused SMTP_USER or SMTP_PASSWORD: {_words(error.smtp_error)}") from error
    except smtplib.SMTPResponseException as error:
        kind = BadInput if 500 <= error.smtp_code < 600 else Retry
        raise kind(f"{place} refused the message: {error.smtp_code} {_words(error.smtp_error)}") from error
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
        raise BadInput(
            f"The certificate of {place} is not trusted ({reason}); SSL_CERT_FILE names another CA."
        ) from error
    except (OSError, smtplib.SMTPException) as error:
        raise Retry(f"{place} cannot be reached: {error or type(error).__name__}") from error


def _refusals(found: Mapping[str, tuple[int, bytes]]) -> list[Refused]:
    return [Refused(address, code, _words(reason)) for address, (code, reason) in found.items()]


def _words(answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())[:300]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
