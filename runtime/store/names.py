"""What an object may be called, and what may be noted on it. Checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtime.errors import BadInput, ObjectMissing

KEY_BYTES = 1024
METADATA_BYTES = 2048
"""The most that S3 takes for all names and values of an object's metadata together."""

_STEPS = frozenset((".", ".."))
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


def check_key(key: str) -> None:
    """HTTP clients and proxies resolve `.` and `..` in a path, so such an object cannot be reached."""
    if not key or not _STEPS.isdisjoint(key.split("/")):
        raise ObjectMissing(f"There can be no object {key!r}: a key is not empty and has no '.' or '..' segment.")


def check_new_key(key: str) -> None:
    """Refuse what a store may silently keep under another name (SeaweedFS: `a//b`, `/a` and `a\\b`)."""
    parts = key.split("/")
    inner = parts[:-1] if len(parts) > 1 else parts  # a closing slash is a folder marker
    if "" in inner or "\\" in key or any(part in (".", "..") for part in parts):
        raise BadInput(
            f"{key!r} cannot be the name of an object: it must not be empty, begin with '/', hold '//', a backslash, "
            "or a '.' or '..' segment. Rename it."
        )
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise BadInput(f"{key!r} cannot be the name of an object: it is not valid Unicode.") from error
    if size > KEY_BYTES:
        raise BadInput(f"The name {key[:80]!r}… has {size} bytes; a store takes {KEY_BYTES:,}.")


def metadata_size(metadata: Mapping[str, str]) -> int:
    """Bytes, as S3 counts them."""
    return sum(len(name) + len(value) for name, value in metadata.items())


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Metadata travels in headers, which every proxy and server treats alike only when they are plain ASCII."""
    for name, value in metadata.items():
        if not _NAME.fullmatch(name):
            raise BadInput(f"{name!r} cannot be the name of metadata: use lower-case letters, digits and '-'.")
        if not _VALUE.fullmatch(value):
            raise BadInput(
                f"The metadata {name!r} cannot be {value!r}: use printable ASCII that neither is empty nor begins or "
                "ends with a space; other text can be percent-encoded."
            )
    size = metadata_size(metadata)
    if size > METADATA_BYTES:
        raise BadInput(f"The metadata has {size} bytes; a store takes {METADATA_BYTES:,}.")
