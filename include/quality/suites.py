"""What must be true of each table: one list of checks a table, in plain words and as Great Expectations' names.

Data only; :mod:`include.quality.judge` runs it. ``facts`` are what a caller knows of one table, such as its day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# An amount of a day beyond this is a wrong unit, not a bill; it also refuses infinity.
LARGEST_USD = 1e9
LARGEST = 1e15  # of any figure, such as a count of requests
REPORT_SECTIONS = (
    "total",
    "component",
    "region",
    "capacity",
    "requests",
    "unallocated",
    "allocation",
    "anomaly",
    "driver",
)
VERDICTS = ("pass", "fail", "unknown")
SETTLING = ("provisional", "settled", "final")
CATEGORIES = ("Adjustment", "Credit", "Purchase", "Tax", "Usage")
FREQUENCIES = ("One-Time", "Recurring", "Usage-Based")
CAPACITY = ("spot", "on_demand", "reserved", "savings_plan")
# What every source can say. FOCUS asks for more, which a source may lack: docs/reference/focus_gaps.md.
FOCUS_ALWAYS = (
    "BilledCost",
    "ChargeCategory",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ServiceName",
    "x_SourceFile",
    "x_SourceRow",
)


class SuiteError(ValueError):
    """A suite or a fact that it needs is not known; the message names it and the remedy."""


@dataclass(frozen=True)
class Expectation:
    """One expectation: ``words`` for people, ``kind`` and ``kwargs`` for Great Expectations."""

    words: str
    kind: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, tuple[str, ...]] | None = None  # rows whose column has one of these values; None: every row

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the check needs."""
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return (*named, *self.kwargs.get("column_list", ()), *(self.only[:1] if self.only else ()))


def has_columns(columns: Sequence[str], exactly: bool = False) -> Expectation:
    """The table has these columns; ``exactly``: and no others."""
    words = f"the table has its {len(columns)} columns{' and no others' if exactly else ''}"
    return Expectation(words, "ExpectTableColumnsToMatchSet", {"column_set": sorted(columns), "exact_match": exactly})


def not_empty(column: str) -> Expectation:
    """No value of the column is null."""
    return Expectation(f"{column} is never empty", "ExpectColumnValuesToNotBeNull", {"column": column})


def one_of(column: str, values: Sequence[str]) -> Expectation:
    """Each value of the column that isn't null is one of ``values``."""
    words = f"{column} is one of {', '.join(values)}"
    return Expectation(words, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)})


def between(column: str, low: float, high: float | None) -> Expectation:
    """Each number of the column is in this range, ends included."""
    words = f"{column} is at least {low:g}{'' if high is None else f' and at most {high:g}'}"
    return Expectation(words, "ExpectColumnValuesToBeBetween", {"column": column, "min_value": low, "max_value": high})


def amount(column: str) -> Expectation:
    """Each amount of the column is a finite number of dollars; negative ones are credits."""
    kwargs = {"column": column, "min_value": -LARGEST_USD, "max_value": LARGEST_USD}
    words = f"{column} is a finite amount between -{LARGEST_USD:g} and {LARGEST_USD:g} USD"
    return Expectation(words, "ExpectColumnValuesToBeBetween", kwargs)


def after(later: str, earlier: str) -> Expectation:
    """``later`` comes after ``earlier`` in each row."""
    kwargs = {"column_A": later, "column_B": earlier, "or_equal": False, "ignore_row_if": "either_value_is_missing"}
    return Expectation(f"{later} is after {earlier}", "ExpectColumnPairValuesAToBeGreaterThanB", kwargs)


def not_before(later: str, earlier: str) -> Expectation:
    """``later`` doesn't come before ``earlier`` in any row."""
    kwargs = {"column_A": later, "column_B": earlier, "or_equal": True, "ignore_row_if": "either_value_is_missing"}
    return Expectation(f"{later} is not before {earlier}", "ExpectColumnPairValuesAToBeGreaterThanB", kwargs)


def unique(*columns: str) -> Expectation:
    """No two rows are equal in these columns together."""
    words = f"no two rows have the same {' and '.join(columns)}"
    if len(columns) == 1:
        return Expectation(words, "ExpectColumnValuesToBeUnique", {"column": columns[0]})
    return Expectation(words, "ExpectCompoundColumnsToBeUnique", {"column_list": list(columns)})


def every(values: Sequence[str], column: str) -> Expectation:
    """Each of ``values`` stands in the column, and nothing else does."""
    kwargs = {"column": column, "value_set": sorted(values)}
    return Expectation(f"{column} has all of {', '.join(values)}", "ExpectColumnDistinctValuesToEqualSet", kwargs)


def where(check: Expectation, column: str, values: Sequence[str]) -> Expectation:
    """The check, for the rows only whose ``column`` is one of ``values``."""
    words = f"where {column} is {' or '.join(values)}, {check.words}"
    return Expectation(words, check.kind, check.kwargs, (column, tuple(values)))


def some_rows(least: int = 1) -> Expectation:
    """The table has at least so many rows."""
    return Expectation(f"the table has at least {least} row(s)", "ExpectTableRowCountToBeBetween", {"min_value": least})


def json_text(column: str) -> Expectation:
    """Each text of the column is JSON."""
    return Expectation(f"{column} is JSON", "ExpectColumnValuesToBeJsonParseable", {"column": column})


def inside_day(column: str, day: dt.date) -> Expectation:
    """Each time of the column is on ``day``, UTC."""
    start = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
    kwargs = {"column": column, "min_value": start, "max_value": start + dt.timedelta(days=1), "strict_max": True}
    return Expectation(f"{column} is on {day} (UTC)", "ExpectColumnValuesToBeBetween", kwargs)


def focus(facts: Mapping[str, Any]) -> list[Expectation]:
    """The cost table. Facts: ``columns`` (the table's), ``currency``; ``day`` when it is one partition."""
    day = [inside_day("ChargePeriodStart", facts["day"])] if facts.get("day") else []
    return [
        has_columns(_need(facts, "columns"), exactly=True),
        some_rows(),
        *(not_empty(column) for column in FOCUS_ALWAYS),
        one_of("BillingCurrency", [_need(facts, "currency")]),
        one_of("ChargeCategory", CATEGORIES),
        one_of("ChargeClass", ["Correction"]),
        one_of("ChargeFrequency", FREQUENCIES),
        one_of("x_CapacityType", CAPACITY),
        amount("BilledCost"),
        amount("EffectiveCost"),
        json_text("Tags"),
        not_before("ChargePeriodEnd", "ChargePeriodStart"),  # a charge of one moment, such as a domain's
        after("BillingPeriodEnd", "BillingPeriodStart"),
        unique("x_SourceFile", "x_SourceRow"),
        *day,
    ]


def allocation(facts: Mapping[str, Any]) -> list[Expectation]:
    """The cost table's rows of an allocation. Facts: as for ``focus``, and ``regions`` of the estate."""
    return [
        *focus(facts),
        Expectation("BilledCost is 0, since an allocation bills nobody", "ExpectColumnValuesToBeInSet",
              {"column": "BilledCost", "value_set": [0.0]}),
        *(not_empty(column) for column in ("EffectiveCost", "ResourceId", "RegionId")),
        one_of("RegionId", _need(facts, "regions")),
        unique("ResourceId", "ChargePeriodStart", "RegionId"),
    ]  # fmt: skip


def validation(facts: Mapping[str, Any]) -> list[Expectation]:
    """The lines of a validation, one a component. Facts: ``components`` of the estate, each of which has its line."""
    components = _need(facts, "components")
    dollars = ("usd_window", "usd_24h", "usd_month", "baseline_usd_month", "target_usd_month")
    return [
        has_columns(["component", "source", "window_start", "window_end", "coverage", *dollars, "verdict", "settling"]),
        every(components, "component"),
        unique("component"),
        not_empty("component"),
        not_empty("verdict"),
        one_of("verdict", VERDICTS),
        one_of("settling", ("", *SETTLING)),
        between("coverage", 0, 1),
        *(amount(column) for column in dollars),
        *(where(not_empty(column), "verdict", ("pass", "fail")) for column in ("usd_month", "target_usd_month")),
        after("window_end", "window_start"),
    ]


def hourly_use(facts: Mapping[str, Any]) -> list[Expectation]:
    """Machine hours by clock hour, region, type and way of buying. Facts: ``regions`` of the estate."""
    key = ("hour", "region", "instance_type", "capacity")
    return [
        has_columns([*key, "hours", "usd"]),
        *(not_empty(column) for column in (*key, "hours", "usd")),
        one_of("region", _need(facts, "regions")),
        one_of("capacity", CAPACITY),
        between("hours", 0, None),
        between("usd", 0, LARGEST_USD),
        unique(*key),
    ]


def requests(facts: Mapping[str, Any]) -> list[Expectation]:
    """Measured requests by day and region; an empty number is unknown. Facts: ``regions`` of the estate."""
    return [
        has_columns(["day", "region", "requests"]),
        not_empty("day"),
        not_empty("region"),
        one_of("region", _need(facts, "regions")),
        between("requests", 0, None),
        unique("day", "region"),
    ]


def cost_report(facts: Mapping[str, Any]) -> list[Expectation]:
    """The figures of a daily report. Facts: ``components`` of the estate, each of which has its figures."""
    known = where(not_empty("value"), "status", (*SETTLING, "given", "measured", "pass", "fail"))
    return [
        has_columns(["section", "key", "metric", "value", "unit", "status"]),
        some_rows(),
        *(not_empty(column) for column in ("section", "key", "metric", "unit", "status")),
        one_of("section", REPORT_SECTIONS),
        where(every(_need(facts, "components"), "key"), "section", ("component",)),
        known,
        between("value", -LARGEST, LARGEST),
        unique("section", "key", "metric"),
    ]


SUITES: dict[str, Callable[[Mapping[str, Any]], list[Expectation]]] = {
    "focus": focus,
    "allocation": allocation,
    "validation": validation,
    "hourly_use": hourly_use,
    "requests": requests,
    "cost_report": cost_report,
}


def checks_of(suite: str, facts: Mapping[str, Any]) -> list[Expectation]:
    """The checks of a suite for one table. Raises SuiteError naming the suite, or the fact that is missing."""
    if suite not in SUITES:
        raise SuiteError(f"suite {suite!r} is not known: use one of {', '.join(SUITES)}")
    return SUITES[suite](facts)


def _need(facts: Mapping[str, Any], name: str) -> Any:
    if name not in facts:
        raise SuiteError(f"the fact {name!r} is missing: hand it to judge({name}=...)")
    return facts[name]
