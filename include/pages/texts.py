"""Figures as people read them; what nobody knows reads unknown."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

UNKNOWN = "unknown"
CENT = Decimal("0.01")


def usd(value: Decimal | str | None) -> str:
    """Dollars with cents; None reads unknown."""
    return UNKNOWN if value is None else f"{Decimal(value).quantize(CENT, ROUND_HALF_EVEN):,}"


def percent(share: Decimal | str | None, places: int = 1) -> str:
    """A share of 0..1 as a percentage; None reads "-": there is nothing to share."""
    return "-" if share is None else f"{Decimal(share) * 100:.{places}f} %"


def words(name: str) -> str:
    """A name of code for people: underscores become spaces."""
    return name.replace("_", " ")
