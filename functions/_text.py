"""The text of a file, whatever kind of file it is; and one clear sentence where there is none to be had.

Content decides before the suffix does: a PDF named .txt is read as a PDF. Text and Markdown are decoded here;
HTML, PDF and DOCX are parsed in a process of their own.
"""

from __future__ import annotations

import codecs
import html
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from runtime.errors import BadInput

from ._extractor import Extractor, Unreadable

EXTRACTOR_VERSION = "1"
"""Part of every batch's id: raise it when the same file would give another text."""

TEXT_SUFFIXES = frozenset({"", ".txt", ".text", ".log", ".md", ".markdown", ".rst"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
SUPPORTED = "text, Markdown, HTML, PDF and DOCX"

# UTF-32 first: its little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,1000}?)</title", re.IGNORECASE | re.DOTALL)
_OFFICE_97 = bytes.fromhex("d0cf11e0a1b11ae1")


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text. `kind`: text, html, pdf or docx; `title` is empty where the file names none."""

    text: str
    kind: str
    title: str = ""


def read_text(name: str, data: bytes, extractor: Extractor, *, timeout: float = 30.0) -> Text:
    """The text of the file `name`. Raises BadInput with a sentence that names the file, the cause and the mend."""
    if not data:
        raise BadInput(f"{name} is empty: there is nothing to index. Upload it again with its content.")
    kind = _kind(name, data)
    if kind == "text":
        return _checked(name, Text(_decode(name, data), kind))
    title = ""
    if kind == "html":
        source = _decode(name, data, declared=_CHARSET.search(data[:4096]))
        found = _TITLE.search(source)
        title = " ".join(html.unescape(found[1]).split()) if found else ""
        data = source.encode()
    try:
        extracted = extractor.extract(data, kind, timeout=timeout)
    except Unreadable as error:
        reason = _reason(str(error), kind)
        raise Unreadable(f"{name} cannot be read as {kind.upper()}: {reason}", passing=error.passing) from error
    if not extracted.text.strip() and extracted.warnings:
        raise BadInput(f"{name} is damaged, no text could be read from it: {extracted.warnings[0]}. Export it again.")
    title = title or ("" if extracted.title == "untitled" else extracted.title)
    return _checked(name, Text(extracted.text, kind, title))


def _checked(name: str, text: Text) -> Text:
    if text.text.strip():
        return text
    mend = "Scanned pages need OCR first." if text.kind == "pdf" else "Upload it again with its content."
    raise BadInput(f"{name} has no text in it: there is nothing to index. {mend}")


def _kind(name: str, data: bytes) -> str:
    """What kind of file it is. Raises BadInput for one that cannot be read."""
    suffix = PurePosixPath(name).suffix.lower()
    if data.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in data[:1024]):
        return "pdf"
    if data.startswith(b"PK\x03\x04") and _is_docx(data):
        return "docx"
    if data.startswith(_OFFICE_97):
        raise BadInput(
            f"{name} is a Word 97 file or protected by a password. Save it as an unprotected .docx and upload it again."
        )
    if suffix in (".pdf", ".docx"):
        raise BadInput(
            f"{name} is not a {suffix[1:].upper()} file, although its name says so: it may be damaged or cut short. "
            "Export it again, or give it its right suffix."
        )
    if suffix in HTML_SUFFIXES:
        return "html"
    if suffix in TEXT_SUFFIXES:
        return "text"
    raise BadInput(f"{name}: files of this kind cannot be read. Supported are {SUPPORTED}.")


def _is_docx(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:  # reads the directory only, unpacks nothing
            return "word/document.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def _decode(name: str, data: bytes, declared: re.Match[bytes] | None = None) -> str:
    """The characters of a text file: by its byte order mark, as UTF-8, as declared, as UTF-16, as Windows-1252."""
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    guesses = [marked] if marked else [_utf16(data), "utf-8", _known(declared), "cp1252", "latin-1"]
    for encoding in filter(None, guesses):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if len(_CONTROL.findall(text)) > 1 + len(text) // 200:  # real text has almost none
            raise BadInput(f"{name} is not text: it holds binary data. Give the file the suffix of its real kind.")
        return _CONTROL.sub(" ", text)
    raise BadInput(f"{name} is marked as {marked} and is not: it is damaged. Save it again as UTF-8.")


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: text of European languages then has a zero in almost every second byte."""
    head = data[:4096]
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


def _reason(message: str, kind: str) -> str:
    """The parser's message as a sentence with a mend."""
    lower = message.lower()
    if "encrypted" in lower or "password" in lower:
        return "it is protected by a password. Save it without one and upload it again."
    if "security limit" in lower:
        return "it unpacks to far more than it is worth, like a zip bomb. Save it again without the large parts."
    detail = message.rsplit("Parsing error: ", maxsplit=1)[-1].rstrip(".")
    return f"{detail}. Export it again as {kind.upper()} or as text."
