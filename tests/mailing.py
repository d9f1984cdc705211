"""A real SMTP server in the test's own process, which refuses whom it is told to refuse."""

from __future__ import annotations

import contextlib
import email
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

CERTIFICATES = Path(__file__).parent / "fixtures" / "smtp"
"""Of localhost, and worth nothing: the key is here for everybody to see."""

PASSWORD = "pass word"


@dataclass
class Mailbox:
    """What the server got, and what it answers: `refuse` and `data` hold answers such as `450 try later`."""

    refuse: dict[str, str] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    """Answers to the next messages, first one first; then they are taken."""
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.data:
            return self.data.pop(0)
        self.mails.append(email.message_from_bytes(envelope.content, policy=default))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append(given.login.decode())
        return AuthResult(success=given.password.decode() == PASSWORD, handled=False)

    @property
    def environ(self) -> dict[str, str]:
        """The function's `env` that reaches it."""
        return {
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(self.port),
            "SMTP_FROM": "Tundish <robot@shop.example>",
            "SSL_CERT_FILE": str(CERTIFICATES / "cert.pem"),
        }


class _Server(Controller):
    """On a port that the system chooses; the library connects to it once to make sure that it answers."""

    def _trigger_server(self) -> None:
        sockets: Any = getattr(self.server, "sockets", ())
        self.port = sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def mail_server(security: str = "starttls", *, login: bool = False) -> Iterator[Mailbox]:
    """A server on a free port; with `login` it takes mail only from who knows the password."""
    box = Mailbox()
    options: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0, "authenticator": box.login}
    if security != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATES / "cert.pem", CERTIFICATES / "key.pem")
        options |= {
            "ssl_context" if security == "tls" else "tls_context": context,
            "auth_require_tls": security != "tls",
        }
    controller = _Server(box, auth_required=login, require_starttls=security == "starttls", **options)
    controller.start()
    try:
        box.port = controller.port
        yield box
    finally:
        controller.stop()
