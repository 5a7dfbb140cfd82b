"""Charges that last longer than a day, spread evenly over their days."""

from __future__ import annotations

from include.cost.focus import MONEY

SPREAD = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")


def spread_daily(relation: str) -> str:
    """A query over ``relation`` (columns of the table): a row longer than a day becomes one row for each day.

    Costs are divided evenly, the last day takes what rounding left: sums stay exact. Slices begin at the hour at which
    the charge begins. The other columns of ``relation`` pass through.
    """
    days = "greatest(1, CAST(ceil(epoch(ChargePeriodEnd - ChargePeriodStart) / 86400) AS INTEGER))"
    costs = ", ".join(_cost(name) for name in SPREAD)
    begin = "ChargePeriodStart + to_days(CAST(_day AS INTEGER))"
    return (
        f"SELECT * EXCLUDE (_days, _day) REPLACE ({costs}, {begin} AS ChargePeriodStart, "
        f"CASE WHEN _day = _days - 1 THEN ChargePeriodEnd ELSE {begin} + INTERVAL 1 DAY END AS ChargePeriodEnd) "
        f"FROM (SELECT *, unnest(range(_days)) AS _day FROM (SELECT *, {days} AS _days FROM {relation}))"
    )


def _cost(name: str) -> str:
    part = f"CAST({name} / _days AS {MONEY})"
    last = f"CAST({name} - {part} * (_days - 1) AS {MONEY})"
    return f"CASE WHEN _days = 1 THEN {name} WHEN _day = _days - 1 THEN {last} ELSE {part} END AS {name}"
