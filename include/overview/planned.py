"""What the planner predicts: the waterfall of both price books, and each lever's part in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from include.pages.chart import Chart
from include.planner.figures import WeekPlan
from include.planner.pictures import week_chart

BOOKS = ("aws", "plan")  # the list prices first: the bill speaks in them


@dataclass(frozen=True)
class Planned:
    """``levers`` is lever -> book -> USD a month saved in the week's order; ``titles`` names the books with dates."""

    charts: tuple[Chart, ...] = ()
    levers: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)


def planned_of(week: WeekPlan) -> Planned:
    """The planner's week, as the page shows it."""
    levers: dict[str, dict[str, Decimal]] = {}
    for book in BOOKS:
        for one in week.books[book].levers:
            levers.setdefault(one.lever, {})[book] = one.in_order_usd
    titles = {book: week.books[book].title for book in BOOKS}
    return Planned(tuple(week_chart(week, book) for book in BOOKS), levers, titles)
