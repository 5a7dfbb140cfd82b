"""What the planner found: a week's levers in two price books. Money is Decimal USD a month; a saving is positive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

CENT = Decimal("0.01")
PLAN, AWS = "plan", "aws"
BOOKS = (PLAN, AWS)


class UnknownLeverError(ValueError):
    """A lever that the plan doesn't have; the message names those that it has."""


@dataclass(frozen=True)
class ComponentPlan:
    """A component of the bill, USD a month with no lever and with all of them."""

    name: str
    before_usd: Decimal
    after_usd: Decimal


@dataclass(frozen=True)
class LeverPlan:
    """What one lever saves in one book, USD a month.

    ``in_order_usd`` is its step in the week's order, ``shapley_usd`` its mean step over every order: both add up to
    what the whole week saves. P10, P50 and P90 are percentiles of the Shapley part over resampled months, None without
    resampling: in one, five and nine of ten months it saves no more than that. ``binding`` says what limits it.
    """

    lever: str
    component: str
    in_order_usd: Decimal
    shapley_usd: Decimal
    p50_usd: Decimal | None = None
    p90_usd: Decimal | None = None
    p10_usd: Decimal | None = None
    binding: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As ``make plan JSON=1`` prints it."""
        usd = ("shapley_usd", "in_order_usd", "p50_usd", "p90_usd")
        return {"lever": self.lever, **{name: _number(getattr(self, name)) for name in usd}}


@dataclass(frozen=True)
class LineCheck:
    """A line of the plan beside what its own figures give: ``stated`` and ``derived`` in USD a month, None without any.

    ``how`` is the arithmetic in words.
    """

    name: str
    stated: Decimal
    derived: Decimal | None
    how: str

    @property
    def off(self) -> Decimal | None:
        """By how much the line fails: stated less derived; None where the plan gives nothing to derive it from."""
        return None if self.derived is None else self.stated - self.derived


@dataclass(frozen=True)
class BookPlan:
    """The week in one price book; ``title`` names it with its date. Percentiles are of the sum of all levers."""

    name: str
    title: str
    components: tuple[ComponentPlan, ...]
    levers: tuple[LeverPlan, ...]
    p50_usd: Decimal | None = None
    p90_usd: Decimal | None = None
    p10_usd: Decimal | None = None
    lines: tuple[LineCheck, ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def before_usd(self) -> Decimal:
        """All components with no lever."""
        return sum((one.before_usd for one in self.components), Decimal(0))

    @property
    def after_usd(self) -> Decimal:
        """All components with all levers."""
        return sum((one.after_usd for one in self.components), Decimal(0))

    def lever(self, name: str) -> LeverPlan:
        """One lever's figures. Raises UnknownLeverError naming the levers that there are."""
        found = next((one for one in self.levers if one.lever == name), None)
        if found is None:
            known = ", ".join(one.lever for one in self.levers)
            raise UnknownLeverError(f"lever {name!r} is not in the week's plan; it has {known}")
        return found

    def to_json(self) -> dict[str, Any]:
        """As ``make plan JSON=1`` prints it."""
        parts = {
            one.name: {"before_usd": _number(one.before_usd), "after_usd": _number(one.after_usd)}
            for one in self.components
        }
        return {
            "before_usd": _number(self.before_usd),
            "after_usd": _number(self.after_usd),
            "components": parts,
            "levers": [one.to_json() for one in self.levers],
        }


@dataclass(frozen=True)
class WeekPlan:
    """The whole week in both books. ``simulation_seconds`` are the processor's, without Shapley parts and
    resampling: what else the machine does meanwhile is no work of the planner.

    ``node_hours`` are a month's, of all regions: by lever in the week's order, ``before`` first. ``binding`` are the
    constraints that hold the fleet where it is.
    """

    books: Mapping[str, BookPlan]
    simulation_seconds: float
    demand_scale: float
    node_hours: Mapping[str, float]
    binding: tuple[str, ...] = ()

    def lever(self, name: str) -> dict[str, LeverPlan]:
        """One lever's figures by book (``plan``, ``aws``). Raises UnknownLeverError naming those that there are."""
        return {book: found.lever(name) for book, found in self.books.items()}

    def to_json(self) -> dict[str, Any]:
        """What ``make plan JSON=1`` prints: numbers, dollars with cents."""
        books = {name: book.to_json() for name, book in self.books.items()}
        return {"simulation_seconds": round(self.simulation_seconds, 3), "books": books}


def cents(value: Decimal) -> Decimal:
    """Rounded to whole cents, half to even."""
    return value.quantize(CENT, ROUND_HALF_EVEN)


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(cents(value))
