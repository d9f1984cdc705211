"""Patterns of object keys, as shells with `globstar` have them."""

from __future__ import annotations

from collections.abc import Sequence


class Globs:
    """Whether a key fits one of some patterns: `*` and `?` stop at a slash, `**` does not, `{a,b}` is either.

    Raises ValueError for patterns that stand for too many.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        from wcmatch import glob

        flags = glob.GLOBSTAR | glob.DOTGLOB | glob.BRACE | glob.FORCEUNIX
        try:
            self._matcher = glob.compile(list(patterns), flags=flags)
        except Exception as error:
            raise ValueError(f"{', '.join(patterns)!r:.120} cannot be used as a pattern: {error}") from error

    def match(self, key: str) -> bool:
        return bool(self._matcher.match(key))
