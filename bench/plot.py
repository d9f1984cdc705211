"""Small diagrams side by side, as one SVG. No library but Python's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _GAP, _COLUMNS = 290, 220, 24, 3
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 56, 12, 30
_COLOURS = ("#0b62a4", "#c2541b", "#5b7f2b")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:13px}.s{font-size:11px}"
    ".g{stroke:#ddd}.l{fill:none;stroke-width:2}"
)

Places = Sequence[tuple[float, float]]


def count(value: float) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}K" if value >= 1e3 else f"{value:g}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram of at most three lines: their names and places (x, y). `write` labels what is up, `across` the rest.

    Both axes are logarithmic; with `linear` the one that goes up ends at 1.
    """

    title: str
    lines: Sequence[tuple[str, Places]]
    write: Callable[[float], str]
    linear: bool = False
    across: Callable[[float], str] = count


def svg(title: str, panels: Sequence[Panel]) -> str:
    """A picture of all panels; one without a place is left empty."""
    rows = math.ceil(len(panels) / _COLUMNS)
    width, height = _COLUMNS * (_WIDTH + _GAP) + _GAP, rows * (_HEIGHT + _GAP) + _GAP
    drawn = []
    for number, panel in enumerate(panels):
        x = _GAP + number % _COLUMNS * (_WIDTH + _GAP)
        y = _GAP + number // _COLUMNS * (_HEIGHT + _GAP)
        drawn.append(f'<g transform="translate({x} {y})">{_panel(panel)}</g>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    ground = f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>'
    return "\n".join([head, f"<title>{title}</title>", f"<style>{_STYLE}</style>", ground, *drawn, "</svg>", ""])


def _panel(panel: Panel) -> str:
    # What is nothing, or less (memory that was given back), has no place on an axis of powers.
    drawn = [(name, [(x, y) for x, y in places if panel.linear or y > 0]) for name, places in panel.lines]
    series = [(name, places) for name, places in drawn if places]
    parts = [f'<text class="t" x="0" y="12">{panel.title}</text>']
    if not series:
        return "".join(parts)
    across = _axis([x for _, found in series for x, _ in found], linear=False)
    up = _axis([y for _, found in series for _, y in found], linear=panel.linear)
    for tick in across.ticks:
        x = _x(across.place(tick))
        parts.append(f'<line class="g" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        label = panel.across(tick)
        parts.append(f'<text class="s" x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{label}</text>')
    for tick in up.ticks:
        y = _y(up.place(tick))
        parts.append(f'<line class="g" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="s" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{panel.write(tick)}</text>')
    for number, (name, found) in enumerate(series):
        colour = _COLOURS[number]
        places = [(_x(across.place(x)), _y(up.place(y))) for x, y in found]
        joined = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="l" stroke="{colour}" points="{joined}"/>')
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"><title>{name}: {panel.write(value)}</title></circle>'
            for (x, y), (_, value) in zip(places, found, strict=True)
        ]
        at = _LEFT + number * 84 - 56
        parts.append(f'<text class="s" x="{at}" y="32" style="fill:{colour}">● {name}</text>')
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class Axis:
    """From a value to its place between 0 and 1."""

    low: float
    high: float
    ticks: list[float]
    linear: bool

    def place(self, value: float) -> float:
        bend: Callable[[float], float] = float if self.linear else math.log10
        return (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low))


def _axis(values: Sequence[float], *, linear: bool) -> Axis:
    if linear:
        low = min(0.99, math.floor(min(values) * 100) / 100)
        return Axis(low, 1.0, [low + (1 - low) * part / 4 for part in range(5)], linear=True)
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    step = math.ceil((high - low) / 5)
    return Axis(10.0**low, 10.0**high, [10.0**power for power in range(low, high + 1, step)], linear=False)


def _x(place: float) -> float:
    return round(_LEFT + place * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(place: float) -> float:
    return round(_HEIGHT - _BOTTOM - place * (_HEIGHT - _TOP - _BOTTOM), 1)


def in_seconds(value: float) -> str:
    for unit, name in ((1, "s"), (1e-3, "ms")):
        if value >= unit:
            return f"{value / unit:.3g} {name}" if value < 1000 else f"{value:,.0f} s"
    return f"{value * 1e6:.3g} µs"


def in_bytes(value: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:g} B"


def a_second(value: float) -> str:
    return f"{count(value)}/s"
