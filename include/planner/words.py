"""The plan in a person's words: a lever for its approval, the week for a terminal or a log."""

from __future__ import annotations

from decimal import Decimal

from include.pages.table import aligned
from include.pages.texts import usd
from include.planner.errors import rehearsed_error
from include.planner.figures import AWS, BOOKS, PLAN, BookPlan, LeverPlan, WeekPlan

HEAD = ("lever", "plan: in order", "fair part", "aws: in order", "fair part", "P50", "P90")


def lever_text(week: WeekPlan, lever: str) -> str:
    """What an approver reads of one lever: dollars in both books, how sure they are, and what limits them."""
    found, error = week.lever(lever), rehearsed_error(lever)
    lines = [_dollars(week.books[name], found[name]) for name in BOOKS]
    aws = found[AWS]
    if aws.p50_usd is not None:
        lines.append(
            f"Resampled months ({AWS}): P10 {usd(aws.p10_usd)}, P50 {usd(aws.p50_usd)}, P90 {usd(aws.p90_usd)}"
        )
    if error is None:
        lines.append("The planner's dollars of this lever were never compared with a rehearsal")
    else:
        lines.append(f"The planner's dollars missed those of the last rehearsal by up to {error:.1%} in a region")
    lines += [f"Limited by: {line}" for line in aws.binding]
    return "\n".join(lines)


def _dollars(book: BookPlan, found: LeverPlan) -> str:
    return (
        f"Saves USD {usd(found.in_order_usd)} a month in the week's order, {usd(found.shapley_usd)} as its fair part "
        f"of the whole week: book {book.title}"
    )


def week_text(week: WeekPlan) -> str:
    """The whole waterfall as plain text, both books side by side."""
    return "\n".join([aligned(week_rows(week), right=range(1, len(HEAD))), "", *notes(week)])


def week_rows(week: WeekPlan) -> list[tuple[str, ...]]:
    """The waterfall as rows of text, the head first."""
    plan, aws = week.books[PLAN], week.books[AWS]
    rows: list[tuple[str, ...]] = [HEAD, ("week 13", usd(plan.before_usd), "", usd(aws.before_usd), "", "", "")]
    for one in plan.levers:
        other = aws.lever(one.lever)
        pairs = (one.in_order_usd, one.shapley_usd, other.in_order_usd, other.shapley_usd)
        known = (change(other.p50_usd), change(other.p90_usd))
        rows.append((one.lever, *map(change, pairs), *known))
    last = (change(aws.p50_usd), change(aws.p90_usd))
    rows.append(("week 14", usd(plan.after_usd), "", usd(aws.after_usd), "", *last))
    return rows


def change(saved: Decimal | None) -> str:
    """A saving as what it does to the bill."""
    return "" if saved is None else f"{-saved:+,.2f}" if saved else "0.00"


def component_rows(week: WeekPlan) -> list[tuple[str, ...]]:
    """Every component before and after in both books, the head first."""
    plan, aws = week.books[PLAN], week.books[AWS]
    rows: list[tuple[str, ...]] = [("component", "plan: week 13", "week 14", "aws: week 13", "week 14")]
    for one, other in zip(plan.components, aws.components, strict=True):
        rows.append((one.name, *(usd(value) for part in (one, other) for value in (part.before_usd, part.after_usd))))
    return rows


def line_rows(book: BookPlan) -> list[tuple[str, ...]]:
    """The plan's lines beside what its own figures give, the head first."""
    rows: list[tuple[str, ...]] = [("the plan's line", "stated", "derived", "fails by", "from")]
    for line in book.lines:
        off = "unknown" if line.off is None else "0.00" if not line.off else f"{line.off:+,.2f}"
        rows.append((line.name, usd(line.stated), usd(line.derived), off, line.how))
    return rows


def notes(week: WeekPlan) -> list[str]:
    """What binds and what is assumed, a line each."""
    hours = ", ".join(f"{name} {value:,.0f}" for name, value in week.node_hours.items())
    found = [f"demand_scale {week.demand_scale:.2f}; node-hours a month in the week's order: {hours}"]
    found += [f"binds: {line}" for line in week.binding]
    return [*found, *(f"book {name}: {note}" for name, book in week.books.items() for note in book.assumptions)]
