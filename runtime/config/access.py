"""What the environment says of the gateway's front: who has to say who they are, and what stands before it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from runtime.config.auth import Access

_WORDS = {"required": "required", "on": "required", "true": "required", "1": "required"} | dict.fromkeys(
    ("off", "false", "0"), "off"
)


class _Get(Protocol):
    def __call__(self, *names: str, path: tuple[str | int, ...] | None = None) -> str | None: ...


def access(get: _Get, problem: Callable[[str, str], None]) -> Access:
    """`get` reads a variable and remembers where a value came from; what is wrong goes to `problem`."""
    word = (get("TUNDISH_AUTH", path=("access", "auth")) or "").lower()
    if word not in ("", "auto", *_WORDS):
        problem("TUNDISH_AUTH", f"{word!r} is not one of required, off, auto")
    public = get("TUNDISH_PUBLIC_URL", path=("access", "public_url")) or ""
    parts = urlsplit(public)
    if public and (parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/")):
        problem("TUNDISH_PUBLIC_URL", f"{public!r} must be https://NAME or https://NAME:PORT, without a path")
    proxies = _listed(get("TUNDISH_TRUSTED_PROXIES", path=("access", "proxies")))
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            problem("TUNDISH_TRUSTED_PROXIES", f"{proxy!r} is neither an address nor a network like 10.0.0.0/8")
    file = get("TUNDISH_ADMIN_KEY_FILE", path=("access", "admin_key_file"))
    return Access.model_validate(
        {
            "auth": _WORDS.get(word),
            "admin_key_file": Path(file).absolute() if file else None,
            "public_url": public.rstrip("/"),
            "hosts": _listed(get("TUNDISH_ALLOWED_HOSTS", path=("access", "hosts"))),
            "proxies": ",".join(proxies),
        }
    )


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
