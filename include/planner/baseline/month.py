"""A month's traffic and bill from their tables; a month that isn't whole is refused with the days that are missing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from include.cost.table.bill import AWS, CONTRACTS, read_bill, sum_in
from include.cost.table.component_cost import contracts_of, sources_of
from include.cost.table.days import Window, day_window
from include.cost.table.settling import PROVISIONAL, settling_of
from include.cost.table.store import CostTable
from include.estate import Estate
from include.planner.order import CENTRAL_DC, COST_PLATFORM
from include.planner.traffic import MINUTES, Floats, Traffic, recorded

if TYPE_CHECKING:
    from include.forecast.traffic.table import TrafficTable

LEAST_OBSERVED = 0.95  # of a day's minutes; what is missing then is interpolated
SHOWN_DAYS = 8


class BaselineError(RuntimeError):
    """A month can't be told; the message names the days that are missing, and the remedy."""


def days_of(first: dt.date) -> list[dt.date]:
    """All days of the month that begins on ``first``."""
    after = (first + dt.timedelta(days=32)).replace(day=1)
    return [first + dt.timedelta(days=n) for n in range((after - first).days)]


def month_before(moment: dt.datetime) -> dt.date:
    """The first day of the last month (UTC) that is over at ``moment``."""
    return (moment.astimezone(dt.UTC).date().replace(day=1) - dt.timedelta(days=1)).replace(day=1)


def month_named(text: str) -> dt.date:
    """The first day of a month such as 2026-11. Raises BaselineError for a text that is none."""
    try:
        return dt.datetime.strptime(text, "%Y-%m").replace(tzinfo=dt.UTC).date()
    except ValueError:
        raise BaselineError(f"month {text!r} can't be read: write it like 2026-11") from None


def refuse_incomplete(estate: Estate, days: Sequence[dt.date], traffic: TrafficTable, costs: CostTable) -> None:
    """Raise BaselineError naming every day without traffic or with a bill that may still change.

    And the component that a saving is told by, where the estate doesn't have it.
    """
    for name in (CENTRAL_DC, COST_PLATFORM):
        if name not in estate.cost.components:
            raise BaselineError(f"cost.components has no {name}: add it to the estate, with rules that find its bill")
    problems = [
        f"traffic of {region} is missing on {named(gaps)}: run traffic_export for these days"
        for region in estate.regions
        if (gaps := unknown_traffic(traffic, region, days))
    ]
    problems += [
        f"the bill ({source}) is missing on {named(absent)}: ingest these days with cost_report"
        for source in needed_sources(estate)
        if (absent := [day for day in due(estate, source, days) if costs.facts(source, day) is None])
    ]
    if open_days := unsettled(estate, days, costs):
        hours = estate.cost.settle_hours
        problems.append(
            f"the bill ({AWS}) is not settled on {named(open_days)}: wait for {hours} h and two equal exports"
        )
    if problems:
        raise BaselineError(f"{days[0]:%Y-%m} can't be told: {'; '.join(problems)}")


def needed_sources(estate: Estate) -> list[str]:
    """The sources of the bill without which a saving would be too large."""
    return list(dict.fromkeys([*sources_of(CENTRAL_DC, estate), *sources_of(COST_PLATFORM, estate)]))


def due(estate: Estate, source: str, days: Sequence[dt.date]) -> list[dt.date]:
    """The days on which a source must have rows: contracts only while the platform has one."""
    if source != CONTRACTS:
        return list(days)
    found = contracts_of(COST_PLATFORM, estate)
    return [day for day in days if any(one.begins <= day <= (one.ends or day) for one in found)]


def unknown_traffic(table: TrafficTable, region: str, days: Iterable[dt.date]) -> list[dt.date]:
    """Days without a whole export, or of which too few minutes were observed."""
    facts = {day: table.facts(region, day) for day in days}
    least = LEAST_OBSERVED * MINUTES
    return [day for day, found in facts.items() if found is None or not found.complete or found.observed < least]


def unsettled(estate: Estate, days: Iterable[dt.date], costs: CostTable) -> list[dt.date]:
    """Days whose bill is there and may still change."""
    known = {day: found for day in days if (found := costs.facts(AWS, day)) is not None}
    hours = estate.cost.settle_hours
    return [day for day, facts in known.items() if settling_of(facts, costs.history(AWS, day), hours) == PROVISIONAL]


def named(days: Sequence[dt.date]) -> str:
    """The days in a line, at most a few of them by name."""
    more = f" and {len(days) - SHOWN_DAYS} more" if len(days) > SHOWN_DAYS else ""
    return ", ".join(map(str, days[:SHOWN_DAYS])) + more


def traffic_of(estate: Estate, days: Sequence[dt.date], table: TrafficTable) -> Traffic:
    """The traffic that came in these days, minutes that were not observed interpolated."""
    found = {
        region: _filled(table.series(region, days[0], days[-1]).to_numpy(dtype=float)) for region in estate.regions
    }
    return recorded(found, days[0], "the traffic tables")


def _filled(values: Floats) -> Floats:
    known = np.isfinite(values)
    places = np.arange(len(values))
    return np.where(known, values, np.interp(places, places[known], values[known]))


def billed(estate: Estate, days: Sequence[dt.date], costs: CostTable) -> Mapping[str, Decimal]:
    """USD of each component in these days, by the bill's own arithmetic; a component without a charge costs nothing."""
    window = Window(day_window(days[0]).start, day_window(days[-1]).end)
    bill = read_bill(costs, estate, days)
    return {name: sum_in(bill.of(name, window), window) for name in estate.cost.components}
