"""Line charts as SVG text: enough for a model card, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 240, 56, 30, 26
COLOURS = ("#1f2937", "#2563eb", "#93c5fd", "#d97706", "#16a34a")


def line_chart(title: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str) -> str:
    """A chart of ``lines`` over ``x``; a line is interrupted where its value is NaN."""
    known = [value for line in lines.values() for value in line if math.isfinite(value)]
    highest = max(known, default=1.0) or 1.0
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg"'
        ' font-family="sans-serif" font-size="11">',
        f'<text x="{LEFT}" y="14" font-size="13">{escape(title)}</text>',
        *_axes(highest, x, x_label),
    ]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<path d="{path(x, line, highest)}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
        place = WIDTH - 150 * (len(lines) - number)
        parts.append(f'<text x="{place}" y="{TOP}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"])


def _axes(highest: float, x: Sequence[float], label: str) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * highest, highest)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick(share * highest)}</text>')
    for share, anchor in ((0.0, "start"), (1.0, "end")):
        value = x[0] + share * (x[-1] - x[0])
        place = LEFT + share * (WIDTH - 8 - LEFT)
        parts.append(f'<text x="{place:.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}">{round(value):,}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>')
    return parts


def tick(value: float) -> str:
    """A value on an axis: three digits that count, whole numbers from a hundred on, never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.{3 if abs(value) < 1 else 1}f}"


def path(x: Sequence[float], line: Sequence[float], highest: float) -> str:
    """The path of a line; a new piece begins after each NaN."""
    span = (x[-1] - x[0]) or 1.0
    steps, drawing = [], False
    for place, value in zip(x, line, strict=True):
        if not math.isfinite(value):
            drawing = False
            continue
        column = LEFT + (place - x[0]) / span * (WIDTH - 8 - LEFT)
        steps.append(f"{'L' if drawing else 'M'}{column:.1f} {_y(value, highest):.1f}")
        drawing = True
    return " ".join(steps)


def _y(value: float, highest: float) -> float:
    return HEIGHT - BOTTOM - min(value / highest, 1.0) * (HEIGHT - BOTTOM - TOP - 8)
