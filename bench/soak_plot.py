"""A soak as a picture: `python -m bench.soak_plot SOAK.json > SOAK.svg`. No library but Python's own."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.plot import count, in_bytes

_WIDTH, _HEIGHT, _GAP, _COLUMNS = 290, 190, 24, 3
_LEFT, _TOP, _BOTTOM = 56, 28, 30
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:13px}.s{font-size:11px}"
    ".g{stroke:#ddd}.l{fill:none;stroke-width:2;stroke:#0b62a4}.r{stroke:#c2541b;stroke-width:1.5;stroke-dasharray:5 3}"
)
Samples = Sequence[Mapping[str, Any]]


def slope(places: Sequence[tuple[float, float]]) -> float:
    """By how much the line of least squares rises in one unit of x."""
    mean_x, mean_y = (sum(values) / len(places) for values in zip(*places, strict=True))
    across = sum((x - mean_x) ** 2 for x, _ in places)
    return sum((x - mean_x) * (y - mean_y) for x, y in places) / across if across else 0.0


def series(samples: Samples) -> dict[str, tuple[list[tuple[float, float]], Callable[[float], str]]]:
    """The lines of a soak by their name: places (minutes, value), and how a value is written."""
    found: dict[str, tuple[list[tuple[float, float]], Callable[[float], str]]] = {}

    def put(name: str, at: float, value: float, write: Callable[[float], str]) -> None:
        found.setdefault(name, ([], write))[0].append((at / 60, value))

    for sample in samples:
        for kind, taken in sorted(sample["processes"].items()):
            put(f"{kind}, RSS", sample["at"], taken["rss"], in_bytes)
        put("all, open files", sample["at"], sum(one["files"] for one in sample["processes"].values()), count)
        put("all, threads", sample["at"], sum(one["threads"] for one in sample["processes"].values()), count)
        put("broker, memory in use", sample["at"], sample["broker"]["bytes"], in_bytes)
        put("broker, keys", sample["at"], sample["broker"]["keys"], count)
        put("broker, clients", sample["at"], sample["broker"]["clients"], count)
    return found


def second_half(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    middle = (places[0][0] + places[-1][0]) / 2
    return [place for place in places if place[0] >= middle]


def svg(samples: Samples) -> str:
    """A panel for every line; the dashed one is the trend of its second half."""
    found = series(samples)
    rows = math.ceil(len(found) / _COLUMNS)
    width, height = _COLUMNS * (_WIDTH + _GAP) + _GAP, rows * (_HEIGHT + _GAP) + _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    drawn = []
    for number, (name, (places, write)) in enumerate(found.items()):
        x = _GAP + number % _COLUMNS * (_WIDTH + _GAP)
        y = _GAP + number // _COLUMNS * (_HEIGHT + _GAP)
        drawn.append(f'<g transform="translate({x} {y})">{_panel(name, places, write)}</g>')
    ground = f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>'
    title = "<title>Memory, files and threads of every part under a mixed load</title>"
    return "\n".join([head, title, f"<style>{_STYLE}</style>", ground, *drawn, "</svg>", ""])


def _panel(name: str, places: Sequence[tuple[float, float]], write: Callable[[float], str]) -> str:
    last, most = places[-1][0] or 1.0, max(y for _, y in places) * 1.15 or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + x / last * (_WIDTH - _LEFT - 12)
        return round(across, 1), round(_HEIGHT - _BOTTOM - y / most * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [f'<text class="t" x="0" y="12">{name}</text>']
    for part in (0.0, 0.5, 1.0):
        x, y = at(last * part, most * part)
        parts.append(f'<line class="g" x1="{_LEFT}" x2="{_WIDTH - 12}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="s" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{write(most * part)}</text>')
        label = f"{last * part:.3g} min"
        parts.append(f'<text class="s" x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{label}</text>')
    joined = " ".join(f"{x},{y}" for x, y in (at(*place) for place in places))
    parts.append(f'<polyline class="l" points="{joined}"/>')
    half = second_half(places)
    if len(half) > 2:
        rise, middle = slope(half), half[len(half) // 2][0]
        mean = sum(y for _, y in half) / len(half)
        ends = [at(x, mean + rise * (x - middle)) for x in (half[0][0], half[-1][0])]
        (x1, y1), (x2, y2) = ends
        parts.append(f'<line class="r" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    return "".join(parts)


if __name__ == "__main__":
    print(svg(json.loads(Path(sys.argv[1]).read_text())), end="")
