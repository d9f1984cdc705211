"""What somebody probably meant who wrote a name that there is not."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str]) -> str:
    """`, did you mean X?`, or what there is to choose from."""
    import difflib  # for mistakes only

    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=5, cutoff=0.6)
    if close:
        return f", did you mean {max(close, key=lambda choice: _likeness(choice, word))}?"
    return f"; there is {', '.join(sorted(choices))}" if choices else ""


def _likeness(choice: str, word: str) -> tuple[float, bool]:
    """Of those that are as close, the one that begins alike."""
    import difflib

    return difflib.SequenceMatcher(None, choice, word).ratio(), choice[:1] == word[:1]
