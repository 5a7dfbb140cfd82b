"""An opened export as rows of the cost table, each with the reason for which it can't count, if any."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any

from include.cost.exports import cur, focus
from include.cost.exports.aws_names import SERVICES
from include.cost.exports.fields import NULL
from include.cost.exports.source import ROW, Format, Source
from include.cost.focus import COLUMNS
from include.cost.sql import literal, quoted

# Beside COLUMNS: which file it came from, why it is set aside, and what tells lines and versions of a line apart.
EXTRA = {
    "file_no": "INTEGER",
    "day": "DATE",  # of ChargePeriodStart, UTC
    "kind": "VARCHAR",  # the source's own type of line
    "reason": "VARCHAR",  # null: the row counts
    "detail": "VARCHAR",  # field and value behind the reason
    "line": "UBIGINT",  # hash of every source column but the measures
    "version": "UBIGINT",  # hash of every source column
}
LATE_END = "charge period ends before it begins"


def prepare(connection: Any) -> None:
    """Make the table of service names that the queries of CURs join."""
    connection.execute("CREATE OR REPLACE TEMP TABLE services (code VARCHAR, name VARCHAR, category VARCHAR)")
    rows = [(code, name, category) for code, (name, category) in SERVICES.items()]
    connection.executemany("INSERT INTO services VALUES (?, ?, ?)", rows)


def normalised(source: Source, file_no: int, currency: str, days: Collection[dt.date] | None) -> str:
    """A query that gives COLUMNS and EXTRA for the rows of ``source``, of ``days`` only when given.

    With ``days``, rows whose day can't be read are left out: they belong to no day.
    """
    is_focus = source.format is Format.FOCUS
    source.fields.unread.clear()
    made = focus.columns(source.fields) if is_focus else cur.columns(source.fields)
    made["x_SourceFile"], made["x_SourceRow"] = literal(source.file.key), ROW
    columns = ", ".join(f"CAST({made.get(name, NULL)} AS {kind}) AS {quoted(name)}" for name, kind in COLUMNS.items())
    line, version = _hashes(source, is_focus)
    line_type = source.fields.text(focus.LINE_TYPE if is_focus else cur.LINE_TYPE)
    services = "" if is_focus else _services(source)
    reason, detail = _reason(source, currency)
    return (
        f"SELECT {', '.join(quoted(name) for name in COLUMNS)}, {file_no} AS file_no, day, kind, {reason} AS reason, "
        f"{detail} AS detail, line, version FROM (SELECT *, CAST(ChargePeriodStart AS DATE) AS day FROM ("
        f"SELECT {columns}, {line_type} AS kind, {_unread(source)} AS unread, {line} AS line, {version} AS version "
        f"FROM {source.relation}{services}{_only(source, days)})){_day_filter(days)}"
    )


def by_day(source: Source, days: Collection[dt.date] | None, no_day: str) -> str:
    """A query for the rows of ``source`` as they are with their day as text in ``staged_day``, of ``days`` only."""
    begin = source.fields.time(_begin(source))
    day = f"coalesce(CAST(CAST({begin} AS DATE) AS VARCHAR), {literal(no_day)})"
    wanted = (
        ""
        if days is None
        else f" WHERE staged_day IN ({', '.join(literal(str(day)) for day in sorted(days)) or 'NULL'})"
    )
    return f"SELECT * FROM (SELECT *, {day} AS staged_day FROM {source.relation}{_only(source, days)}){wanted}"


def bounds(source: Source) -> str:
    """A query for the first and last moment at which charges of ``source`` begin."""
    begin = source.fields.time(_begin(source))
    return f"SELECT CAST(min({begin}) AS DATE), CAST(max({begin}) AS DATE) FROM {source.relation}"


def coverage(source: Source, file_no: int) -> str:
    """A query for the (file_no, account, period) that ``source`` has rows of: accounts, first days of months."""
    if source.format is Format.FOCUS:
        account = source.fields.text("SubAccountId", "BillingAccountId")
        begin, start = source.fields.time("BillingPeriodStart"), source.fields.time("ChargePeriodStart")
    else:
        account = cur.columns(source.fields)["SubAccountId"]
        begin = source.fields.time("bill_billing_period_start_date")
        start = source.fields.time("line_item_usage_start_date")
    period = f"CAST(date_trunc('month', {start if begin == NULL else begin}) AS DATE)"
    return f"SELECT DISTINCT {file_no} AS file_no, {account} AS account, {period} AS period FROM {source.relation}"


def _services(source: Source) -> str:
    return f" LEFT JOIN services ON services.code = {quoted(source.fields.columns['line_item_product_code'][0])}"


def _hashes(source: Source, is_focus: bool) -> tuple[str, str]:
    names = sorted(source.fields.columns)
    measured = focus.MEASURES if is_focus else cur.measures(names)
    told = [quoted(source.fields.columns[name][0]) for name in names if name not in measured]
    measures = [quoted(source.fields.columns[name][0]) for name in names if name in measured]
    line = f"hash({', '.join(told)})"
    return line, f"hash({', '.join([line, *measures])})"


def _unread(source: Source) -> str:
    """``field=value`` of the first field that can't be read; null when all can."""
    checks = {name: (text, fails) for name, text, fails in source.fields.unread}
    if not checks:
        return "CAST(NULL AS VARCHAR)"
    cases = (f"WHEN {fails} THEN {literal(name + '=')} || ({text})" for name, (text, fails) in checks.items())
    return f"CASE {' '.join(cases)} END"


def _reason(source: Source, currency: str) -> tuple[str, str]:
    has_currency = source.fields.has("BillingCurrency") or source.fields.has("line_item_currency_code")
    cases = [
        ("unread IS NOT NULL", "split_part(unread, '=', 1) || ' can''t be read'", "unread"),
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
    return f" WHERE {column} >= {of} '{first} 00:00:00{zone}' AND {column} < {of} '{after} 00:00:00{zone}'"


def _day_filter(days: Collection[dt.date] | None) -> str:
    return "" if days is None else f" WHERE day IN ({_dates(sorted(days))})"


def _dates(days: Sequence[dt.date]) -> str:
    return ", ".join(f"DATE '{day}'" for day in days) or "NULL"
