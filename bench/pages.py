"""Tables in pages of the documentation: each stands between two comments with its name."""

from __future__ import annotations


def put(page: str, name: str, made: str) -> str:
    """The page with a table in its place."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"the page has no place for it: {begin} … {end}"
    return f"{before}{begin}\n{made}\n{end}{after}"
