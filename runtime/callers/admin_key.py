"""The first administrator's key: in a file that is named, or in one of the state folder that is made at first use.

It is in no database: with it somebody can get in when the broker has lost everything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import TundishError
from runtime.security.private_files import private_folder

if TYPE_CHECKING:
    from runtime.config.settings import Settings

FILE = "admin.key"
SHORTEST = 24
"""Characters. With 24 random letters and digits it has 124 bits, which nobody guesses."""


class AdminKeyUnusable(TundishError):
    """The key of the first administrator cannot be used."""


def place(settings: Settings) -> Path:
    """Where it is, or will be."""
    return settings.access.admin_key_file or settings.home / FILE


def provide(settings: Settings) -> Path:
    """Where it is; made, readable by its owner only, where nobody has named one. Raises AdminKeyUnusable."""
    path = place(settings)
    if not settings.access.admin_key_file and not path.exists():
        new = private_folder(settings.home) / f"{FILE}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"tundish_admin_{secrets.token_urlsafe(32)}\n")
        with contextlib.suppress(FileExistsError):  # two at once: the first one's is everybody's
            os.link(new, path)
        new.unlink()
    read(path)
    return path


def read(path: Path) -> str:
    """The key in a file. Raises AdminKeyUnusable with what to do."""
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise AdminKeyUnusable(
            f"The administrator's key cannot be read from {path}: {reason}. Make one: "
            f"(umask 077; openssl rand -hex 32 > {path})"
        ) from error
    if len(key) < SHORTEST or not key.isascii() or any(letter.isspace() for letter in key):
        raise AdminKeyUnusable(
            f"The administrator's key in {path} must be one word of at least {SHORTEST} ASCII characters; "
            f"it has {len(key)}. Make one: (umask 077; openssl rand -hex 32 > {path})"
        )
    return key


def greeting(settings: Settings) -> list[str]:
    """What a start says of keys; the key is made where there is none. Nothing where nobody is asked who they are.

    Raises AdminKeyUnusable.
    """
    from runtime.callers import access

    if not access.required(settings):
        return []
    words = [
        f"Every request needs a key. The administrator's is in {provide(settings)}; "
        "`tundish keys create NAME` makes others."
    ]
    if not access.is_loopback(settings.host) and not settings.access.public_url.startswith("https:"):
        words.append(
            f"Nothing encrypts what goes to {settings.host}:{settings.port}: put a proxy with TLS before it, and name "
            "it in TUNDISH_PUBLIC_URL."
        )
    return words
