"""Requirements of functions, as they are written in functions.yaml."""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

LONGEST_BASE = 87
"""Characters of the name of a queue whose copies have `.env-` and a key behind theirs."""

_SECRETS = re.compile(r"//[^/\s]+@")
_FILES = (".whl", ".tar.gz", ".zip")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[\w\s,.-]*\])?\s*([<>=!~@;(].*)?", re.DOTALL)


def in_order(requirements: Collection[str]) -> list[str]:
    """Each of them once; how they were written down makes no difference."""
    return sorted({one.strip() for one in requirements})


def key(requirements: Collection[str]) -> str:
    """Names a set of requirements: 8 hex digits, the same on every host."""
    return sha256("\n".join(in_order(requirements)).encode()).hexdigest()[:8]


def is_file(requirement: str) -> bool:
    """Whether a requirement names a file beside functions.yaml instead of a package of an index."""
    return "@" not in requirement and (requirement.startswith(("./", "../", "/")) or requirement.endswith(_FILES))


def shown(text: str) -> str:
    """What may be shown or kept of a text with requirements: without the names and tokens in addresses."""
    return _SECRETS.sub("//…@", text)


def problem_of(requirement: str, root: Path) -> str | None:
    """What is wrong with a requirement, and how to mend it."""
    told = shown(requirement)
    if is_file(requirement):
        if not requirement.endswith(_FILES):
            return f"{requirement} is no package; name a {', '.join(_FILES)} file (python -m build makes one)"
        if not (root / requirement).is_file():
            return f"there is no file {requirement} in {root}"
        return None
    if requirement.startswith("-") or requirement.endswith(".txt"):
        return f"{told!r} is for pip's command line; list the packages here, like [pandas>=2, ./wheels/mine.whl]"
    if not _PACKAGE.fullmatch(requirement) or "\n" in requirement:
        return f"{told!r} is no package; write it like pandas, pandas>=2 or ./wheels/mine.whl"
    return None
