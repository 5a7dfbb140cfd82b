"""An opened export as rows of the cost table, each with the reason for which it can't count, if any."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any

from include.cost.sources.exports import cur, focus
from include.cost.sources.exports.aws_names import SERVICES
from include.cost.sources.exports.fields import NULL, Unread
from include.cost.sources.exports.keys import period_of
from include.cost.sources.exports.source import ROW, Format, Source
from include.cost.table.columns import COLUMNS
from include.cost.table.sql import literal, quoted

# Beside COLUMNS: which file it came from, why it is set aside, and what tells equal lines.
EXTRA = {
    "file_no": "INTEGER",
    "day": "DATE",  # of ChargePeriodStart, UTC
    "period": "DATE",  # first day of the month of the billing period
    "kind": "VARCHAR",  # the source's own type of line
    "reason": "VARCHAR",  # null: the row counts
    "detail": "VARCHAR",  # field and value behind the reason
    "unread": "VARCHAR",  # a field of a row that counts that can't be read
    "same": "UBIGINT",  # hash of every source column; null where the provider numbers no lines: equal rows are two
}
LATE_END = "charge period ends before it begins"


def prepare(connection: Any) -> None:
    """Make the table of service names that the queries of CURs join."""
    connection.execute("CREATE OR REPLACE TEMP TABLE services (code VARCHAR, name VARCHAR, category VARCHAR)")
    rows = [(code, name, category) for code, (name, category) in SERVICES.items()]
    connection.executemany("INSERT INTO services VALUES (?, ?, ?)", rows)


def normalised(source: Source, file_no: int, currency: str, days: Collection[dt.date] | None) -> str:
    """A query that gives COLUMNS and EXTRA for the rows of ``source``, of ``days`` only when given.

    Rows whose day can't be read come along with any ``days``: nobody knows which of them they belong to.
    """
    layout = focus if source.format is Format.FOCUS else cur
    source.fields.unread.clear()
    made = layout.columns(source.fields)
    made["x_SourceFile"], made["x_SourceRow"] = literal(source.file.key), ROW
    columns = ", ".join(f"CAST({made.get(name, NULL)} AS {kind}) AS {quoted(name)}" for name, kind in COLUMNS.items())
    essential = [one for one in source.fields.unread if one.name in layout.ESSENTIAL]
    # What makes the cost unknown is named before what only leaves a column empty.
    others = sorted(
        (one for one in source.fields.unread if one.name not in layout.ESSENTIAL),
        key=lambda one: one.name not in layout.COSTS,
    )
    reason, detail = _reason(source.fields.has(layout.CURRENCY), currency)
    extra = {
        "file_no": str(file_no),
        "day": "day",
        "period": _period(source),
        "kind": "kind",
        "reason": reason,
        "detail": detail,
        "unread": "unread",
        "same": "same",
    }
    return (
        f"SELECT {', '.join(quoted(name) for name in COLUMNS)}, "
        f"{', '.join(f'{sql} AS {name}' for name, sql in extra.items())} "
        "FROM (SELECT *, CAST(ChargePeriodStart AS DATE) AS day FROM ("
        f"SELECT {columns}, {source.fields.text(layout.LINE_TYPE)} AS kind, "
        f"{_first(essential, with_value=True)} AS bad, {_first(others)} AS unread, {_same(source)} AS same "
        f"FROM {source.relation}{_services(source)}{_only(source, days)})){_day_filter(days)}"
    )


def by_day(source: Source, days: Collection[dt.date] | None, no_day: str) -> str:
    """A query for the rows of ``source`` as they are with their day as text in ``staged_day``, of ``days`` only."""
    begin = source.fields.time(_begin(source))
    day = f"coalesce(CAST(CAST({begin} AS DATE) AS VARCHAR), {literal(no_day)})"
    wanted = (
        ""
        if days is None
        else f" WHERE staged_day IN ({', '.join(literal(one) for one in [no_day, *map(str, sorted(days))])})"
    )
    return f"SELECT * FROM (SELECT *, {day} AS staged_day FROM {source.relation}{_only(source, days)}){wanted}"


def bounds(source: Source) -> str:
    """A query for the first and last moment at which charges of ``source`` begin."""
    begin = source.fields.time(_begin(source))
    return f"SELECT CAST(min({begin}) AS DATE), CAST(max({begin}) AS DATE) FROM {source.relation}"


def days(source: Source) -> str:
    """A query for the days at which charges of ``source`` begin; null where it can't be read."""
    return f"SELECT DISTINCT CAST({source.fields.time(_begin(source))} AS DATE) FROM {source.relation}"


def _period(source: Source) -> str:
    """A correction is of the period that it is billed in, whatever day it corrects."""
    month = period_of(source.file.key) if source.file.delivery else None
    delivered = f"DATE '{dt.date(*month, 1)}', " if month else ""
    return f"CAST(date_trunc('month', coalesce(BillingPeriodStart, {delivered}ChargePeriodStart)) AS DATE)"


def _services(source: Source) -> str:
    if source.format is Format.FOCUS:
        return ""
    return f" LEFT JOIN services ON services.code = {quoted(source.fields.columns['line_item_product_code'][0])}"


def _same(source: Source) -> str:
    """AWS numbers the lines of a CUR, so that one that stands there twice is one. FOCUS has no such number."""
    if source.format is Format.FOCUS or not source.fields.has(cur.LINE_ID):
        return NULL
    columns = ", ".join(quoted(name) for name, _ in source.fields.columns.values())
    return f"CASE WHEN {source.fields.text(cur.LINE_ID)} IS NOT NULL THEN hash({columns}) END"


def _first(unread: Sequence[Unread], with_value: bool = False) -> str:
    """The name of the first field that can't be read, ``name=value`` when asked for; null when all can."""
    if not unread:
        return "CAST(NULL AS VARCHAR)"
    cases = {}  # some are asked for twice
    for one in unread:
        value = f"{literal(one.label + '=')} || ({one.text})" if with_value else literal(one.label)
        cases[one.label] = f"WHEN {one.fails} THEN {value}"
    return f"CASE {' '.join(cases.values())} END"


def _reason(has_currency: bool, currency: str) -> tuple[str, str]:
    cases = [
        ("bad IS NOT NULL", "split_part(bad, '=', 1) || ' can''t be read'", "bad"),
        ("BilledCost IS NULL", "'BilledCost missing'", NULL),
        ("ChargePeriodStart IS NULL", "'ChargePeriodStart missing'", NULL),
        ("ChargePeriodEnd IS NULL", "'ChargePeriodEnd missing'", NULL),
        ("SubAccountId IS NULL AND BillingAccountId IS NULL", "'account missing'", NULL),
        (
            "ChargePeriodEnd < ChargePeriodStart",
            literal(LATE_END),
            "'ChargePeriodEnd=' || CAST(ChargePeriodEnd AS VARCHAR)",
        ),
    ]
    if has_currency:
        wrong = f"BillingCurrency IS DISTINCT FROM {literal(currency)}"
        named = "coalesce('currency ' || BillingCurrency, 'currency missing')"
        cases.insert(1, (wrong, named, "'BillingCurrency=' || BillingCurrency"))
    reason = " ".join(f"WHEN {when} THEN {then}" for when, then, _ in cases)
    detail = " ".join(f"WHEN {when} THEN {what}" for when, _, what in cases)
    return f"CASE {reason} END", f"CAST(CASE {detail} END AS VARCHAR)"


def _begin(source: Source) -> str:
    return "ChargePeriodStart" if source.format is Format.FOCUS else "line_item_usage_start_date"


def _only(source: Source, days: Collection[dt.date] | None) -> str:
    """A condition on the file's own column, so that parts of a Parquet file without these days aren't read."""
    begin = _begin(source)
    if not days or not source.fields.is_typed_time(begin):
        return ""
    column = quoted(source.fields.columns[begin.lower()][0])
    kind = source.fields.columns[begin.lower()][1]
    zone = "+00" if "TIME ZONE" in kind else ""
    first, after = min(days), max(days) + dt.timedelta(days=1)
    of = "TIMESTAMPTZ" if zone else "TIMESTAMP"
    inside = f"{column} >= {of} '{first} 00:00:00{zone}' AND {column} < {of} '{after} 00:00:00{zone}'"
    return f" WHERE ({inside}) OR {column} IS NULL"


def _day_filter(days: Collection[dt.date] | None) -> str:
    return "" if days is None else f" WHERE day IN ({_dates(sorted(days))}) OR day IS NULL"


def _dates(days: Sequence[dt.date]) -> str:
    return ", ".join(f"DATE '{day}'" for day in days) or "NULL"
