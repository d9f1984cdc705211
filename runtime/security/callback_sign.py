"""The signature of what is posted to callback URLs, as Standard Webhooks describes it, and the secret behind it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from runtime.security.private_files import private_folder

SECRET_FILE = "callback-secret"  # noqa: S105 - its name
_PREFIX = "whsec_"


def key_of(secret: str) -> bytes:
    """The bytes that sign: `whsec_` and base64, or any other text as it is. Raises ValueError."""
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"begins with {_PREFIX}, but what follows is not base64 ({error})") from error


def kept_secret(home: Path) -> str:
    """The secret of a state folder; a random one is made at its first use. Raises OSError."""
    path = private_folder(home) / SECRET_FILE
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    new = path.with_name(f"{SECRET_FILE}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    with contextlib.suppress(FileExistsError):  # two at once: the first one's is everybody's
        os.link(new, path)
    new.unlink()
    return path.read_text().strip()


def headers(key: bytes, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` (seconds since the epoch) and `webhook-signature` of one message."""
    signed = b"%s.%d.%s" % (message_id.encode(), at, body)
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}
