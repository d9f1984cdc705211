"""The dispatch benchmark as a picture of bars: `python -m bench.dispatch_plot DISPATCH.json > IT.svg`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench.dispatch_table import OURS, figures
from bench.plot import in_seconds

_LABEL, _BAR, _NUMBER, _ROW, _GAP = 130, 150, 70, 20, 24
_CUT = 6.0
"""A bar that is so many times as long as ours is cut: the number says how long it is."""
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:13px}.s{font-size:11px}"
    ".o{fill:#0b62a4}.p{fill:#b9c4cc}.c{stroke:#fff;stroke-width:3}"
)


def _rate(value: float) -> str:
    return f"{value:,.0f}/s"


PANELS: Sequence[tuple[str, str, Callable[[float], str]]] = (
    ("One client, until the answer", "answer_noop_1", in_seconds),
    ("16 clients, answers", "answer_noop_16:rate", _rate),
    ("Accepted, no worker runs", "accepted", _rate),
    ("Completed, from the first call on", "completed", _rate),
)


def svg(told: Mapping[str, Any]) -> str:
    """A picture of all panels; `told` is what `bench.dispatch --out` writes."""
    found = figures(told)
    panels = [
        (title, [(name, values[key]) for name, values in found.items() if key in values], write)
        for title, key, write in PANELS
    ]
    panel_width = _LABEL + _BAR + _NUMBER
    height = max((len(bars) for _, bars, _ in panels), default=0) * _ROW + 40
    width, columns = 2 * (panel_width + _GAP) + _GAP, 2
    rows = (len(panels) + 1) // columns
    drawn = []
    for number, (title, bars, write) in enumerate(panels):
        x = _GAP + number % columns * (panel_width + _GAP)
        y = _GAP + number // columns * height
        drawn.append(f'<g transform="translate({x} {y})">{_panel(title, bars, write)}</g>')
    whole = rows * height + _GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" role="img">',
            "<title>A call of a function that does nothing, against other queues on the same broker</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{whole}" rx="8" fill="#fff"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def _panel(title: str, bars: Sequence[tuple[str, float]], write: Callable[[float], str]) -> str:
    parts = [f'<text class="t" x="0" y="12">{escape(title)}</text>']
    own = dict(bars).get(OURS, 0.0)
    longest = min(max((value for _, value in bars), default=1.0), own * _CUT or 1.0) or 1.0
    for number, (name, value) in enumerate(sorted(bars, key=lambda bar: bar[1], reverse=write is _rate)):
        y = 24 + number * _ROW
        long = round(_BAR * min(value, longest) / longest, 1)
        parts.append(f'<text class="s" x="{_LABEL - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        kind = "o" if name == OURS else "p"
        parts.append(f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{max(long, 1)}" height="14" rx="2"/>')
        if value > longest:
            at = _LABEL + _BAR - 14
            parts.append(f'<line class="c" x1="{at}" x2="{at + 6}" y1="{y + 16}" y2="{y - 2}"/>')
        parts.append(f'<text class="s" x="{_LABEL + long + 5}" y="{y + 11}">{escape(write(value))}</text>')
    return "".join(parts)


if __name__ == "__main__":
    print(svg(json.loads(Path(sys.argv[1]).read_text())), end="")
