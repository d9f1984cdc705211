"""The text of a file, whatever kind of file it is; and one clear sentence where there is none to be had.

Content decides before the suffix does: a PDF named .txt is read as a PDF. Text, Markdown and source code are decoded
here; all else is parsed in a process of its own, which may be ended, and then costs that document only.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from runtime.context import Extraction
from runtime.errors import BadInput

from . import _tessdata
from ._decode import decode
from ._extractor import Extracted, Extractor, Unreadable
from ._kinds import kind_of
from ._language import language_of

EXTRACTOR_VERSION = "3"
"""Part of every batch's id: raise it when the same file would give another text."""

_PLAIN = ("text", "markdown", "code")
_IN_TIME = 0.8
"""The share of the time after which the parser hands over what it has, before it is ended."""

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_HEAD = 2**18
"""Characters of a page in which its title is looked for."""

_TITLE = re.compile(r"<title[^>]{0,200}>(.{0,1000}?)</title", re.IGNORECASE | re.DOTALL)
_CALLED = {"image": "an image", "email": "an e-mail"}


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text. `kind`: text, markdown, code, html, pdf, docx, pptx, xlsx, epub, email or image.

    `title` is empty where the file names none. `pages`: the offsets in `text` at which its pages (slides, sheets)
    begin, ascending; empty where it has none. `language` is a BCP 47 code, or empty. `notes`: what was left out.
    `encoding` is that of a text file. `passing`: another time there may be more of it.
    """

    text: str
    kind: str
    title: str = ""
    pages: tuple[int, ...] = ()
    language: str = ""
    notes: tuple[str, ...] = ()
    encoding: str = ""
    passing: bool = False


def made_by(extraction: Extraction) -> str:
    """By what a file becomes text, for the name of its batch: this code, and those settings that change the text."""
    ocr = "" if extraction.ocr is None else "+".join(extraction.ocr) or "-"
    usual = Extraction()
    if (extraction.ocr, extraction.pages) == (usual.ocr, usual.pages):
        return EXTRACTOR_VERSION
    return f"{EXTRACTOR_VERSION}:{ocr}:{extraction.pages}"


def read_text(
    name: str, data: bytes, extractor: Extractor, *, timeout: float = 30.0, extraction: Extraction | None = None
) -> Text:
    """The text of the file `name`. Raises BadInput with a sentence that names the file, the cause and the mend."""
    if not data:
        raise BadInput(f"{name} is empty: there is nothing to index. Upload it again with its content.")
    kind = kind_of(name, data)
    if kind in _PLAIN:
        text, encoding = decode(name, data)
        language = _language(name, kind, text)
        return Text(text, kind, language=language, notes=_damaged(text, encoding, data), encoding=encoding)
    title, encoding = "", ""
    notes: tuple[str, ...] = ()
    if kind == "html":
        source, encoding = decode(name, data, _CHARSET.search(data[:4096]))
        found = _TITLE.search(source[:_HEAD])
        title = " ".join(html.unescape(found[1]).split()) if found else ""
        notes = _damaged(source, encoding, data)
        data = source.encode()
    asked = extraction or Extraction()
    extracted = _extracted(name, kind, data, extractor, timeout, asked)
    scanned = extracted.scanned > 0 and asked.ocr != ()
    if not _words(extracted.text):
        _refuse(name, extracted, scanned)
    return Text(
        extracted.text,
        kind,
        title or extracted.title,
        tuple(extracted.pages),
        _language(name, kind, extracted.text, extracted.language),
        (*notes, *extracted.notes),
        encoding,
        extracted.passing or scanned,
    )


def _refuse(name: str, extracted: Extracted, scanned: bool) -> None:
    """Why there is no text, where the reader says so. Raises BadInput."""
    if scanned:
        raise Unreadable(f"{name} holds pictures of text, which need OCR. {_tessdata.INSTALL}", passing=True)
    if extracted.passing:
        raise Unreadable(f"{name} was not read in the time there is (`timeout` in functions.yaml).", passing=True)
    if extracted.notes:
        raise BadInput(f"{name} is damaged, no text could be read from it: {extracted.notes[0]}. Export it again.")


def _damaged(text: str, encoding: str, data: bytes) -> tuple[str, ...]:
    """A note of what stands for bytes that are no character, if anything does."""
    count = text.count("\ufffd") if encoding == "utf-8" else 0
    if not count or "\ufffd".encode() in data:
        return ()
    return (f"the file is damaged or cut short: {count} of its characters could not be read",)


def _extracted(
    name: str, kind: str, data: bytes, extractor: Extractor, timeout: float, extraction: Extraction
) -> Extracted:
    languages: list[str] = []
    tessdata = ""
    if kind in ("pdf", "image"):
        try:
            languages, tessdata = _tessdata.found(extraction.ocr, _tessdata.folders())
        except LookupError as error:
            # Once it is installed, the same file can be read.
            raise Unreadable(f"{name} cannot be read: {error}", passing=True) from error
        if kind == "image" and extraction.ocr == ():
            raise BadInput(f"{name} is an image, and reading images is switched off (`ocr: []`).")
        if kind == "image" and not languages:
            raise Unreadable(
                f"{name} is an image: its text can be read by OCR only, which is not installed. {_tessdata.INSTALL}",
                passing=True,
            )
    try:
        return extractor.extract(
            data,
            kind,
            timeout=timeout,
            seconds=timeout * _IN_TIME,
            pages=extraction.pages,
            languages=languages,
            tessdata=tessdata,
        )
    except Unreadable as error:
        called = _CALLED.get(kind, kind.upper())
        reason = _reason(str(error), called)
        raise Unreadable(f"{name} cannot be read as {called}: {reason}", passing=error.passing) from error


def _words(text: str) -> bool:
    return any(map(str.isalnum, text))


def _language(name: str, kind: str, text: str, told: str = "") -> str:
    """The language of a text, or the one that its file tells where it is not clear. Raises BadInput where there is no
    text."""
    if text.strip() if kind in _PLAIN else _words(text):
        return told if kind == "code" else language_of(text) or told
    mend = "Upload it again with its content."
    if kind in ("pdf", "image"):
        mend = "Scanned pages need OCR, whose languages are those of `ocr` in functions.yaml."
    raise BadInput(f"{name} has no text in it: there is nothing to index. {mend}")


def _reason(message: str, called: str) -> str:
    """The parser's message as a sentence with a mend."""
    lower = message.lower()
    if "encrypted" in lower or "password" in lower:
        return "it is protected by a password. Save it without one and upload it again."
    if "too many pages" in lower:
        return "it has more pages than the limit (`pages` in functions.yaml). Split it."
    if "security limit" in lower or "zip bomb" in lower or "security violation" in lower:
        return "it unpacks to far more than it is worth, like a zip bomb. Save it again without the large parts."
    if "image dimensions" in lower:
        return "it has more pixels than can be read. Save it smaller: 300 dots per inch are enough for OCR."
    detail = " ".join(message.rsplit("Parsing error: ", maxsplit=1)[-1].split()).rstrip(".")
    return f"{detail}. Export it again as {called if called.isupper() else 'a PDF'} or as text."
