"""The object key of a path: percent-decoded exactly once, from the bytes that were sent."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from gateway.web.problems import refuse

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")


class KeyConvertor(Convertor[str]):
    """Everything to the end, line breaks included: object keys may hold any character."""

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register() -> None:
    """Make `{key:key}` known to the router."""
    register_url_convertor("key", KeyConvertor())


def bucket_and_key(request: Request) -> tuple[str, str]:
    """Bucket and key of `/PREFIX/BUCKET/KEY`. 400 for a path that is not UTF-8, and for what no bucket is called.

    The server decodes the path for the router and puts U+FFFD where the bytes are not UTF-8; an object of
    another name would come of that. A `+` is a plus, and `%2520` is the key `%20`.
    """
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    try:
        path = unquote_to_bytes(raw.partition(b"?")[0]).decode()
    except UnicodeDecodeError:
        refuse(400, "The path is not UTF-8: percent-encode the UTF-8 bytes of the object's key.")
    _, _, bucket, key = path.split("/", 3)
    if not _BUCKET.fullmatch(bucket):  # the signature of such a request comes out wrong, which looks like a wrong key
        refuse(400, f"{bucket[:80]!r} is no name of a bucket: that has letters, digits, dots, hyphens and underscores.")
    if "\0" in key:
        refuse(400, "An object's key cannot hold a null character.")
    return bucket, key
