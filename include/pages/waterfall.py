"""A waterfall as SVG: from a sum before, step by step, to the sum after, with the table behind it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from include.pages.chart import BAR_ROW, CHARACTER, LEAST_NAMES, MOST_NAMES, TOP, WIDTH, Chart, svg_of
from include.pages.style import REST, SERIES, TARGET
from include.pages.table import Table

LABEL = 92  # kept free for a figure beside a bar
SAVES, COSTS = SERIES[2], TARGET


@dataclass(frozen=True)
class Step:
    """One step: what it changes, below zero where the sum falls; None is not known. ``note`` is for the table."""

    name: str
    change: float | None
    note: str = ""


def waterfall_chart(
    title: str, before: tuple[str, float], steps: Sequence[Step], after: tuple[str, float], unit: str
) -> Chart:
    """Rows from the sum ``before`` to the sum ``after`` (name, value); an unknown step moves nothing and says so."""
    rows = [*_rows(before, steps), (after[0], 0.0, after[1], REST, f"{after[1]:,.2f}")]
    highest = max([0.01, *(max(start, end) for _, start, end, _, _ in rows)])
    names = min(MOST_NAMES, max([LEAST_NAMES, *(CHARACTER * len(name) + 16 for name, *_ in rows)]))
    scale = (WIDTH - names - LABEL) / highest
    parts = [part for place, row in enumerate(rows) for part in _bar(row, TOP + place * BAR_ROW, names, scale)]
    height = TOP + BAR_ROW * len(rows) + 22
    parts.append(
        f'<text class="soft" x="{(names + WIDTH) / 2:.1f}" y="{height - 4}" text-anchor="middle">{escape(unit)}</text>'
    )
    described = "; ".join(f"{name} {shown}" for name, _, _, _, shown in rows)
    head = ("", unit, "") if any(step.note for step in steps) else ("", unit)
    return Chart(
        title, f"{unit}: {described}.", svg_of(title, described, parts, height), _table(head, before, steps, after)
    )


Row = tuple[str, float, float, str, str]  # name, from, to, class of the style sheet, figure


def _rows(before: tuple[str, float], steps: Sequence[Step]) -> Iterator[Row]:
    level = before[1]
    yield before[0], 0.0, level, REST, f"{level:,.2f}"
    for step in steps:
        change = step.change if step.change is not None and math.isfinite(step.change) else 0.0
        colour = SAVES if change <= 0 else COSTS
        yield step.name, level, level + change, colour, _shown(step.change)
        level += change


def _bar(row: Row, y: float, names: float, scale: float) -> Iterator[str]:
    name, start, end, colour, shown = row
    low, high = (names + max(0.0, value) * scale for value in sorted((start, end)))
    middle = y + BAR_ROW / 2
    yield f'<text x="{names - 10:.1f}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>'
    area = f'x="{low:.1f}" y="{y + 7:.1f}" width="{max(1.0, high - low):.1f}" height="{BAR_ROW - 14}"'
    yield f'<rect class="{colour}" {area} rx="2"/>'
    yield f'<text class="soft" x="{high + 6:.1f}" y="{middle + 4:.1f}">{escape(shown)}</text>'


def _table(head: tuple[str, ...], before: tuple[str, float], steps: Sequence[Step], after: tuple[str, float]) -> Table:
    rows = [(before[0], f"{before[1]:,.2f}", ""), *((s.name, _shown(s.change), s.note) for s in steps)]
    rows.append((after[0], f"{after[1]:,.2f}", ""))
    return Table(head, tuple(row[: len(head)] for row in rows))


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+,.2f}"
