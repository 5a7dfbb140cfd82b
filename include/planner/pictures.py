"""The waterfall of a week as a chart, the same in reports and on the page."""

from __future__ import annotations

from include.pages.chart import Chart
from include.pages.texts import words
from include.pages.waterfall import Step, waterfall_chart
from include.planner.figures import WeekPlan


def week_chart(week: WeekPlan, book: str, shapley: bool = False) -> Chart:
    """From week 13 to week 14 in one book, lever by lever: in the week's order, or each one's Shapley part."""
    found = week.books[book]
    amounts = [(one, one.shapley_usd if shapley else one.in_order_usd) for one in found.levers]
    steps = [Step(words(one.lever), -float(usd), "; ".join(one.binding)) for one, usd in amounts]
    how = "each lever's fair part (Shapley)" if shapley else "levers in the week's order"
    title = f"Week 13 to week 14, book {found.title}: {how}"
    before, after = ("week 13", float(found.before_usd)), ("week 14", float(found.after_usd))
    return waterfall_chart(title, before, steps, after, "USD a month")
