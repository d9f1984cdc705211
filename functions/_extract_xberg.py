"""Documents that are read by xberg as they are: HTML, DOCX, PPTX, XLSX and EPUB. Runs in the extractor's child."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._extract_found import Found, Limits, Refused

if TYPE_CHECKING:
    import xberg

_OFFICE = "application/vnd.openxmlformats-officedocument"
MIME_TYPES = {
    "html": "text/html",
    "pdf": "application/pdf",
    "docx": f"{_OFFICE}.wordprocessingml.document",
    "pptx": f"{_OFFICE}.presentationml.presentation",
    "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    "epub": "application/epub+zip",
}
PAGED = ("pdf", "pptx", "xlsx")
"""Kinds whose pages (slides, sheets) are known for sure. Those of a DOCX are made by whoever prints it."""

UNPACKED_LIMIT = 200 * 2**20
"""Bytes of all that an archive unpacks to."""

_HEADING_BEFORE = re.compile(r"(?:\A|\n)(#{1,6} [^\n]*\n+)\Z")
_ENTITY = (b"<!ENTITY", "<!ENTITY".encode("utf-16-le"), "<!ENTITY".encode("utf-16-be"))
_PROLOGUE = 64 * 2**10


async def read(data: bytes, kind: str, limits: Limits) -> Found:
    """Raises Refused."""
    if kind in ("docx", "pptx", "xlsx", "epub"):
        _check_archive(data)
    document = await parsed(data, MIME_TYPES[kind], kind, limits)
    found = Found(document.content, title_of(document), language=document.metadata.language or "")
    found.notes = notes_of(document)
    if kind in PAGED and document.pages:
        contents = [page.content for page in sorted(document.pages, key=lambda page: page.page_number)]
        found.pages = _starts(found.text, contents[: limits.pages])
        if len(contents) > limits.pages:
            cut = _starts(found.text, contents)[limits.pages]
            found.text = found.text[:cut]
            found.notes.append(f"only the first {limits.pages} of {len(contents)} pages were read: that is the limit")
    return found


async def parsed(data: bytes, media: str, kind: str, limits: Limits, **options: Any) -> xberg.ExtractedDocument:
    """A document as xberg reads it. Raises Refused."""
    import xberg

    asked = xberg.ExtractInput(kind="bytes", bytes=data, mime_type=media)
    try:
        result = await xberg.extract(asked, configuration(kind, limits, **options))
    except RuntimeError as error:  # what xberg raises for every document that it cannot read
        raise Refused(str(error)) from error
    if result.errors or not result.results:
        raise Refused("; ".join(error.message for error in result.errors) or "nothing was found in it")
    return result.results[0]


def configuration(kind: str, limits: Limits, **options: Any) -> xberg.ExtractionConfig:
    """How documents of one kind are read: no cache, no threads, small limits; OCR only where `options` ask for it."""
    import xberg

    options = {"disable_ocr": True, "pages": xberg.PageConfig(extract_pages=True)} | options
    return xberg.ExtractionConfig(
        use_cache=False,
        max_archive_depth=0,
        # Its plain text of a DOCX holds the names of styles, and of a HTML page data: URLs of pictures.
        output_format="plain" if kind in ("pdf", "image") else "markdown",
        escape_markdown=False,
        html_options=xberg.ConversionOptions(extract_metadata=False, skip_images=True, strip_tags=["a"]),
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
        security_limits=xberg.SecurityLimits(
            max_content_size=100 * 2**20,
            max_archive_size=UNPACKED_LIMIT,
            max_pages=limits.pages if kind == "pdf" else None,
        ),
        **options,
    )


def title_of(document: xberg.ExtractedDocument) -> str:
    title = document.metadata.title or ""
    return "" if title == "untitled" else title


def notes_of(document: xberg.ExtractedDocument) -> list[str]:
    """What could not be read. Remarks on pages without enough prose to judge, and on photographs, are no damage."""
    return [one.message for one in document.processing_warnings if one.source not in ("ocr", "exif")]


def _check_archive(data: bytes) -> None:
    """Raises Refused for a bomb, and for XML that declares entities, as no office program and no e-book does."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > UNPACKED_LIMIT:
                raise Refused("over the security limit: it unpacks to too much")
            for member in members:
                if member.filename.endswith((".xml", ".rels", ".xhtml", ".html", ".opf", ".ncx")):
                    with archive.open(member) as file:
                        if any(mark in file.read(_PROLOGUE) for mark in _ENTITY):
                            raise Refused(
                                f"{member.filename} in it declares XML entities, as attacks do and documents do not"
                            )
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        if "encrypted" in str(error) or "password" in str(error):
            raise Refused("protected by a password") from error
        raise Refused(f"its archive is damaged ({error})") from error


def _starts(text: str, contents: Sequence[str]) -> list[int]:
    """Where each page's text begins in the whole: with its heading, where that stands before it."""
    starts, place = [0], 0
    for number, content in enumerate(contents):
        wanted = content.strip()[:200]
        at = text.find(wanted, place) if wanted else -1
        if at < 0:
            at = place
        elif heading := _HEADING_BEFORE.search(text[place:at]):
            at = place + heading.start(1)
        if number:
            starts.append(at)
        place = at + min(1, len(wanted))
    return starts
