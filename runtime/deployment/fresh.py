"""Importing code of a project as it is in its file now.

Python trusts compiled code (`__pycache__`) whose source has the same size and the same second of change: of two saves
within a second the first would run. So nothing below the root is taken from there, and nothing is written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import PathEntryFinder

_NOT_OURS = frozenset({"site-packages", "dist-packages"})
_TUNDISH = Path(__file__).parent.parent


class FreshLoader(SourceFileLoader):
    """Compiles the source at every import."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def import_fresh(root: Path) -> None:
    """Have everything below `root` that this process imports from now on compiled anew; installed packages are not."""
    hook = _hook(root.resolve())
    sys.path_hooks.insert(0, hook)
    for place in list(sys.path_importer_cache):
        if Path(place).is_relative_to(root):
            del sys.path_importer_cache[place]


def _hook(root: Path) -> Callable[[str], PathEntryFinder]:
    make = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (FreshLoader, [".py"]))

    def hook(place: str) -> PathEntryFinder:
        folder = Path(place or ".").resolve()
        outside = not folder.is_relative_to(root) or folder.is_relative_to(_TUNDISH)
        if outside or _NOT_OURS & set(folder.parts):
            raise ImportError(f"{place} is not part of the project")
        return make(place)

    return hook
