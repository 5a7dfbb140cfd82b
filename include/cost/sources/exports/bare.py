"""The sum of a file as it stands, read apart from everything that decides what counts: what a result must add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from include.cost.sources.exports import cur, focus
from include.cost.sources.exports.source import Format, Source, SourceFile, guarded, open_source
from include.cost.table.columns import MONEY, CostError
from include.cost.table.sql import literal, quoted


@dataclass(frozen=True)
class BareSum:
    """Rows, and the dollars of them by currency. ``unreadable`` rows have no amount that can be read."""

    rows: int
    amounts: dict[str, Decimal]
    unreadable: int
    left_out: tuple[str, ...]  # files that can't be read


def bare_sum(files: Iterable[SourceFile], currency: str) -> BareSum:
    """What the files bill in all; ``currency`` is that of a file that doesn't name one."""
    import duckdb

    rows, unreadable, amounts, left_out = 0, 0, dict[str, Decimal](), []
    with duckdb.connect() as connection:
        for file in files:
            try:
                source = open_source(connection, file)
                query = _query(source, currency)
                found = guarded(file, lambda query=query: connection.execute(query).fetchall())
            except CostError:
                left_out.append(file.key)
                continue
            for name, number, amount, failed in found:
                key = name or "no currency"
                rows, unreadable = rows + int(number), unreadable + int(failed)
                amounts[key] = amounts.get(key, Decimal(0)) + (amount or Decimal(0))
    return BareSum(rows, dict(sorted(amounts.items())), unreadable, tuple(left_out))


def _query(source: Source, currency: str) -> str:
    layout = focus if source.format is Format.FOCUS else cur
    name, kind = source.fields.columns[layout.BILLED.lower()]
    # DuckDB hands a bare TRY_CAST to its CSV reader, which fails where it can't be done.
    amount = f"trim({quoted(name)})" if kind == "VARCHAR" else quoted(name)
    money = f"TRY_CAST({amount} AS {MONEY})"
    named = source.fields.text(layout.CURRENCY) if source.fields.has(layout.CURRENCY) else literal(currency)
    return (
        f"SELECT {named} AS currency, count(*), sum({money}), count(*) - count({money}) "
        f"FROM {source.relation} GROUP BY currency"
    )
