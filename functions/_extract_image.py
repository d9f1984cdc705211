"""Text in pictures, through Tesseract. Runs in the extractor's child."""

from __future__ import annotations

from ._extract_found import Found, Limits, Refused
from ._extract_xberg import parsed
from ._pictures import picture_type


async def read(data: bytes, kind: str, limits: Limits) -> Found:
    """Raises Refused."""
    return Found(await recognized(data, picture_type(data), limits))


async def recognized(data: bytes, media: str, limits: Limits) -> str:
    """The text in an image, or on a page of a PDF that is one. Raises Refused."""
    import xberg

    if not limits.languages:
        raise Refused("there is no OCR here")
    # Were one of them missing from the folder, xberg would try to download it.
    tesseract = xberg.TesseractConfig(language=limits.languages, use_cache=False, enable_table_detection=False)
    ocr = xberg.OcrConfig(
        enabled=True,
        backend="tesseract",
        language=limits.languages,
        tessdata_path=limits.tessdata,
        tesseract_config=tesseract,
    )
    document = await parsed(data, media, "image", limits, disable_ocr=False, ocr=ocr)
    return str(document.content).strip()
