"""What kind of file it is: its content decides before its name does. Nothing is unpacked or parsed here."""

from __future__ import annotations

import re
import struct
from pathlib import PurePosixPath

from runtime.errors import BadInput

from ._pictures import picture_type

TEXT_SUFFIXES = frozenset({"", ".txt", ".text", ".log", ".csv", ".tsv", ".srt", ".vtt", ".tex"})
MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".mdx", ".rst", ".adoc", ".org"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
_CODE = """
    py pyi ipynb js mjs cjs jsx ts tsx vue svelte java kt kts scala groovy go rs c h cc cpp cxx hh hpp m mm cs
    fs vb swift rb php pl pm lua r jl dart ex exs erl hs ml clj lisp el sql sh bash zsh fish ps1 bat cmake mk
    gradle tf proto graphql css scss less xml xsd json jsonl ndjson yaml yml toml ini cfg conf properties
    dockerfile nix zig asm s f90 pas v vhd sol diff patch
"""
CODE_SUFFIXES = frozenset("." + suffix for suffix in _CODE.split())
CODE_NAMES = frozenset({"makefile", "dockerfile", "jenkinsfile", "rakefile", "gemfile", "cmakelists.txt"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"})
SUPPORTED = "text, Markdown, HTML, PDF, DOCX, PPTX, XLSX, EPUB, e-mail (.eml), source code and, through OCR, images"

PACKED = {
    "docx": "word/document.xml",
    "pptx": "ppt/presentation.xml",
    "xlsx": "xl/workbook.xml",
    "epub": "META-INF/container.xml",
}
"""Kinds that are archives, each with the member that only it has."""

_DIRECTORY_END = b"PK\x05\x06"
_SHORTEST_END, _LONGEST_END = 22, 22 + 65_535
"""Bytes of the record at the end of an archive, which a comment follows."""

_NAMED = re.compile(
    rb"PK\x01\x02.{24}(?P<length>..).{16}(?P<name>"
    + b"|".join(re.escape(name.encode()) for name in PACKED.values())
    + rb")",
    re.DOTALL,
)
"""The entry of such a member in an archive's directory."""

_OFFICE_97 = bytes.fromhex("d0cf11e0a1b11ae1")
_HEADER = re.compile(rb"\A(?:\xef\xbb\xbf)?(?:From [^\n]{1,500}\n)?[!-9;-~]{1,80}:[ \t\r\n]")


def suffix_of(key: str) -> str:
    """The suffix of a key, in small letters, as `PurePosixPath` finds it, which takes ten times as long."""
    name = key.rpartition("/")[2]
    if name in ("", "."):  # not the end of a path
        return PurePosixPath(key).suffix.lower()
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def kind_of(name: str, data: bytes) -> str:
    """The `kind` of a `Text`. Raises BadInput for a file that cannot be read, or is another than its name says."""
    suffix = suffix_of(name)
    if data.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in data[:1024]):
        return "pdf"
    if data.startswith(b"PK\x03\x04") and (packed := _packed(data)):
        return packed
    if data.startswith(_OFFICE_97):
        raise BadInput(
            f"{name} is a file of Office 97 or protected by a password. Save it as an unprotected .docx, .pptx or "
            ".xlsx and upload it again."
        )
    if picture_type(data):
        return "image"
    if suffix[1:] in ("pdf", *PACKED) or suffix in IMAGE_SUFFIXES or (suffix == ".eml" and not _HEADER.match(data)):
        raise BadInput(
            f"{name} is not {_called(suffix[1:])}, although its name says so: it may be damaged or cut short. "
            "Export it again, or give it its right suffix."
        )
    return _by_name(name, suffix)


def _by_name(name: str, suffix: str) -> str:
    for kind, suffixes in (("html", HTML_SUFFIXES), ("markdown", MARKDOWN_SUFFIXES), ("code", CODE_SUFFIXES)):
        if suffix in suffixes:
            return kind
    if suffix == ".eml":
        return "email"
    last = name.rpartition("/")[2]
    if (PurePosixPath(name).name if last in ("", ".") else last).lower() in CODE_NAMES:
        return "code"
    if suffix in TEXT_SUFFIXES:
        return "text"
    raise BadInput(f"{name}: files of this kind cannot be read. Supported are {SUPPORTED}.")


def _packed(data: bytes) -> str:
    """By the names in its directory. They are looked for as they lie there: a hostile one names millions."""
    end = data.rfind(_DIRECTORY_END, max(0, len(data) - _LONGEST_END))
    if end < 0 or end + _SHORTEST_END > len(data):
        return ""
    size, offset = struct.unpack_from("<II", data, end + 12)
    directory = memoryview(data)[max(0, min(offset, end - size)) : end]
    names = {found["name"] for found in _NAMED.finditer(directory) if _length(found["length"]) == len(found["name"])}
    return next((kind for kind, member in PACKED.items() if member.encode() in names), "")


def _length(field: bytes) -> int:
    return int.from_bytes(field, "little")


def _called(kind: str) -> str:
    if kind == "eml":
        return "an e-mail"
    return f"a {kind.upper()} file" if kind in ("pdf", *PACKED) else "an image"
