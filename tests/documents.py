"""Files of every kind that is read, good and bad, made where they are needed."""

from __future__ import annotations

import io
import zipfile

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
