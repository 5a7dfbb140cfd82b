"""Rows made in Python -> one partition file of the cost table: typed, ordered, its facts inside, bytes repeatable."""

from __future__ import annotations

import calendar
import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from include.cost.table.columns import AMOUNT, COLUMNS, MONEY, ORDER_BY, TIME, CostError
from include.cost.table.store import Facts, metadata_of

HOUR = dt.timedelta(hours=1)
_PLACES = {MONEY: Decimal(1).scaleb(-12), AMOUNT: Decimal(1).scaleb(-10)}
_TRACE = ("x_SourceFile", "x_SourceRow")


def write_partition(rows: Sequence[Mapping[str, Any]], facts: Facts, path: Path) -> Facts:
    """Write ``rows`` (keys of COLUMNS; one that is left out is null) to ``path``; returns the facts that are inside.

    ``rows``, ``billed_usd`` and ``content`` of ``facts`` are computed here. Decimals are rounded to the column's
    places. Raises CostError for an unknown column, a row of another day or two rows with the same trace.
    """
    typed = [_typed(row) for row in rows]
    _check(typed, facts)
    facts = dataclasses.replace(
        facts,
        rows=len(typed),
        billed_usd=sum((row["BilledCost"] or Decimal(0) for row in typed), Decimal(0)),
        content=_content(typed),
    )
    _write(typed, facts, path)
    return facts


def day_start(day: dt.date) -> dt.datetime:
    """The day's first moment, UTC."""
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)


def billing_period(day: dt.date) -> dict[str, dt.datetime]:
    """The calendar month of ``day`` as FOCUS columns, the end exclusive."""
    first = day.replace(day=1)
    last = first + dt.timedelta(days=calendar.monthrange(day.year, day.month)[1])
    return {"BillingPeriodStart": day_start(first), "BillingPeriodEnd": day_start(last)}


def tags(**values: str | None) -> str | None:
    """The tags that are known as the table's JSON text; None when none is."""
    known = {key: value for key, value in values.items() if value is not None}
    return json.dumps(known, sort_keys=True, ensure_ascii=False, separators=(",", ":")) if known else None


def money(amount: Decimal) -> Decimal:
    """``amount`` with the 12 places of the table's money."""
    return amount.quantize(_PLACES[MONEY], ROUND_HALF_EVEN)


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise CostError(f"column {unknown[0]!r} is not in the cost table: use a name of include/cost/table/columns.py")
    return {name: _value(name, kind, row.get(name)) for name, kind in COLUMNS.items()}


def _value(name: str, kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind in _PLACES:
        if not isinstance(value, Decimal) or not value.is_finite():
            raise CostError(f"{name} is {value!r}: give a finite Decimal, or None when it isn't known")
        return value.quantize(_PLACES[kind], ROUND_HALF_EVEN)
    if kind == TIME:
        if not isinstance(value, dt.datetime) or value.tzinfo is None:
            raise CostError(f"{name} is {value!r}: give an aware datetime")
        return value.astimezone(dt.UTC)
    return value


def _check(rows: Sequence[Mapping[str, Any]], facts: Facts) -> None:
    seen = set()
    for row in rows:
        start, trace = row["ChargePeriodStart"], tuple(row[name] for name in _TRACE)
        if start is None or start.date() != facts.day:
            raise CostError(
                f"{facts.source} row {trace}: ChargePeriodStart {start} is not on {facts.day}: split by day"
            )
        if None in trace or trace in seen:
            raise CostError(f"{facts.source} row {trace}: {' and '.join(_TRACE)} must name one source row each")
        seen.add(trace)


def _content(rows: Sequence[Mapping[str, Any]]) -> str:
    kept = [name for name in COLUMNS if name not in _TRACE]
    lines = sorted(json.dumps([row[name] for name in kept], default=str) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write(rows: Sequence[Mapping[str, Any]], facts: Facts, path: Path) -> None:
    import duckdb
    import pyarrow as pa

    arrow = {MONEY: pa.decimal128(28, 12), AMOUNT: pa.decimal128(28, 10), TIME: pa.timestamp("us", "UTC")}
    arrow |= {"VARCHAR": pa.string(), "BIGINT": pa.int64()}
    table = pa.Table.from_pylist(list(rows), pa.schema([(name, arrow[kind]) for name, kind in COLUMNS.items()]))
    columns = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in COLUMNS.items())
    order = ", ".join(f'"{name}" NULLS FIRST' for name in ORDER_BY)
    quoted = {name: text.replace("'", "''") for name, text in (("path", str(path)), ("facts", metadata_of(facts)))}
    with duckdb.connect() as connection:
        # One thread: the number of row groups, and so the bytes, must not depend on the machine.
        connection.execute("SET threads = 1")
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("made", table)
        connection.execute(
            f"COPY (SELECT {columns} FROM made ORDER BY {order}) TO '{quoted['path']}' "
            f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{akidb: '{quoted['facts']}'}})"
        )
