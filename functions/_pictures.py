"""Which kind of picture some bytes are. Standard library only: both processes have it."""

from __future__ import annotations

_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_FIRST = frozenset(mark[0] for mark in (*(mark for mark, _ in _PICTURES), b"RIFF", b"BM"))


def picture_type(data: bytes) -> str:
    """The media type of an image, empty for what is none."""
    if data[:1] and data[0] not in _FIRST:  # most files, of which many are texts of a few lines
        return ""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"BM") and data[6:10] == b"\0\0\0\0":
        return "image/bmp"
    return next((media for mark, media in _PICTURES if data.startswith(mark)), "")
