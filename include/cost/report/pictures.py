"""The charts of a cost report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from include.cost.report.result import TOTAL, Report
from include.cost.table.components import UNALLOCATED
from include.cost.table.days import DAY, LOOK_BACK_DAYS, is_weekend
from include.cost.targets import FAIL
from include.pages.chart import Bar, Chart, Limit, bar_chart, column_chart
from include.pages.texts import words


def cost_by_day(report: Report) -> Chart:
    """The last four weeks by component, the largest below, against the day's target."""
    days = [report.day - n * DAY for n in range(LOOK_BACK_DAYS, -1, -1)]
    stacks = {words(name): _line(report, name, days) for name in _by_size(report, days)}
    target = report.value(TOTAL, "", "target_usd")
    unknown = [place for place, day in enumerate(days) if report.history[TOTAL].get(day) is None]
    description = (
        f"What each component cost on {len(days)} days up to {report.day}, stacked. Weekends have a background; a day "
        "with a question mark has an unknown part."
    )
    return column_chart(
        "Cost by day",
        [f"{day.day} {day:%b}" for day in days],
        stacks,
        "USD a day",
        limit=None if target is None else Limit("target", float(target)),
        shaded=[place for place, day in enumerate(days) if is_weekend(day)],
        unknown=unknown,
        rest=UNALLOCATED,
        description=description,
    )


def _line(report: Report, name: str, days: Sequence[dt.date]) -> list[float]:
    return [float(report.history[name].get(day) or 0) for day in days]


def _by_size(report: Report, days: Sequence[dt.date]) -> list[str]:
    sizes = {
        name: sum((abs(costs.get(day) or Decimal(0)) for day in days), Decimal(0))
        for name, costs in report.history.items()
        if name != TOTAL
    }
    return sorted((name for name in sizes if sizes[name]), key=lambda name: (name == UNALLOCATED, -sizes[name], name))


def against_targets(report: Report) -> Chart:
    """The day's cost of each component, the part that is judged, against its target."""
    return bar_chart(
        "Components against their targets", [_bar(report, name) for name in report.goals], "USD a day", "target"
    )


def _bar(report: Report, name: str) -> Bar:
    usd, target = (report.value("component", name, metric) for metric in ("judged_usd", "target_usd"))
    verdict = report.row("component", name, "over_target_usd")
    return Bar(
        words(name),
        None if usd is None else float(usd),
        None if target is None else float(target),
        is_bad=verdict is not None and verdict.status == FAIL,
    )
