"""Two sources of the same machine hours compared, and their gap explained: hours, prices, what one alone holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Key = tuple[str, str, str]  # region, instance type, capacity type
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Measure:
    """What one source makes of a window. ``by_key``: (hours, dollars); ``outside``: dollars of what others leave out.

    ``usd`` is the whole, by_key and outside included. A source without a split by type leaves ``by_key`` None.
    """

    name: str
    usd: Decimal
    by_key: Mapping[Key, tuple[Decimal, Decimal]] | None = None
    outside: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Gap:
    """left - right in dollars, and what it is made of; the parts and ``unexplained`` add up to ``usd`` exactly."""

    left: str
    right: str
    left_usd: Decimal
    right_usd: Decimal
    hours_usd: Decimal
    price_usd: Decimal
    outside: Mapping[str, Decimal]
    unexplained_usd: Decimal
    details: tuple[str, ...]
    finding: bool

    @property
    def usd(self) -> Decimal:
        """The gap."""
        return self.left_usd - self.right_usd

    @property
    def share(self) -> Decimal | None:
        """The gap against the larger of the two, 0..1; None when both are zero."""
        larger = max(abs(self.left_usd), abs(self.right_usd))
        return abs(self.usd) / larger if larger else None

    @property
    def text(self) -> str:
        """One line for people."""
        share = "" if self.share is None else f" ({self.share * 100:.1f} %)"
        parts = [f"hours {_money(self.hours_usd)}", f"prices {_money(self.price_usd)}"]
        parts += [f"{what} {_money(usd)}" for what, usd in self.outside.items()]
        parts.append(f"unexplained {_money(self.unexplained_usd)}")
        described = f"{self.left} {_money(self.left_usd)} against {self.right} {_money(self.right_usd)}: "
        described += f"gap {_money(self.usd)}{share} = {', '.join(parts)}"
        if self.details:
            described += f". {'; '.join(self.details)}"
        return ("FINDING: " if self.finding else "") + described

    def to_json(self) -> dict[str, Any]:
        """For the record, dollars as text."""
        return {
            "left": self.left,
            "right": self.right,
            "left_usd": str(self.left_usd),
            "right_usd": str(self.right_usd),
            "gap_usd": str(self.usd),
            "gap_share": None if self.share is None else str(self.share),
            "hours_usd": str(self.hours_usd),
            "price_usd": str(self.price_usd),
            "outside_usd": {what: str(usd) for what, usd in self.outside.items()},
            "unexplained_usd": str(self.unexplained_usd),
            "details": list(self.details),
            "finding": self.finding,
            "text": self.text,
        }


def compare(left: Measure, right: Measure, agree_within: Decimal) -> Gap:
    """The gap between two measures of the same window. A finding when it is larger than ``agree_within`` (0..1)."""
    hours = price = Decimal(0)
    details: list[str] = []
    if left.by_key is not None and right.by_key is not None:
        for key in sorted(set(left.by_key) | set(right.by_key)):
            of_hours, of_price, described = _split(key, left, right)
            hours, price = hours + of_hours, price + of_price
            details += described
    outside = dict(left.outside)
    for what, usd in right.outside.items():
        outside[what] = outside.get(what, Decimal(0)) - usd
    gap = left.usd - right.usd
    larger = max(abs(left.usd), abs(right.usd))
    return Gap(
        left=left.name,
        right=right.name,
        left_usd=left.usd,
        right_usd=right.usd,
        hours_usd=hours,
        price_usd=price,
        outside=outside,
        unexplained_usd=gap - hours - price - sum(outside.values(), Decimal(0)),
        details=tuple(details),
        finding=bool(larger) and abs(gap) / larger > agree_within,
    )


def _split(key: Key, left: Measure, right: Measure) -> tuple[Decimal, Decimal, list[str]]:
    """Dollars of the gap of one key: from its hours, at the right one's price, and from its price."""
    none = (Decimal(0), Decimal(0))
    hours_left, usd_left = (left.by_key or {}).get(key, none)
    hours_right, usd_right = (right.by_key or {}).get(key, none)
    name = " ".join(key)
    if not hours_left or not hours_right:
        side = right.name if not hours_right else left.name
        described = (
            [f"{name}: {hours_left or hours_right:.2f} h are missing in {side}"] if usd_left != usd_right else []
        )
        return usd_left - usd_right, Decimal(0), described
    price_left, price_right = usd_left / hours_left, usd_right / hours_right
    of_hours = (hours_left - hours_right) * price_right
    of_price = usd_left - usd_right - of_hours
    described = []
    if abs(of_hours) >= CENT:
        described.append(f"{name}: {hours_left:.2f} h against {hours_right:.2f} h")
    if abs(of_price) >= CENT:
        described.append(f"{name}: {price_left:.4f} against {price_right:.4f} USD an hour")
    return of_hours, of_price, described


def _money(usd: Decimal) -> str:
    return f"{usd:.2f}"
