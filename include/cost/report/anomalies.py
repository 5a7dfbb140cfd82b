"""Days that cost more or less than usual: a robust comparison with the same class of day before.

Weekdays are compared with weekdays and weekend days with weekend days, since traffic differs. The median and the
median deviation are used because one old spike would hide the next in a mean and its standard deviation.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from include.cost.table.days import LOOK_BACK_DAYS, is_weekend

MIN_DAYS = 7  # of the same class; fewer give no answer
LIMIT = Decimal("3.5")  # spreads from the median; Iglewicz and Hoaglin's figure for the modified z-score
MAD_TO_SIGMA = Decimal("1.4826")  # makes the median deviation comparable with a standard deviation
# A cost that never varies would make every cent an anomaly.
LEAST_SHARE, LEAST_USD = Decimal("0.01"), Decimal("0.01")


class DayLevel(enum.StrEnum):
    """What a day is against its history."""

    HIGH = "high"
    LOW = "low"
    NORMAL = "normal"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Anomaly:
    """A day's cost against its history, in US dollars. Without enough history only ``days`` and ``usd`` are given."""

    finding: DayLevel
    usd: Decimal | None
    days: int  # known days of the same class
    usual: Decimal | None = None  # their median
    spread: Decimal | None = None
    score: Decimal | None = None  # spreads away from the median, signed


def same_class(day: dt.date, days: Iterable[dt.date]) -> list[dt.date]:
    """The days of ``days`` before ``day`` within LOOK_BACK_DAYS that are weekend days when ``day`` is one, else not."""
    first = day - dt.timedelta(days=LOOK_BACK_DAYS)
    return sorted(one for one in days if first <= one < day and is_weekend(one) == is_weekend(day))


def compare_with_usual(day: dt.date, costs: Mapping[dt.date, Decimal | None]) -> Anomaly:
    """Compare the cost of ``day`` with that of its class before; a day whose cost is None is not known."""
    usd = costs.get(day)
    known = [cost for one in same_class(day, costs) if (cost := costs[one]) is not None]
    if usd is None or len(known) < MIN_DAYS:
        return Anomaly(DayLevel.UNKNOWN, usd, len(known))
    usual = median(known)
    deviation = median([abs(cost - usual) for cost in known]) * MAD_TO_SIGMA
    spread = max(deviation, abs(usual) * LEAST_SHARE, LEAST_USD)
    score = (usd - usual) / spread
    finding = DayLevel.HIGH if score > LIMIT else DayLevel.LOW if score < -LIMIT else DayLevel.NORMAL
    return Anomaly(finding, usd, len(known), usual, spread, score)


def median(values: Sequence[Decimal]) -> Decimal:
    """The middle value, or the mean of the two in the middle. Raises ValueError without any."""
    if not values:
        raise ValueError("no value has no median")
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
