"""Slides, sheets, books and mail, as small as they can be, made where they are needed."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_SCHEMAS = "http://schemas.openxmlformats.org"
_RELATION = f"{_SCHEMAS}/officeDocument/2006/relationships"
_PACKAGE = f"{_SCHEMAS}/package/2006"


def packed(parts: dict[str, str]) -> bytes:
    """An archive of these members."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return output.getvalue()


def slides(*pages: tuple[str, str]) -> bytes:
    """A PPTX of slides with a title and a text."""
    count = range(1, len(pages) + 1)
    parts = _office("ppt/presentation.xml", [f"/ppt/slides/slide{n}.xml" for n in count], "presentationml", "slide")
    listed = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in count)
    parts["ppt/presentation.xml"] = (
        f'{_HEAD}<p:presentation xmlns:p="{_SCHEMAS}/presentationml/2006/main" xmlns:r="{_RELATION}">'
        f"<p:sldIdLst>{listed}</p:sldIdLst></p:presentation>"
    )
    parts["ppt/_rels/presentation.xml.rels"] = _related("slide", [f"slides/slide{n}.xml" for n in count])
    for number, (title, text) in enumerate(pages, 1):
        parts[f"ppt/slides/slide{number}.xml"] = (
            f'{_HEAD}<p:sld xmlns:a="{_SCHEMAS}/drawingml/2006/main" xmlns:p="{_SCHEMAS}/presentationml/2006/main">'
            f"<p:cSld><p:spTree><p:nvGrpSpPr/><p:grpSpPr/>{_shape('title', title)}{_shape('body', text)}"
            "</p:spTree></p:cSld></p:sld>"
        )
    return packed(parts)


def sheets(**tables: list[list[str]]) -> bytes:
    """An XLSX of named tables."""
    count = range(1, len(tables) + 1)
    main = f"{_SCHEMAS}/spreadsheetml/2006/main"
    parts = _office("xl/workbook.xml", [f"/xl/worksheets/sheet{n}.xml" for n in count], "spreadsheetml", "worksheet")
    listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in enumerate(tables, 1))
    parts["xl/workbook.xml"] = (
        f'{_HEAD}<workbook xmlns="{main}" xmlns:r="{_RELATION}"><sheets>{listed}</sheets></workbook>'
    )
    parts["xl/_rels/workbook.xml.rels"] = _related("worksheet", [f"worksheets/sheet{n}.xml" for n in count])
    for number, rows in enumerate(tables.values(), 1):
        cells = "".join(f'<row r="{n}">{_cells(n, row)}</row>' for n, row in enumerate(rows, 1))
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'{_HEAD}<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
        )
    return packed(parts)


def book(title: str, **chapters: str) -> bytes:
    """An EPUB in German."""
    items = "".join(f'<item id="{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": f'{_HEAD}<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:'
        'container"><rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
        "</container>",
        "book.opf": f'{_HEAD}<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title><dc:language>de</dc:language>'
        f'<dc:identifier id="i">x</dc:identifier></metadata><manifest>{items}</manifest>'
        f"<spine>{spine}</spine></package>",
    }
    for name, text in chapters.items():
        parts[f"{name}.xhtml"] = (
            f'{_HEAD}<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{name}</title></head><body><h1>{name}</h1>'
            f"<p>{text}</p></body></html>"
        )
    return packed(parts)


def mail(subject: str, text: str, *, page: str = "", **files: bytes) -> bytes:
    """An e-mail with attachments."""
    message = EmailMessage()
    message["From"] = "Jürgen Groß <jg@example.com>"
    message["To"] = "anna@example.com"
    message["Subject"] = subject
    if text:
        message.set_content(text)
    if page:
        (message.add_alternative if text else message.set_content)(page, subtype="html")
    for name, data in files.items():
        message.add_attachment(data, maintype="application", subtype="zip", filename=f"{name}.zip")
    return bytes(message)


def _office(main: str, others: list[str], schema: str, kind: str) -> dict[str, str]:
    base = f"application/vnd.openxmlformats-officedocument.{schema}"
    of_main = f"{base}.{'presentation' if schema == 'presentationml' else 'sheet'}.main+xml"
    named = "".join(f'<Override PartName="{name}" ContentType="{base}.{kind}+xml"/>' for name in others)
    return {
        "[Content_Types].xml": f'{_HEAD}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        f'ContentType="application/xml"/><Override PartName="/{main}" ContentType="{of_main}"/>{named}</Types>',
        "_rels/.rels": _related("officeDocument", [main]),
    }


def _related(kind: str, targets: list[str]) -> str:
    listed = "".join(
        f'<Relationship Id="rId{number}" Type="{_RELATION}/{kind}" Target="{target}"/>'
        for number, target in enumerate(targets, 1)
    )
    return f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">{listed}</Relationships>'


def _shape(kind: str, text: str) -> str:
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="2" name="x"/><p:cNvSpPr/><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>'
        f"<p:spPr/><p:txBody><a:bodyPr/><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
    )


def _cells(row: int, values: list[str]) -> str:
    return "".join(
        f'<c r="{chr(65 + place)}{row}" t="inlineStr"><is><t>{value}</t></is></c>' for place, value in enumerate(values)
    )
