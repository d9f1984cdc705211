"""What the patterns in functions.yaml ask for, in words: nobody who made a slip wants to read a regular expression."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.config.tenants import NAME as TENANT

_TENANT_WORDS = "a tenant's name: letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64"

SHAPES: Mapping[str, str] = {
    r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$": "a letter, then letters, digits, '_', '.' or '-', at most 100 in all",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "a bucket's name: 3 to 63 small letters, digits, '.' and '-'",
    r"^[0-9a-f]{64}$": "the SHA-256 of the model's weights: 64 hex digits in lower case",
    r"^[a-zA-Z_]{3,20}$": "the name of a language for Tesseract, like eng or deu",
    r"^[A-Za-z_][\w.]*$": "the name of an argument, like user or order.id",
    r"^(https?://\S+)?$": "an address that begins with http:// or https://",
    rf"^{TENANT}$": _TENANT_WORDS,
    rf"^({TENANT}|\{{prefix\}})$": f'{_TENANT_WORDS}; or "{{prefix}}"',
    rf"^({TENANT}|\*)$": f'{_TENANT_WORDS}; or "*"',
}
"""What to write, by the pattern that it has to fit."""


def told(pattern: str) -> str:
    """`write a letter, then …`; the pattern itself where nothing better is known."""
    return f"write {SHAPES[pattern]}" if pattern in SHAPES else f"it must match {pattern}"
