"""Rows that can't count beside others: duplicates, earlier downloads, other exports of the same day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.cost.sources.exports.downloads import SCOPE, matches, scoped
from include.cost.sources.exports.source import Source
from include.cost.table.columns import MONEY

DUPLICATE = "duplicate"
SUPERSEDED = "superseded by a newer export"
OVERLAPS = "overlaps an export that counts first"
REPEATED = frozenset({DUPLICATE, SUPERSEDED, OVERLAPS})  # the same charge stands elsewhere
_ACCOUNT = "coalesce(SubAccountId, BillingAccountId)"


def make_files(connection: Any, sources: Sequence[tuple[int, Source]], places: Mapping[int, int]) -> None:
    """Make the table ``files``: rank and place (see downloads.py) of each file."""
    connection.execute("CREATE OR REPLACE TEMP TABLE files (file_no INTEGER, rank INTEGER, place INTEGER)")
    for number, source in sources:
        connection.execute("INSERT INTO files VALUES (?, ?, ?)", [number, source.file.rank, places[number]])


def make_dropped(connection: Any, relation: str) -> int:
    """Make the table ``dropped`` (file_no, row, why) of rows of ``relation`` that can't count; returns their number."""
    connection.execute("CREATE OR REPLACE TEMP TABLE dropped (file_no INTEGER, row BIGINT, why VARCHAR)")
    sql = "SELECT count(DISTINCT rank), count(DISTINCT (rank, place)) FROM files"
    ranks, places = connection.execute(sql).fetchone()
    if places > ranks:
        _drop_superseded(connection, relation)
    if ranks > 1:
        connection.execute(
            f"INSERT INTO dropped SELECT file_no, row, '{OVERLAPS}' FROM ("
            f"SELECT file_no, x_SourceRow AS row, rank, min(rank) OVER (PARTITION BY day, {_ACCOUNT}) AS best "
            f"FROM {left(relation)} JOIN files USING (file_no)) WHERE rank > best"
        )
    _drop_duplicates(connection, relation)
    return int(connection.execute("SELECT count(*) FROM dropped").fetchone()[0])


def left(relation: str) -> str:
    """The rows of ``relation`` that count so far, as a subquery."""
    gone = "SELECT 1 FROM dropped d WHERE d.file_no = r.file_no AND d.row = r.x_SourceRow"
    return f"(SELECT * FROM {relation} r WHERE reason IS NULL AND NOT EXISTS ({gone}))"


def _drop_superseded(connection: Any, relation: str) -> None:
    """Of the downloads of one export that speak of an account's billing period and day, the last one counts, whole."""
    needed = f"file_no, x_SourceRow, day, period, {', '.join(SCOPE)}"
    connection.execute(
        f"INSERT INTO dropped SELECT r.file_no, r.x_SourceRow, '{SUPERSEDED}' FROM "
        f"(SELECT {needed}, rank, place FROM {scoped(relation)} JOIN files USING (file_no) WHERE day IS NOT NULL) r "
        f"WHERE EXISTS (SELECT 1 FROM spoken s WHERE s.lane = r.rank AND s.place > r.place AND {matches('s', 'r')})"
    )


def _drop_duplicates(connection: Any, relation: str) -> None:
    """A line that the provider numbers counts once in a download. Equal rows without a number are two charges."""
    numbered = f"SELECT day, same FROM {relation} WHERE reason IS NULL AND same IS NOT NULL"
    twice = f"{numbered} GROUP BY day, same HAVING count(*) > 1"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE twice AS {twice}")
    if not connection.execute("SELECT count(*) FROM twice").fetchone()[0]:
        return
    connection.execute(
        f"INSERT INTO dropped SELECT file_no, row, '{DUPLICATE}' FROM (SELECT file_no, x_SourceRow AS row, "
        "row_number() OVER (PARTITION BY day, same, rank, place ORDER BY file_no, x_SourceRow) AS nth "
        f"FROM {left(relation)} SEMI JOIN twice USING (day, same) JOIN files USING (file_no)) WHERE nth > 1"
    )


def make_covered(connection: Any, relation: str) -> bool:
    """Make the table ``covered_costs`` (file_no, row, billed) where a Savings Plan covers usage; False for none.

    AWS bills covered usage at the on-demand price and takes it back in a negation. FOCUS bills neither: here both
    become zero, and what the two differ by (rounding) stays on one negation, so that the sum is AWS's own.
    """
    kinds = "('SavingsPlanCoveredUsage', 'SavingsPlanNegation')"
    group = f"PARTITION BY CommitmentDiscountId, {_ACCOUNT}, ServiceName, SkuMeter, ChargePeriodStart"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE covered_costs AS SELECT file_no, row, "
        f"CAST(CASE WHEN is_negation AND nth = 1 THEN total ELSE 0 END AS {MONEY}) AS billed FROM ("
        "SELECT file_no, x_SourceRow AS row, kind = 'SavingsPlanNegation' AS is_negation, "
        f"sum(BilledCost) OVER ({group}) AS total, min(kind) OVER ({group}) <> max(kind) OVER ({group}) AS is_pair, "
        f"row_number() OVER ({group}, kind ORDER BY file_no, x_SourceRow) AS nth "
        f"FROM {left(relation)} WHERE kind IN {kinds}) WHERE is_pair"
    )
    return bool(connection.execute("SELECT count(*) FROM covered_costs").fetchone()[0])
