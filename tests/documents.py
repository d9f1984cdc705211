"""Files of every kind that is read, good and bad, made where they are needed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import docx
from reportlab.lib import pdfencrypt
from reportlab.pdfgen import canvas


def pdf(*pages: str, password: str | None = None) -> bytes:
    """A PDF with one text a page."""
    output = io.BytesIO()
    lock = pdfencrypt.StandardEncryption(password, "owner") if password else None
    paper = canvas.Canvas(output, encrypt=lock)
    for page in pages:
        for number, line in enumerate(page.split("\n")):
            paper.drawString(72, 780 - 14 * number, line)
        paper.showPage()
    paper.save()
    return output.getvalue()


def word(*paragraphs: str, heading: str = "") -> bytes:
    """A DOCX."""
    document = docx.Document()
    if heading:
        document.add_heading(heading, 1)
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    output = io.BytesIO()
    document.save(output)
    return output.getvalue()


def bomb(megabytes: int) -> bytes:
    """A small DOCX that unpacks to `megabytes`."""
    output = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(word("MARK"))) as source,
        zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name == "word/document.xml":
                data = data.replace(b"MARK", b"A" * (megabytes * 2**20))
            target.writestr(name, data)
    return output.getvalue()


def patched(data: bytes, member: str, change: Callable[[bytes], bytes]) -> bytes:
    """A packed document with another content of one member."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            part = source.read(name)
            target.writestr(name, change(part) if name == member else part)
    return output.getvalue()


def raw_pdf(*objects: bytes) -> bytes:
    """A PDF of these objects, numbered from 1; the first one is the catalogue."""
    parts, places = [b"%PDF-1.4\n"], []
    size = len(parts[0])
    for number, body in enumerate(objects, 1):
        places.append(size)
        parts.append(b"%d 0 obj\n%s\nendobj\n" % (number, body))
        size += len(parts[-1])
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table))
    parts.append(b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, size))
    return b"".join(parts)


FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def stream(content: bytes, more: bytes = b"") -> bytes:
    """A stream object of a PDF."""
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (more, len(content), content)


def long_pdf(pages: int) -> bytes:
    """A PDF of many pages, each with its number: made quickly."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(pages))
    body: list[bytes] = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, pages), FONT]
    for number in range(pages):
        place = b"/MediaBox[0 0 600 800]/Resources<</Font<</F1 3 0 R>>>>"
        body.append(b"<</Type/Page/Parent 2 0 R%s/Contents %d 0 R>>" % (place, 5 + 2 * number))
        body.append(stream(b"BT /F1 12 Tf 72 700 Td (This is page number %d.) Tj ET" % (number + 1)))
    return raw_pdf(*body)
