"""Cutting a text into pieces that a model can take whole. Pure: token offsets in, character ranges out.

Where a piece ends depends on the text around that place, not on how many pieces came before: after an edit the pieces
behind it are soon the same again, and so are their vectors.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from ._layout import Layout, joined
from ._tables import in_row

CHUNKER_VERSION = "2"
"""Part of every batch's id: raise it when the same text would be cut differently."""

LIMIT = 254
"""Tokens of a chunk: the model takes 256, two of which are its own."""

OVERLAP = 32
"""Tokens that a chunk repeats of the one before, so that a thought on the border is whole in one of them."""

SECTION = 200_000
"""Characters that are tokenised at once, so that memory does not grow with the document."""

# A token longer than this stands for something unreadable (a base64 line); several of them must not make a huge chunk.
_LONGEST_TOKEN = 256
_OWN = 8
_SENTENCE_ENDS = frozenset(".!?…。！？")
_CLOSERS = "\"')]}»”’"
_HEADING, _PARAGRAPH, _SENTENCE, _WORD = 4, 3, 2, 1
# From here on Unicode holds the scripts that are written without spaces: a border is everywhere.
_UNSPACED = "\u2e80"

Range = tuple[int, int]


_NONE = Layout()


def chunk(
    text: str, offsets: Sequence[Range], limit: int = LIMIT, overlap: int = OVERLAP, layout: Layout = _NONE
) -> list[Range]:
    """Character ranges of the chunks of `text`, in order.

    `offsets`: character offsets of its tokens, ascending. A chunk has at most `limit` tokens and ends, where it can,
    before a heading or what else begins by the `layout`, else between paragraphs, else sentences or lines, else words.
    Every character but white space is in some chunk; a chunk repeats up to `overlap` tokens (less than half of `limit`)
    of the one before, but for one with which something new begins.
    """
    if not 0 <= overlap * 2 < limit:
        raise ValueError(f"overlap {overlap} must be less than half of limit {limit}")
    if len(offsets) + len(text) // _LONGEST_TOKEN <= limit:  # most texts: one chunk, if they have any token
        return [stripped(text, 0, len(text))] if offsets else []
    tokens = list(_short(offsets))
    chunks: list[Range] = []
    first = 0
    while first < len(tokens):
        last = first + limit
        cut = _cut(text, tokens, first, limit, overlap, layout) if last < len(tokens) else len(tokens)
        # What the tokenizer leaves out (an accent, a control character) belongs to the token before it.
        start = tokens[first][0] if first else 0
        end = tokens[cut][0] if cut < len(tokens) else len(text)
        chunks.append(stripped(text, start, end))
        if cut == len(tokens):
            break
        first = _resume(text, tokens, cut, overlap, layout)
    return chunks


def is_one(text: str, limit: int = LIMIT) -> bool:
    """Whether a text is one chunk whatever the tokenizer: of ASCII none makes more tokens than there are characters,
    but for some of its own."""
    return len(text) + _OWN <= limit and text.isascii() and any(map(str.isalnum, text))


def sections(text: str, size: int = SECTION, layout: Layout = _NONE) -> Iterator[Range]:
    """Ranges that make up `text`, each of at most `size` characters, cut where something new begins by the `layout`,
    else at a paragraph, a line or a space."""
    start = 0
    while len(text) - start > size:
        half, most = start + size // 2, start + size
        begin = next(layout.before(most), 0)
        end = begin if begin > half else 0
        end = end or next(filter(None, (_after(text, border, half, most) for border in ("\n\n", "\n", " "))), 0)
        # A script that is written without spaces, or no text at all.
        end = end or next((place for place in range(most, half, -1) if not joined(text, place)), most)
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _after(text: str, border: str, first: int, last: int) -> int:
    """The place behind the last such border, 0 where there is none."""
    found = text.rfind(border, first, last)
    return found + len(border) if found >= 0 else 0


def _short(offsets: Sequence[Range]) -> Iterator[Range]:
    for start, end in offsets:
        for part in range(start, end, _LONGEST_TOKEN):
            yield part, min(end, part + _LONGEST_TOKEN)


def _border(text: str, tokens: Sequence[Range], place: int, layout: Layout) -> int:
    """How good a place to cut it is before token `place`: 0 is inside a word."""
    end, start = tokens[place - 1][1], tokens[place][0]
    if joined(text, start):
        return 0
    gap = text[end:start]
    if layout.torn(end, start):
        return _WORD
    if layout.begins(end, start):
        return _HEADING
    if "\n\n" in gap or gap.count("\n") > 1:
        return _PARAGRAPH
    if "\n" in gap:
        return _SENTENCE
    if gap and text[max(0, end - 4) : end].rstrip(_CLOSERS)[-1:] in _SENTENCE_ENDS and text[end - 1] not in "|":
        # A line of source code and the row of a table are wholes: a full stop within them ends nothing.
        return _WORD if layout.rows or in_row(text, start) else _SENTENCE
    left, right = text[end - 1 : end], text[start : start + 1]
    if (gap and not gap.strip()) or not (left.isalnum() and right.isalnum()) or max(left, right) >= _UNSPACED:
        return _WORD
    return 0


def _cut(text: str, tokens: Sequence[Range], first: int, limit: int, overlap: int, layout: Layout) -> int:
    """Where the chunk that begins at token `first` ends: before the last heading, unless hardly anything would be left
    of it; else at the last good border in its second half."""
    last, least = first + limit, first + overlap + 1
    for start in layout.before(tokens[last][0]):
        place = bisect_left(tokens, (start, start))
        if place < max(first + limit // 4, least):
            break
        if _border(text, tokens, place, layout) == _HEADING:
            return place
    sentence = 0
    for place in range(last, max(first + limit // 2, least) - 1, -1):
        border = _border(text, tokens, place, layout)
        if border >= _PARAGRAPH:
            return place
        sentence = sentence or (place if border == _SENTENCE else 0)
    if sentence:
        return sentence
    places = range(last, least - 1, -1)
    word = next((place for place in places if _border(text, tokens, place, layout)), 0)
    return word or next((place for place in places if not joined(text, tokens[place][0])), last)


def _resume(text: str, tokens: Sequence[Range], cut: int, overlap: int, layout: Layout) -> int:
    """The token with which the next chunk begins: the first good border within the overlap, else `cut` itself."""
    if _border(text, tokens, cut, layout) == _HEADING:
        return cut
    for least in (_SENTENCE, _WORD):
        for place in range(cut - overlap, cut):
            if _border(text, tokens, place, layout) >= least:
                return place
    return cut


def stripped(text: str, start: int, end: int) -> Range:
    """The range without the white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
