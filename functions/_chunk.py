"""Cutting a text into pieces that a model can take whole. Pure: token offsets in, character ranges out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

CHUNKER_VERSION = "1"
"""Part of every batch's id: raise it when the same text would be cut differently."""

LIMIT = 254
"""Tokens of a chunk: the model takes 256, two of which are its own."""

OVERLAP = 32
"""Tokens that a chunk repeats of the one before, so that a thought on the border is whole in one of them."""

SECTION = 200_000
"""Characters that are tokenised at once, so that memory does not grow with the document."""

# A token longer than this stands for something unreadable (a base64 line); several of them must not make a huge chunk.
_LONGEST_TOKEN = 256
_SENTENCE_ENDS = frozenset(".!?…。！？")
_CLOSERS = "\"')]}»”’"
_PARAGRAPH, _SENTENCE, _WORD = 3, 2, 1
# From here on Unicode holds the scripts that are written without spaces: a border is everywhere.
_UNSPACED = "\u2e80"

Range = tuple[int, int]


def chunk(text: str, offsets: Sequence[Range], limit: int = LIMIT, overlap: int = OVERLAP) -> list[Range]:
    """Character ranges of the chunks of `text`, in order.

    `offsets`: character offsets of its tokens, ascending. A chunk has at most `limit` tokens and ends, where it can,
    between paragraphs, else sentences, else words. Every character but white space is in some chunk; a chunk repeats
    up to `overlap` tokens (less than half of `limit`) of the one before.
    """
    if not 0 <= overlap * 2 < limit:
        raise ValueError(f"overlap {overlap} must be less than half of limit {limit}")
    tokens = list(_short(offsets))
    chunks: list[Range] = []
    first = 0
    while first < len(tokens):
        last = first + limit
        cut = _cut(text, tokens, first, limit, overlap) if last < len(tokens) else len(tokens)
        # What the tokenizer leaves out (an accent, a control character) belongs to the token before it.
        start = tokens[first][0] if first else 0
        end = tokens[cut][0] if cut < len(tokens) else len(text)
        chunks.append(_stripped(text, start, end))
        if cut == len(tokens):
            break
        first = _resume(text, tokens, cut, overlap)
    return chunks


def sections(text: str, size: int = SECTION) -> Iterator[Range]:
    """Ranges that make up `text`, each of at most `size` characters, cut at a paragraph, a line or a space."""
    start = 0
    while len(text) - start > size:
        half, end = start + size // 2, start + size
        for border in ("\n\n", "\n", " "):
            found = text.rfind(border, half, end)
            if found >= 0:
                end = found + len(border)
                break
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _short(offsets: Sequence[Range]) -> Iterator[Range]:
    for start, end in offsets:
        for part in range(start, end, _LONGEST_TOKEN):
            yield part, min(end, part + _LONGEST_TOKEN)


def _border(text: str, tokens: Sequence[Range], place: int) -> int:
    """How good a place to cut it is before token `place`: 0 is inside a word."""
    end, start = tokens[place - 1][1], tokens[place][0]
    gap = text[end:start]
    if "\n\n" in gap or gap.count("\n") > 1:
        return _PARAGRAPH
    before = text[max(0, end - 4) : end].rstrip(_CLOSERS)[-1:]
    if gap and ("\n" in gap or before in _SENTENCE_ENDS):
        return _SENTENCE
    left, right = text[end - 1 : end], text[start : start + 1]
    if (gap and not gap.strip()) or not (left.isalnum() and right.isalnum()) or max(left, right) >= _UNSPACED:
        return _WORD
    return 0


def _cut(text: str, tokens: Sequence[Range], first: int, limit: int, overlap: int) -> int:
    """Where the chunk that begins at token `first` ends: the last good border in its second half."""
    last = first + limit
    for least, lowest in ((_PARAGRAPH, limit // 2), (_SENTENCE, limit // 2), (_WORD, overlap + 1)):
        for place in range(last, first + max(lowest, overlap + 1) - 1, -1):
            if _border(text, tokens, place) >= least:
                return place
    return last


def _resume(text: str, tokens: Sequence[Range], cut: int, overlap: int) -> int:
    """The token with which the next chunk begins: the first good border within the overlap, else `cut` itself."""
    for least in (_SENTENCE, _WORD):
        for place in range(cut - overlap, cut):
            if _border(text, tokens, place) >= least:
                return place
    return cut


def _stripped(text: str, start: int, end: int) -> Range:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
