"""The dispatch benchmark as Markdown: `python -m bench.dispatch_table DISPATCH.json [PAGE.md]`.

In the page it takes the place of what is between the two comments.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.dispatch_house import LOADS
from bench.pages import put
from bench.peers.plans import PLANS
from bench.plot import in_seconds

OURS = "tundish"
Figures = Mapping[str, Mapping[str, float]]
_NAMES = {
    "sync_p50": ("answer_noop_1", "celery"),
    "async_vs_flower": ("accepted", "flower"),
    "async_vs_celery_enqueue": ("accepted", "celery"),
}


def figures(told: Mapping[str, Any], fsync: str = "always") -> dict[str, dict[str, float]]:
    """What was measured, by who was, us included: `answer_noop_1`, `answer_noop_1:rate`, `accepted`, `completed` …"""
    found: dict[str, dict[str, float]] = {OURS: {}}
    for line in told["lines"]:
        name = str(line["metric"]).removesuffix(f"_{line.get('appendfsync')}")
        kind, peer = _NAMES.get(name) or (name.partition("_vs_")[0], line.get("peer_name", ""))
        if line.get("appendfsync") != fsync or line.get("peer") is None or not re.match(_KINDS, kind):
            continue
        for who, value, rate in ((OURS, "ours", "rate"), (peer, "peer", "peer_rate")):
            found.setdefault(who, {})[kind] = line[value]
            if rate in line and kind.startswith("answer"):
                found[who][f"{kind}:rate"] = line[rate]
    return found


_KINDS = r"(answer_|accepted$|drained$|completed$)"


def page(told: Mapping[str, Any]) -> str:
    """Two tables: everybody with a function that does nothing, and all loads against plain Celery."""
    return f"{peers(told)}\n\n{loads(figures(told))}"


def peers(told: Mapping[str, Any]) -> str:
    """A row for each. In brackets: how many times theirs ours is, under a second where less is better."""
    found = figures(told)
    versions, missing = told["machine"]["versions"], {line.get("peer_name"): line.get("why") for line in told["lines"]}
    rows = [["", *(title for title, _, _ in COLUMNS)], ["---", *["---:"] * len(COLUMNS)]]
    for name in (OURS, *(plan.name for plan in PLANS)):
        if name in found:
            label = f"**{name}**" if name == OURS else f"{name} {versions.get(name, '')}".strip()
            rows.append([label, *(_cell(found, name, key, write) for _, key, write in COLUMNS)])
        elif name in missing:
            rows.append([name, "missing", *[""] * (len(COLUMNS) - 1)])
    return _markdown(rows)


def loads(found: Figures) -> str:
    """Ours against plain Celery's, by load and number of clients."""
    rows = [["", "1 client, until the answer", "16 clients, answers a second"], ["---", "---:", "---:"]]
    for load in LOADS:
        cells = [_cell(found, "celery", f"answer_{load}_1", in_seconds, ours=True)]
        cells.append(_cell(found, "celery", f"answer_{load}_16:rate", _rate, ours=True))
        rows.append([load.replace("_", ", "), *cells])
    return _markdown(rows)


def _cell(found: Figures, name: str, key: str, write: Callable[[float], str], *, ours: bool = False) -> str:
    value, own = found.get(name, {}).get(key), found[OURS].get(key)
    if value is None or own is None:
        return ""
    if name == OURS:
        return write(value)
    return f"{write(own if ours else value)} ({own / value:.2f} ×)" if value else write(value)


def _rate(value: float) -> str:
    return f"{value:,.0f}/s"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


COLUMNS: Sequence[tuple[str, str, Callable[[float], str]]] = (
    ("1 client, until the answer", "answer_noop_1", in_seconds),
    ("16 clients, until the answer", "answer_noop_16", in_seconds),
    ("16 clients, answers", "answer_noop_16:rate", _rate),
    ("accepted", "accepted", _rate),
    ("worked off", "drained", _rate),
    ("completed", "completed", _rate),
)


def main() -> None:
    file, *pages = (Path(name) for name in sys.argv[1:])
    made = page(json.loads(file.read_text()))
    print(made)
    for one in pages:
        one.write_text(put(one.read_text(), "dispatch", made))


if __name__ == "__main__":
    main()
