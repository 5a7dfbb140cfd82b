"""Charts as SVG: lines over time, stacked columns, and bars against a mark, each with the table behind it.

Drawn here, without a plotting library: the same figures give the same bytes. Text takes the page's colour, series take
theirs from the style sheet, light or dark. A title and a description are there for who can't see the picture.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import ClassVar

from include.pages.style import REST, SERIES, TARGET
from include.pages.table import Table

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 720, 240, 56, 8, 34, 14
BAR_ROW = 30  # height of a bar's row
CHARACTER, LEAST_NAMES, MOST_NAMES = 6.8, 90, 300  # width of a letter, and of the names beside bars
SHOWN_POINTS = 48  # of a line, in the table behind it
LABEL_WIDTH = 100  # kept free at the end of the longest bar, for its figure


@dataclass(frozen=True)
class Chart:
    """A picture. ``legend`` maps names to classes of the style sheet; ``table`` holds the figures behind it."""

    kind: ClassVar[str] = "chart"
    title: str
    description: str
    svg: str
    table: Table
    legend: tuple[tuple[str, str], ...] = ()


def svg_of(title: str, description: str, parts: Sequence[str], height: float) -> str:
    """The parts as one SVG with title and description, as wide as the page."""
    head = (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    )
    return "\n".join([head, *parts, "</svg>"])


def series_class(place: int) -> str:
    """The style sheet's class of a chart's series by its place."""
    return SERIES[place % len(SERIES)]


# --- Axes -------------------------------------------------------------------------------------------------------------


def tick(value: float) -> str:
    """A value on an axis: three digits that count, whole numbers from a hundred on, never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.{3 if abs(value) < 1 else 1}f}"


def round_up(value: float) -> float:
    """The next value that reads well at the end of an axis: such as 1, 1.2, 1.5, 2 or 2.5 times a power of ten."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9))


@dataclass(frozen=True)
class Scale:
    """Where a value of ``low`` .. ``high`` stands between the chart's bottom and its top."""

    low: float
    high: float
    height: float = HEIGHT

    def y(self, value: float) -> float:
        """The height on the picture; what is above ``high`` stands at the top."""
        share = (min(value, self.high) - self.low) / (self.high - self.low)
        return self.height - BOTTOM - share * (self.height - BOTTOM - TOP)

    def grid(self) -> Iterator[str]:
        """Lines with their values."""
        values = {self.low, self.high, (self.low + self.high) / 2} | ({0.0} if self.low < 0 else set())
        for value in sorted(values):
            y = self.y(value)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="soft" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick(value)}</text>'


def _label(x: float, y: float, text: str, anchor: str = "middle", style: str = "soft") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


# --- Lines ------------------------------------------------------------------------------------------------------------


def line_chart(
    title: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str, description: str = ""
) -> Chart:
    """``lines`` over ``x`` (at least one value); a line is interrupted where its value is NaN."""
    known = [value for line in lines.values() for value in line if math.isfinite(value)]
    highest = round_up(max(known, default=1.0))
    parts = list(Scale(0.0, highest).grid())
    for share, anchor in ((0.0, "start"), (1.0, "end")):
        value = x[0] + share * (x[-1] - x[0])
        parts.append(_label(LEFT + share * (WIDTH - RIGHT - LEFT), HEIGHT - 18, f"{round(value):,}", anchor))
    parts.append(_label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label))
    for place, line in enumerate(lines.values()):
        parts.append(f'<path class="l-{series_class(place)}" stroke-width="1.6" d="{path(x, line, highest)}"/>')
    description = description or f"{', '.join(lines)} by {x_label}, up to {tick(max(known, default=0.0))}."
    legend = tuple((name, series_class(place)) for place, name in enumerate(lines))
    return Chart(title, description, svg_of(title, description, parts, HEIGHT), _line_table(x, lines, x_label), legend)


def path(x: Sequence[float], line: Sequence[float], highest: float) -> str:
    """The path of a line; a new piece begins after each NaN."""
    span, scale = (x[-1] - x[0]) or 1.0, Scale(0.0, highest)
    steps, drawing = [], False
    for place, value in zip(x, line, strict=True):
        if not math.isfinite(value):
            drawing = False
            continue
        column = LEFT + (place - x[0]) / span * (WIDTH - RIGHT - LEFT)
        steps.append(f"{'L' if drawing else 'M'}{column:.1f} {scale.y(value):.1f}")
        drawing = True
    return " ".join(steps)


def _line_table(x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str) -> Table:
    every = max(1, math.ceil(len(x) / SHOWN_POINTS))
    rows = tuple(
        (f"{x[n]:,.4g}", *(f"{line[n]:,.4g}" if math.isfinite(line[n]) else "unknown" for line in lines.values()))
        for n in range(0, len(x), every)
    )
    return Table((x_label, *lines), rows)


# --- Columns ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """A line across a chart, such as a target."""

    name: str
    value: float


def column_chart(
    title: str,
    names: Sequence[str],
    stacks: Mapping[str, Sequence[float]],
    y_label: str,
    limit: Limit | None = None,
    shaded: Collection[int] = (),
    unknown: Collection[int] = (),
    rest: str = "",
    description: str = "",
) -> Chart:
    """A column for each of ``names``, stacked of ``stacks`` in their order; the stack named ``rest`` is grey.

    Columns of ``shaded`` have a background, those of ``unknown`` a question mark: their sum is not all.
    """
    ups = [sum(max(0.0, values[n]) for values in stacks.values()) for n in range(len(names))]
    downs = [sum(min(0.0, values[n]) for values in stacks.values()) for n in range(len(names))]
    height = HEIGHT + 40
    highest = round_up(max([*ups, limit.value if limit else 0.0, 0.01]))
    scale = Scale(-round_up(-min(downs)) if min(downs, default=0.0) < 0 else 0.0, highest, height)
    legend = _colours(stacks, rest)
    step = (WIDTH - RIGHT - LEFT) / max(1, len(names))
    parts = [_shade(n, step, height) for n in shaded] + list(scale.grid()) + list(_columns(stacks, legend, step, scale))
    parts += [_label(LEFT + (n + 0.5) * step, scale.y(ups[n]) - 4, "?") for n in sorted(unknown) if ups[n]]
    parts += [_label(LEFT + (n + 0.5) * step, height - 18, name) for n, name in _some(names)]
    parts.append(_label((LEFT + WIDTH - RIGHT) / 2, height - 3, y_label))
    if limit:
        y = scale.y(limit.value)
        dashes = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke-dasharray="5 4"'
        parts.append(f'<line class="l-{TARGET}" {dashes}/>')
        parts.append(_label(WIDTH - RIGHT, y - 4, f"{limit.name} {limit.value:,.2f}", "end", "halo"))
    description = description or f"{y_label} of {', '.join(stacks)}; {len(names)} columns."
    table = _column_table(names, stacks, unknown)
    return Chart(title, description, svg_of(title, description, parts, height), table, legend)


def _colours(stacks: Mapping[str, Sequence[float]], rest: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, REST if name == rest else series_class(place)) for place, name in enumerate(stacks))


def _shade(place: int, step: float, height: float) -> str:
    x = LEFT + place * step
    area = f'x="{x:.1f}" y="{TOP}" width="{step:.1f}" height="{height - BOTTOM - TOP}"'
    return f'<rect class="{REST}" opacity="0.12" {area}/>'


def _columns(
    stacks: Mapping[str, Sequence[float]], legend: Sequence[tuple[str, str]], step: float, scale: Scale
) -> Iterator[str]:
    above = [0.0] * max((len(values) for values in stacks.values()), default=0)
    below = list(above)
    for (name, colour), values in zip(legend, stacks.values(), strict=True):
        areas = []
        for n, value in enumerate(values):
            begin = above if value >= 0 else below
            bottom, top = sorted((scale.y(begin[n]), scale.y(begin[n] + value)), reverse=True)
            begin[n] += value
            if value:
                x = LEFT + (n + 0.12) * step
                areas.append(f"M{x:.1f} {bottom:.1f}V{top:.1f}H{x + 0.76 * step:.1f}V{bottom:.1f}Z")
        if areas:
            yield f'<path class="{colour}" d="{"".join(areas)}"><title>{escape(name)}</title></path>'


def _some(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The names that fit below the axis, with their places."""
    every = max(1, math.ceil(len(names) / 10))
    return ((n, name) for n, name in enumerate(names) if n % every == 0)


def _column_table(names: Sequence[str], stacks: Mapping[str, Sequence[float]], unknown: Collection[int]) -> Table:
    rows = []
    for n, name in enumerate(names):
        values = [line[n] for line in stacks.values()]
        total = "unknown" if n in unknown else f"{sum(values):,.2f}"
        rows.append((name, *(f"{value:,.2f}" for value in values), total))
    return Table(("", *stacks, "total"), tuple(rows))


# --- Bars -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """One row: its value (None is unknown), a ``mark`` to compare with, and whether it is above what is wanted."""

    name: str
    value: float | None
    mark: float | None = None
    is_bad: bool = False


def bar_chart(title: str, bars: Sequence[Bar], unit: str, mark: str = "", description: str = "") -> Chart:
    """A bar a row with its figure at the end; ``mark`` names the line across it, such as "target"."""
    highest = max((abs(v) for bar in bars for v in (bar.value, bar.mark) if v is not None), default=0.0) or 1.0
    height = TOP + BAR_ROW * len(bars) + 22
    names = min(MOST_NAMES, max([LEAST_NAMES, *(CHARACTER * len(bar.name) + 16 for bar in bars)]))
    good = SERIES[2] if mark else SERIES[0]
    parts = [part for n, bar in enumerate(bars) for part in _bar(bar, TOP + n * BAR_ROW, names, highest, good)]
    caption = f"{unit}; the line is the {mark}" if mark else unit
    parts.append(_label((names + WIDTH - RIGHT) / 2, height - 4, caption))
    description = description or f"{caption}: {'; '.join(f'{bar.name} {_shown(bar.value)}' for bar in bars)}."
    marks = (mark,) if mark else ()
    rows = tuple((bar.name, _shown(bar.value), *((_shown(bar.mark),) if mark else ())) for bar in bars)
    return Chart(title, description, svg_of(title, description, parts, height), Table(("", unit, *marks), rows))


def _bar(bar: Bar, y: float, names: float, highest: float, good: str) -> Iterator[str]:
    unit = (WIDTH - RIGHT - names - LABEL_WIDTH) / highest
    middle, colour = y + BAR_ROW / 2, TARGET if bar.is_bad else good
    length, mark = max(0.0, bar.value or 0.0) * unit, max(0.0, bar.mark or 0.0) * unit
    yield f'<text x="{names - 10:.1f}" y="{middle + 4:.1f}" text-anchor="end">{escape(bar.name)}</text>'
    yield f'<rect class="{colour}" x="{names:.1f}" y="{y + 7}" width="{length:.1f}" height="{BAR_ROW - 14}" rx="2"/>'
    if bar.mark is not None:
        x = names + mark
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y + 3}" y2="{y + BAR_ROW - 3}"'
        yield f'<line stroke="currentColor" stroke-width="2" {ends}/>'
    yield _label(names + max(length, mark) + 6, middle + 4, _shown(bar.value), "start")


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.2f}"
