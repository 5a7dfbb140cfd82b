"""Charges that last longer than a day, spread evenly over their days."""

from __future__ import annotations

import datetime as dt

from include.cost.table.columns import AMOUNT, LONGEST_DAY_HOURS, MONEY

SPREAD = dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), MONEY)
HOURS = {"machine_hours": AMOUNT}  # a column of machine_hours.with_machine_hours, where the relation has it
IS_LONG = f"ChargePeriodEnd - ChargePeriodStart > INTERVAL {LONGEST_DAY_HOURS} HOUR"
HOUR_SECONDS = 3600  # what a day or a month in local time may be longer or shorter by, when clocks change


def spread_daily(
    relation: str, first: dt.date | None = None, last: dt.date | None = None, with_hours: bool = False
) -> str:
    """A query over ``relation`` (columns of the table): a row longer than a day becomes one row for each day.

    Costs are divided evenly, the last day takes what rounding left: sums stay exact. Slices begin at the hour at which
    the charge begins. ``first`` and ``last`` leave out the slices that begin before and after them. ``with_hours``
    divides ``machine_hours`` as well. The other columns of ``relation`` pass through.
    """
    seconds = f"epoch(ChargePeriodEnd - ChargePeriodStart) - {HOUR_SECONDS}"
    days = f"greatest(1, CAST(ceil(({seconds}) / 86400) AS INTEGER))"
    amounts = SPREAD | (HOURS if with_hours else {})
    costs = ", ".join(_part(name, kind) for name, kind in amounts.items())
    begin = "ChargePeriodStart + to_days(CAST(_day AS INTEGER))"
    return (
        f"SELECT * EXCLUDE (_days, _day) REPLACE ({costs}, {begin} AS ChargePeriodStart, "
        f"CASE WHEN _day = _days - 1 THEN ChargePeriodEnd ELSE {begin} + INTERVAL 1 DAY END AS ChargePeriodEnd) "
        f"FROM (SELECT *, unnest(range({_from(first)}, {_until(last)})) AS _day "
        f"FROM (SELECT *, {days} AS _days FROM {relation}))"
    )


def _from(first: dt.date | None) -> str:
    return "0" if first is None else f"greatest(0, DATE '{first}' - CAST(ChargePeriodStart AS DATE))"


def _until(last: dt.date | None) -> str:
    return "_days" if last is None else f"least(_days, DATE '{last}' - CAST(ChargePeriodStart AS DATE) + 1)"


def _part(name: str, kind: str) -> str:
    part = f"CAST({name} / _days AS {kind})"
    last = f"CAST({name} - {part} * (_days - 1) AS {kind})"
    return f"CASE WHEN _days = 1 THEN {name} WHEN _day = _days - 1 THEN {last} ELSE {part} END AS {name}"
