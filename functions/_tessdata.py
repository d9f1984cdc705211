"""Where the language data of Tesseract is: beside this Python (the extra `ocr`), or where the system keeps it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

USUAL = ("deu", "eng")
"""Languages that are read where nobody said which, as far as they are here."""

_SYSTEM = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)


def folders() -> list[Path]:
    """Every folder that may hold language data, the first one first."""
    return [Path(sys.prefix, "share", "tessdata"), *map(Path, _SYSTEM)]


def found(languages: Sequence[str] | None, places: Sequence[Path]) -> tuple[list[str], str]:
    """The languages to read pictures in, and the folder that has them all; none and empty where there is no OCR.

    None asks for the usual ones. Raises LookupError, with a sentence, where a language was asked for that is not here.
    """
    if languages is not None and not languages:
        return [], ""
    for place in places:
        there = [name for name in languages or USUAL if (place / f"{name}.traineddata").is_file()]
        if there and (languages is None or len(there) == len(languages)):
            return there, str(place)
    if languages is None:
        return [], ""
    known = sorted({file.stem for place in places for file in place.glob("*.traineddata")} - {"osd"})
    raise LookupError(
        f"the language data of Tesseract for {' and '.join(languages)} is not here, or not in one folder; there is "
        f"{', '.join(known) or 'none at all'}. {INSTALL}"
    )


INSTALL = (
    "Install it: pip install 'tundish[ocr]' for German and English, or your system's packages (tesseract-ocr-deu …) "
    "for others."
)
