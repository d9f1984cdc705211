"""Forms: `multipart/form-data`, read so that no form fills the memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser

from gateway.web.problems import refuse
from runtime.values.units import format_size

_CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1")
_MOST_FILES, _MOST_FIELDS, _FIELD_BYTES = 100, 200, 2**20


class FormParser(MultiPartParser):
    """Files go to the disk from 32 KiB on. Texts stay in memory, so they have the limit of a body, all together: 413
    as soon as more come."""

    spool_max_size = 32 * 2**10

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], most_text: int) -> None:
        """415 for a charset that is none of a few: Python has some that fail in odd ways, or take long."""
        super().__init__(headers, stream, max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=_FIELD_BYTES)
        self._most_text, self._text = most_text, 0
        charset = parse_options_header(headers["content-type"])[1].get(b"charset", b"utf-8")
        if charset.lower() not in _CHARSETS:
            refuse(415, f"The form's charset is {charset.decode('latin-1')[:100]!r}; send UTF-8.")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._text += end - start
            if self._text > self._most_text:
                refuse(413, f"The form's texts are larger than {format_size(self._most_text)} (limits.body).")
        super().on_part_data(data, start, end)
