"""What the week's one approval covers, and why a day's plan is outside of it. Pure decisions.

An approval names for each day the levers, the settings, and for each lever the class of its undo and the change of the
monthly cost. A day's plan is covered when it has no other lever, the same settings, no harder undo, and costs no more
than was approved, but for the tolerance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.rollout.lever import Plan, Undo

_HARDNESS = {undo: rank for rank, undo in enumerate(Undo)}  # mildest first, as they are declared
NOT_COMPARED = frozenset({"dry_run", "reason"})  # they change nothing that is written


@dataclass(frozen=True)
class Offer:
    """What an approver agrees to for one lever.

    ``undo`` is the hardest of its places, None when it could not be planned. ``usd_month`` is the change of the monthly
    cost (negative saves) by the lever's own plan on the state of the day of the approval, ``planner_usd_month`` by the
    planner in the week's order; None where nobody knows. ``problem``: why it could not be planned.
    """

    undo: Undo | None
    usd_month: Decimal | None
    planner_usd_month: Decimal | None = None
    book: str = ""
    problem: str = ""

    @property
    def ceiling(self) -> Decimal | None:
        """The change that was agreed to at most: the more careful of the two figures."""
        known = [usd for usd in (self.usd_month, self.planner_usd_month) if usd is not None]
        return max(known, default=None)

    def to_json(self) -> dict[str, Any]:
        """For the record; dollars as text, so that no digit is lost."""
        return {
            "undo": self.undo.value if self.undo else None,
            "usd_month": _text(self.usd_month),
            "planner_usd_month": _text(self.planner_usd_month),
            "book": self.book,
            "problem": self.problem,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Offer:
        """The offer that :meth:`to_json` wrote."""
        undo = Undo(raw["undo"]) if raw["undo"] else None
        usd, planned = _decimal(raw["usd_month"]), _decimal(raw["planner_usd_month"])
        return cls(undo, usd, planned, raw["book"], raw["problem"])


def offer_of(plans: Sequence[Plan], planner_usd_month: Decimal | None = None) -> Offer:
    """The offer that the plans of a lever's places make."""
    books = list(dict.fromkeys(plan.price_book for plan in plans))
    return Offer(hardest(plans), change(plans), planner_usd_month, ", ".join(books))


def hardest(plans: Sequence[Plan]) -> Undo | None:
    """The hardest undo among plans, or None without any."""
    return max((plan.undo for plan in plans), key=_HARDNESS.__getitem__, default=None)


def change(plans: Sequence[Plan]) -> Decimal | None:
    """The change of the monthly cost over all plans (negative saves); None when one of them doesn't know."""
    total = Decimal(0)
    for plan in plans:
        if plan.usd_month_before is None or plan.usd_month_after is None:
            return None
        total += plan.usd_month_after - plan.usd_month_before
    return total


def offers_hash(days: Sequence[Mapping[str, Any]], tolerance: Decimal) -> str:
    """12 hex digits over what an approval of the week is bound to: days, levers, settings, undo and dollars."""
    agreed = [{name: day[name] for name in ("day", "dag", "levers", "settings")} for day in days]
    text = json.dumps({"days": agreed, "tolerance": str(tolerance)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def outside(
    offered: Mapping[str, Offer],
    settings: Mapping[str, Any],
    plans: Mapping[str, Sequence[Plan]],
    values: Mapping[str, Any],
    tolerance: Decimal,
) -> list[str]:
    """Why a day's ``plans`` (by lever) and the ``values`` of its form are outside of what was offered; [] when covered.

    ``offered`` and ``settings`` are those of that day.
    """
    names = sorted(({*settings} | {*values}) - NOT_COMPARED)
    found = [
        f"{name} is {json.dumps(values.get(name))}, approved was {json.dumps(settings.get(name))}"
        for name in names
        if settings.get(name) != values.get(name)
    ]
    for lever, of_places in plans.items():
        offer = offered.get(lever)
        if offer is None:
            found.append(f"{lever} is not among the levers that were approved")
        else:
            found += [f"{lever}: {line}" for line in _beyond(offer, of_places, tolerance)]
    return found


def _beyond(offer: Offer, plans: Sequence[Plan], tolerance: Decimal) -> list[str]:
    if not any(plan.stages for plan in plans):
        return []  # it writes nothing
    if offer.undo is None:
        return [f"it could not be planned when the week was approved ({offer.problem or 'no plan'})"]
    undo = hardest(plans)
    if undo is not None and _HARDNESS[undo] > _HARDNESS[offer.undo]:
        return [f"its undo is {undo.value}, approved was {offer.undo.value}", *_too_dear(offer, plans, tolerance)]
    return _too_dear(offer, plans, tolerance)


def _too_dear(offer: Offer, plans: Sequence[Plan], tolerance: Decimal) -> list[str]:
    """Nobody knew the dollars: then it may not cost more. Its own plan knew them: then it must do so again."""
    now, agreed = change(plans), offer.ceiling
    if now is None:
        own = offer.usd_month
        return [] if own is None else [f"its dollars are not known, and the approved plan {words(own)}"]
    if agreed is None:
        return [] if now <= 0 else [f"it {words(now)}, and the approved plan did not know the dollars"]
    if now <= agreed + tolerance * abs(agreed):
        return []
    return [f"it {words(now)}, approved was that it {words(agreed)} (tolerance {tolerance:.0%})"]


def words(usd: Decimal) -> str:
    """A change of the monthly cost in words."""
    verb = "saves" if usd <= 0 else "costs"
    return f"{verb} ${abs(usd):,.2f} a month" + (" more" if usd > 0 else "")


def _text(usd: Decimal | None) -> str | None:
    return None if usd is None else str(usd)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
