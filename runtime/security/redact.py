"""Keeping secrets out of logs: passwords in URLs, Authorization headers, tokens by their names, and known values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from runtime import sentinel

if TYPE_CHECKING:
    from runtime.config.settings import Settings

MASK = "***"
SHORTEST = 6
"""Characters of a known value that is looked for: a shorter one would be found in every other word."""

_DEEPEST = 6
_TOKEN = r"[A-Za-z0-9._~+/=:-]"  # noqa: S105 - a pattern
_HEADERS = "proxy-authorization|authorization|x-api-key|set-cookie|cookie"
_NAMES = (
    "password|passwd|passphrase|secret_access_key|secret_key|secret|access_token|refresh_token|api_key|apikey|basic[_-]auth|token|"
    "x-amz-signature|x-amz-security-token|signature"
)
# What stands before a name keeps a long word from being tried at each of its letters.
_URL = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"]*):([^\s/'\"]+)@")
_SCHEME = re.compile(rf"\b(?i:bearer|basic)\s+(?=[a-z._~+/=:-]*[A-Z0-9]){_TOKEN}{{8,}}|\b(?i:bearer)\s+{_TOKEN}{{32,}}")
_HEADER = re.compile(
    rf"(?<![\w-])({_HEADERS})(['\"]?\s*[:=]\s*(?:b?['\"])?|['\"],\s*b?['\"])([^'\"\r\n]+)", re.IGNORECASE
)
_VALUE = re.compile(
    rf"(?<![\w-])((?:[\w-]*[_-])?(?:{_NAMES}))(=|['\"]\s*[:=,]\s*(?:b?['\"])?)([^\s&;,'\"<>)\]}}]+)", re.IGNORECASE
)
_KEY = re.compile(r"\b(tundish_[A-Za-z0-9.-]{1,100}_)[A-Za-z0-9_-]{24,}")
"""One of our own (runtime/callers/api_keys.py), whose name may be seen."""
_NAME = re.compile(rf"(?:.*[_-])?(?:{_HEADERS}|{_NAMES}|private_key)", re.IGNORECASE)
_HINTS = ("bearer", "basic ", "authorization", "api-key", "cookie", "basic_auth", "basic-auth", *_NAMES.split("|"))


class Redactor:
    """Masks secrets in text. `secrets`: values that are known to be some; too short ones are left out of account."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({value for value in secrets if len(value) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if "://" in text and "@" in text:
            text = _URL.sub(rf"\1:{MASK}@", text)
        if "tundish_" in text:
            text = _KEY.sub(rf"\1{MASK}", text)
        low = text.lower()
        if any(hint in low for hint in _HINTS):
            text = _HEADER.sub(rf"\1\2{MASK}", text)
            text = _SCHEME.sub(lambda found: f"{found[0].split()[0]} {MASK}", text)
            text = _VALUE.sub(rf"\1\2{MASK}", text)
        return text

    def value(self, value: Any, depth: int = 0) -> Any:
        """What a line of JSON may hold of a value: its texts without secrets, what goes by a secret's name masked."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self(value)
        if depth < _DEEPEST and isinstance(value, Mapping):
            return {str(name): self.named(str(name), item, depth + 1) for name, item in value.items()}
        if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth + 1) for item in value]
        return self(str(value))

    def named(self, name: str, value: Any, depth: int = 0) -> Any:
        """`value`, unless its name says that it is a secret."""
        return MASK if value and is_secret(name) else self.value(value, depth)


def is_secret(name: str) -> bool:
    """Whether what goes by this name is not for everybody: `smtp_password`, `Authorization`."""
    return _NAME.fullmatch(name) is not None


def known(settings: Settings, environ: Mapping[str, str] | None = None) -> set[str]:
    """The secrets that a process knows: of its connections, of functions, and of variables that sound like one."""
    found = {settings.store.secret_key, settings.event_token, settings.callback_secret}
    found |= {index.api_key for index in settings.project.indexes.values()}
    for url in (settings.broker_url, settings.result_backend):
        found |= {url_password(url), *sentinel.secrets(url)}
    for function in settings.project.functions.values():
        found |= {value for name, value in function.env.items() if is_secret(name)}
        for file in function.secrets.values():
            try:
                found.add(file.read_text().strip())
            except (OSError, UnicodeDecodeError):  # its call says so
                continue
    return of_environ(environ or {}) | {value for value in found if value}


def of_environ(environ: Mapping[str, str]) -> set[str]:
    """The values of variables whose names sound like a secret, and the passwords in URLs."""
    named = {value for name, value in environ.items() if is_secret(name)}
    pairs = {pair.partition(":")[2] for pair in environ.get("FLOWER_BASIC_AUTH", "").split(",")}
    return {value for value in named | pairs | {url_password(value) for value in environ.values()} if value}


def url_password(url: str) -> str:
    """The password of a URL; empty where there is none."""
    try:
        return unquote(urlsplit(url).password or "") if "://" in url else ""
    except ValueError:
        return ""
