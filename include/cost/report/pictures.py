"""The pictures of a cost report as SVG text: the same report gives the same bytes, and text takes the page's colour."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.cost.report.anomalies import HISTORY_DAYS, weekend
from include.cost.report.compute import TOTAL, Report
from include.cost.table.components import UNALLOCATED

# Readable on white and on black; grey is for what no component took.
COLOURS = ("#3b82c4", "#e08a3c", "#4aa37c", "#b86bb0", "#c9a227", "#5f7fbf", "#d0647a", "#7aa84f")
GREY = "#8a8f98"
TARGET = "#d64545"
# Stands for the page's own text colour until the SVG is written.
INK = "#010203"
WIDTH = 7.6  # inches
Costs = Mapping[dt.date, Decimal | None]


def pictures(report: Report) -> dict[str, str]:
    """Title -> SVG text, to be put into a page as it is."""
    return {
        "Cost by day": _drawn("days", 3.2, lambda axes: _days(axes, report)),
        "Components against their targets": _drawn("components", 3.4, lambda axes: _components(axes, report)),
    }


def _drawn(name: str, height: float, draw: Any) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Ids follow from the salt: two pictures in one page must not share them.
    settings: Any = {
        "svg.hashsalt": f"akidb-{name}",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        _plain(axes)
        draw(axes)
        text = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(text, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(text.getvalue())


def _for_page(text: str) -> str:
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)height="[^"]*pt"', r"\1", svg, count=1)
    return svg.replace(INK, "currentColor").strip()


def _plain(axes: Any) -> None:
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
        spine.set_linewidth(0.6)
    axes.tick_params(colors=INK, length=0, labelsize=8.5)


def _days(axes: Any, report: Report) -> None:
    first = report.day - dt.timedelta(days=HISTORY_DAYS)
    days = [first + dt.timedelta(days=n) for n in range(HISTORY_DAYS + 1)]
    tops = [0.0] * len(days)
    for place, name in enumerate(_by_size(report, days)):
        costs = report.history[name]
        bottoms, tops = tops, [top + float(costs.get(day) or 0) for top, day in zip(tops, days, strict=True)]
        colour = GREY if name == UNALLOCATED else COLOURS[place % len(COLOURS)]
        _bars(axes, bottoms, tops, colour, _words(name))
    target = report.value(TOTAL, "", "target_usd")
    if target is not None:
        axes.axhline(float(target), color=TARGET, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(f"target {target:,.2f}", (len(days) - 0.5, float(target)), (0, 3), textcoords="offset points",
                      ha="right", color=TARGET, fontsize=8)  # fmt: skip
    _mark_unknown(axes, report, days, tops)
    axes.set_ylim(min(0.0, *tops), 1.1 * max(0.01, float(target or 0), *tops))
    ticks = [place for place, day in enumerate(days) if day.weekday() == 0]
    axes.set_xticks(ticks, [f"{days[place]:%d %b}" for place in ticks])
    axes.set_xlim(-0.6, len(days) - 0.4)
    axes.set_ylabel("USD a day", color=INK)
    _legend(axes)


def _bars(axes: Any, bottoms: Sequence[float], tops: Sequence[float], colour: str, label: str) -> None:
    """One collection instead of a patch a day: drawn several times quicker."""
    from matplotlib.collections import PolyCollection

    corners = [
        [(place - 0.39, low), (place - 0.39, top), (place + 0.39, top), (place + 0.39, low)]
        for place, (low, top) in enumerate(zip(bottoms, tops, strict=True))
        if low != top
    ]
    axes.add_collection(PolyCollection(corners, facecolor=colour, linewidth=0, label=label), autolim=False)


def _mark_unknown(axes: Any, report: Report, days: Sequence[dt.date], tops: Sequence[float]) -> None:
    for place, day in enumerate(days):
        if report.history[TOTAL].get(day) is None and tops[place]:
            axes.annotate("?", (place, tops[place]), (0, 1), textcoords="offset points", ha="center", color=INK)
        if weekend(day):
            axes.axvspan(place - 0.5, place + 0.5, color=GREY, alpha=0.10, linewidth=0)


def _by_size(report: Report, days: Sequence[dt.date]) -> list[str]:
    sizes = {
        name: sum((abs(costs.get(day) or Decimal(0)) for day in days), Decimal(0))
        for name, costs in report.history.items()
        if name != TOTAL
    }
    return sorted((name for name in sizes if sizes[name]), key=lambda name: (name == UNALLOCATED, -sizes[name], name))


def _legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        legend = axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8,
                             labelcolor=INK, handlelength=1, handleheight=1)  # fmt: skip
        legend.set_in_layout(True)


def _components(axes: Any, report: Report) -> None:
    names = list(report.goals)
    for place, name in enumerate(names):
        usd = report.value("component", name, "judged_usd")
        target = report.value("component", name, "target_usd")
        verdict = report.row("component", name, "over_target_usd")
        colour = TARGET if verdict and verdict.status == "fail" else COLOURS[2]
        text = "unknown" if usd is None else f"{usd:,.2f}"
        axes.barh(place, float(usd or 0), 0.55, color=colour, linewidth=0)
        if target is not None:
            axes.plot([float(target)] * 2, [place - 0.38, place + 0.38], color=INK, linewidth=1.6)
        furthest = max(float(usd or 0), float(target or 0))
        axes.annotate(text, (furthest, place), (5, 0), textcoords="offset points", va="center", color=INK, fontsize=8)
    axes.set_yticks(range(len(names)), [_words(name) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("USD a day; the line is the target", color=INK)


def _words(name: str) -> str:
    return name.replace("_", " ")
