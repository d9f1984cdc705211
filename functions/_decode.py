"""Bytes of a text file in, characters out: which encoding they are in is found out."""

from __future__ import annotations

import codecs
import re
from itertools import islice

from runtime.errors import BadInput

from ._language import guess

# UTF-32 first: its little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ANY_MARK = tuple(mark for mark, _ in _MARKS)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SAMPLE = 4096

_LOCAL: tuple[tuple[str, str], ...] = (
    ("cp1252", "de en fr es it pt nl sv da no fi is ga ca gl eu af"),
    ("cp1251", "ru uk bg sr mk be"),
    ("koi8-r", "ru"),
    ("cp1253", "el"),
    ("cp1250", "pl cs sk hu sl hr ro"),
    ("cp1254", "tr"),
    ("gb18030", "zh"),
    ("big5", "zh"),
    ("cp932", "ja"),
    ("euc_jp", "ja"),
    ("euc_kr", "ko"),
)
"""Encodings from before UTF-8, the likelier ones first, with the languages that were written in them."""

_COMMON = frozenset("的一是不了在人有我中大这這国國上个個们們")
"""Of the most frequent Chinese characters: bytes of any kind make Chinese characters, though mostly rare ones."""


def decode(name: str, data: bytes, declared: re.Match[bytes] | None = None) -> tuple[str, str]:
    """The text of a file and its encoding: by its byte order mark, as UTF-8, as declared, as UTF-16, by its language.

    UTF-8 of which a little is damaged is UTF-8 all the same, with U+FFFD for what is no character.

    Raises BadInput for what is no text, or not in the encoding that it is marked with.
    """
    marked = None
    if data.startswith(_ANY_MARK):
        marked = next(encoding for mark, encoding in _MARKS if data.startswith(mark))
    guesses = [marked] if marked else [_utf16(data), "utf-8", _known(declared)]
    for encoding in filter(None, guesses):
        try:
            return _text(name, data.decode(encoding)), "utf-8" if encoding == "utf-8-sig" else encoding
        except UnicodeDecodeError:
            continue
    if marked:
        raise BadInput(f"{name} is marked as {marked} and is not: it is damaged. Save it again as UTF-8.")
    mostly = _mostly_utf8(data)
    if mostly:
        return _text(name, mostly), "utf-8"
    encoding = _local(data)
    try:
        return _text(name, data.decode(encoding)), encoding
    except UnicodeDecodeError:
        return _text(name, data.decode("latin-1")), "latin-1"


def _text(name: str, text: str) -> str:
    if not _CONTROL.search(text):
        return text
    most = 1 + len(text) // 200  # real text has almost none
    if next(islice(_CONTROL.finditer(text), most, None), None):
        raise BadInput(f"{name} is not text: it holds binary data. Give the file the suffix of its real kind.")
    return _CONTROL.sub(" ", text)


def _mostly_utf8(data: bytes) -> str:
    """UTF-8 that was cut short within a character, or that holds a few bytes of something else; else nothing.

    In old encodings bytes follow each other like that by chance only: of GB18030, the likeliest one, one in eight.
    """
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    return text if good >= 2 * bad else ""


def _local(data: bytes) -> str:
    """The old encoding in which the bytes are most surely text of one of its languages, else Windows-1252."""
    found, best = "cp1252", 0.0
    for encoding, languages in _LOCAL:
        sample = codecs.getincrementaldecoder(encoding)()
        try:
            text = sample.decode(data[:_SAMPLE])
        except UnicodeDecodeError:
            continue
        language, sure = guess(text)
        if languages == "zh" and _COMMON.isdisjoint(text):
            sure /= 2
        if sure > best and language.partition("-")[0] in languages.split():
            found, best = encoding, sure
    return found


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: text of European languages then has a zero in almost every second byte."""
    head = data[:_SAMPLE]
    if b"\0" not in head or len(data) % 2:
        return None
    even, odd = head[::2].count(0), head[1::2].count(0)
    if min(even, odd) * 20 > max(even, odd) or max(even, odd) * 4 < len(head):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _known(declared: re.Match[bytes] | None) -> str | None:
    if declared is None:
        return None
    try:
        found = codecs.lookup(declared[1].decode("ascii"))
    except LookupError:
        return None
    return found.name if found.name.startswith(("iso8859", "cp", "koi8", "shift", "euc", "gb", "big5")) else None
