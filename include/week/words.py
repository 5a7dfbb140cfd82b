"""What people read of a week: its plan and its days. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.rollout.decisions import reason_lines
from include.week.coverage import Offer, words
from include.week.settings import ONCE, WeekSettings


def week_text(days: Sequence[Mapping[str, Any]], settings: WeekSettings, proved: Sequence[str], waterfall: str) -> str:
    """The week's plan as Markdown: the days in order with levers, undo and dollars, what one approval covers, what was
    ``proved`` of the levers, and the planner's waterfall.
    """
    lines = reason_lines(settings.reason)
    lines += [f"**In this order:** {' -> '.join(str(day['dag']) for day in days)}.", ""]
    for day in days:
        lines += [f"### Day {day['day']}: {day['dag']}", "", *_lever_lines(day["levers"]), ""]
    lines += [_approval_line(settings), _rollback_line(settings), "", *proved, "", waterfall]
    return "\n".join(lines).strip()


def _lever_lines(levers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"- {lever}: {offer_line(Offer.from_json(raw))}" for lever, raw in levers.items()]


def offer_line(offer: Offer) -> str:
    """One lever's part of the plan in a line."""
    if offer.undo is None:
        return f"can't be planned before its day ({offer.problem}); it will ask for its own approval"
    return f"{_dollars(offer)}; undo: {offer.undo.value}"


def _dollars(offer: Offer) -> str:
    own = f"{words(offer.usd_month)} on today's state ({offer.book})" if offer.usd_month is not None else ""
    planner = f"{words(offer.planner_usd_month)} by the planner" if offer.planner_usd_month is not None else ""
    return ", ".join(filter(None, (own, planner))) or "dollars not known"


def _approval_line(settings: WeekSettings) -> str:
    if settings.approval != ONCE:
        return "Each day asks for its own approval."
    return (
        "This approval is for all days: for the levers, settings, undo and dollars above. A day that saves more than "
        f"{settings.tolerance:.0%} less, has a harder undo, another lever or other settings asks again itself."
    )


def _rollback_line(settings: WeekSettings) -> str:
    if settings.on_rollback == "stop":
        return "A day that is not promoted stops the week; the days before it stand."
    return (
        "A day that was rolled back, rejected or refused is passed over; one that left something behind stops the week."
    )


def usd(amount: str | None) -> str:
    """A change of the monthly cost on record, in words."""
    return "unknown" if amount is None else words(Decimal(amount))
