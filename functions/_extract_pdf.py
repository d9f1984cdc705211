"""PDF, some pages at a time: what was read before the time is up is not lost. Runs in the extractor's child."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ._extract_found import Found, Limits, Refused, joined, ranged
from ._extract_image import recognized
from ._extract_xberg import MIME_TYPES, notes_of, parsed, title_of

if TYPE_CHECKING:
    import pypdfium2

WHOLE = 64
"""Pages of a document that is read in one go. What xberg takes grows with the square of the pages."""

SLICE = 50
"""Pages at a time of a longer one: the fastest of 50, 100 and 250."""

_MOST_EXAMINED = 500
"""Pages without text that are looked at for pictures."""

_END, _TAIL = b"%%EOF", 1024
_CATALOGUE = re.compile(rb"(\d{1,9}) 0 obj\s{0,9}<<[^>]{0,999}/Type\s{0,9}/Catalog")

_IMAGE = 3
"""FPDF_PAGEOBJ_IMAGE."""


async def read(data: bytes, kind: str, limits: Limits) -> Found:
    """Raises Refused."""
    with _opened(data) as source:
        total = len(source) if source is not None else 0
        if source is None:
            found, pages = await _whole(data, kind, limits)
        elif total > min(WHOLE, limits.pages):
            found, pages = await _sliced(source, total, kind, limits)
        else:
            try:
                found, pages = await _whole(data, kind, limits)
            except Refused:  # some of its pages may be sound
                found, pages = await _sliced(source, total, kind, limits)
        if source is not None:
            await _pictures(source, pages, found, limits)
    text, starts = joined(pages)
    # A reader that puts less into pages than into the whole is not trusted with the pages.
    if len(text) * 10 >= len(found.text.strip()) * 9:
        found.text, found.pages = text, starts
    if found.text.strip() and _END not in data[-_TAIL:]:
        found.notes.insert(0, "the file is cut short: this is what could be read of it")
    return found


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[pypdfium2.PdfDocument | None]:
    """The document, to count its pages and take some out. None where that cannot be done (damage, a password)."""
    import pypdfium2

    for candidate in (data, _ended(data)):
        try:
            document = pypdfium2.PdfDocument(candidate) if candidate else None
        except pypdfium2.PdfiumError:
            continue
        if document is not None:
            with contextlib.closing(document):
                yield document
            return
    yield None


def _ended(data: bytes) -> bytes:
    """A document that was cut short, with an end that names its catalogue; empty where it cannot be told."""
    catalogue = None if _END in data[-_TAIL:] else _CATALOGUE.search(data)
    if catalogue is None:
        return b""
    whole = data[: data.rindex(b"endobj") + 6] if b"endobj" in data else data
    return whole + b"\ntrailer<</Root %s 0 R>>\nstartxref\n0\n%s" % (catalogue[1], _END)


async def _whole(data: bytes, kind: str, limits: Limits) -> tuple[Found, list[str]]:
    document = await parsed(data, MIME_TYPES["pdf"], kind, limits)
    found = Found(document.content, title_of(document), notes=notes_of(document))
    return found, [page.content.strip() for page in document.pages or ()]


async def _sliced(source: pypdfium2.PdfDocument, total: int, kind: str, limits: Limits) -> tuple[Found, list[str]]:
    wanted = min(total, limits.pages)
    found = Found(title=source.get_metadata_value("Title") or "")
    found.title = "" if found.title == "untitled" else found.title
    pages: list[str] = []
    lost: list[int] = []
    if wanted < total:
        found.notes.append(f"only the first {wanted} of {total} pages were read: that is the limit")
    for first in range(0, wanted, SLICE):
        if limits.over():
            found.notes.append(f"only the first {first} of {total} pages were read: the time was up")
            found.passing = True
            break
        numbers = range(first, min(first + SLICE, wanted))
        pages += await _some(source, numbers, kind, limits, found.notes, lost)
    if lost:
        found.notes.append(f"not read: {ranged([number + 1 for number in lost])} (damaged)")
    if not any(pages) and lost:
        raise Refused("none of its pages could be read")
    return found, pages


async def _some(
    source: pypdfium2.PdfDocument, numbers: range, kind: str, limits: Limits, notes: list[str], lost: list[int]
) -> list[str]:
    """The texts of some pages. Those that cannot be read are found by halves, as far as the time goes."""
    try:
        document = await parsed(_taken(source, numbers), MIME_TYPES["pdf"], kind, limits)
    except Refused:
        if len(numbers) == 1 or limits.over():
            lost += numbers
            return [""] * len(numbers)
        half = len(numbers) // 2
        first = await _some(source, numbers[:half], kind, limits, notes, lost)
        return first + await _some(source, numbers[half:], kind, limits, notes, lost)
    notes += notes_of(document)
    texts = [page.content.strip() for page in document.pages or ()]
    return (texts + [""] * len(numbers))[: len(numbers)]


def _taken(source: pypdfium2.PdfDocument, numbers: Sequence[int]) -> bytes:
    """A document of some of the pages (from 0). Raises Refused."""
    import pypdfium2

    output = io.BytesIO()
    try:
        with contextlib.closing(pypdfium2.PdfDocument.new()) as part:
            part.import_pages(source, list(numbers))
            part.save(output)
    except pypdfium2.PdfiumError as error:
        raise Refused(str(error)) from error
    return output.getvalue()


async def _pictures(source: pypdfium2.PdfDocument, pages: list[str], found: Found, limits: Limits) -> None:
    """Read the pages that are pictures of text, where there is OCR; else note that they are there."""
    empty = [number for number, page in enumerate(pages) if not page][:_MOST_EXAMINED]
    scanned = [number for number in empty if _has_picture(source, number)]
    left: list[int] = scanned
    if limits.languages:
        left = []
        for number in scanned:
            if limits.over():
                left.append(number)
                found.passing = True
                continue
            try:
                taken = recognized(_taken(source, [number]), MIME_TYPES["pdf"], limits)
                pages[number] = await asyncio.wait_for(taken, limits.left())
            except TimeoutError:  # the text of the other pages is not lost for it
                found.passing = found.busy = True
            except Refused:
                pass
            if not pages[number]:
                left.append(number)
    found.scanned = 0 if limits.languages else len(left)
    if left and any(pages):
        why = "no text was recognized in the pictures" if limits.languages else "pictures, which need OCR"
        why = "pictures, for which the time was too short" if found.passing else why
        found.notes.append(f"not read: {ranged([number + 1 for number in left])} ({why})")


def _has_picture(source: Any, number: int) -> bool:
    import pypdfium2

    try:
        with contextlib.closing(source[number]) as page:
            return next(iter(page.get_objects(filter=[_IMAGE], max_depth=2)), None) is not None
    except pypdfium2.PdfiumError:
        return False
