"""Rows that can't count beside others: duplicates, corrected lines, older exports, other exports of the same day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from include.cost.exports.source import Source
from include.cost.focus import MONEY

DUPLICATE = "duplicate"
CORRECTED = "corrected by a later file"
SUPERSEDED = "superseded by a newer export"
OVERLAPS = "overlaps an export that counts first"
REPEATED = frozenset({DUPLICATE, CORRECTED, SUPERSEDED, OVERLAPS})  # the same charge stands elsewhere
_ACCOUNT = "coalesce(SubAccountId, BillingAccountId)"


def make_files(connection: Any, sources: Sequence[Source | None]) -> None:
    """Make the table ``files``: rank, delivery and order of each file.

    Files of one delivery share their place in the order: the same line in two of them is two lines. Others are ordered
    as they were given.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE files (file_no INTEGER, rank INTEGER, place INTEGER)")
    places: dict[str, int] = {}
    for number, source in enumerate(sources):
        if source is not None:
            delivery = source.file.delivery
            place = places.setdefault(f"{source.file.rank}/{delivery}", number) if delivery else number
            connection.execute("INSERT INTO files VALUES (?, ?, ?)", [number, source.file.rank, place])


def make_superseded(connection: Any, coverages: Sequence[tuple[str, Source]]) -> bool:
    """Make the table ``superseded`` (file_no, account, period) from the coverage queries; False when it is empty.

    Of the deliveries of one export that cover an account's billing period the one received last counts, whole: a day
    that it doesn't have is gone.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE covered "
        "(file_no INTEGER, account VARCHAR, period DATE, export VARCHAR, delivery VARCHAR, received TIMESTAMPTZ)"
    )
    for sql, source in coverages:
        connection.execute(
            f"INSERT INTO covered SELECT *, ?, ?, ? FROM ({sql})",
            [f"{source.file.rank}/{source.format}", source.file.delivery, source.file.received],
        )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE superseded AS SELECT file_no, account, period FROM ("
        "SELECT *, first_value(delivery) OVER (PARTITION BY export, account, period "
        "ORDER BY received DESC, delivery DESC) AS newest FROM covered) WHERE delivery <> newest"
    )
    return bool(connection.execute("SELECT count(*) FROM superseded").fetchone()[0])


def make_dropped(connection: Any, relation: str, has_ranks: bool, has_superseded: bool) -> int:
    """Make the table ``dropped`` (file_no, row, why) of rows of ``relation`` that can't count; returns their number."""
    connection.execute("CREATE OR REPLACE TEMP TABLE dropped (file_no INTEGER, row BIGINT, why VARCHAR)")
    if has_superseded:
        period = "CAST(date_trunc('month', coalesce(BillingPeriodStart, ChargePeriodStart)) AS DATE)"
        connection.execute(
            f"INSERT INTO dropped SELECT r.file_no, r.x_SourceRow, '{SUPERSEDED}' FROM {relation} r JOIN superseded s "
            f"ON r.file_no = s.file_no AND {_ACCOUNT} = s.account AND {period} = s.period WHERE r.reason IS NULL"
        )
    if has_ranks:
        connection.execute(
            f"INSERT INTO dropped SELECT file_no, row, '{OVERLAPS}' FROM ("
            f"SELECT file_no, x_SourceRow AS row, rank, min(rank) OVER (PARTITION BY day, {_ACCOUNT}) AS best "
            f"FROM {left(relation)} JOIN files USING (file_no)) WHERE rank > best"
        )
    _drop_versions(connection, relation)
    return int(connection.execute("SELECT count(*) FROM dropped").fetchone()[0])


def left(relation: str) -> str:
    """The rows of ``relation`` that count so far, as a subquery."""
    gone = "SELECT 1 FROM dropped d WHERE d.file_no = r.file_no AND d.row = r.x_SourceRow"
    return f"(SELECT * FROM {relation} r WHERE reason IS NULL AND NOT EXISTS ({gone}))"


def _drop_versions(connection: Any, relation: str) -> None:
    """Equal lines count once. A line that a later file has with other measures counts as the later file has it."""
    twice = f"SELECT day, line FROM {relation} WHERE reason IS NULL GROUP BY day, line HAVING count(*) > 1"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE twice AS {twice}")
    if not connection.execute("SELECT count(*) FROM twice").fetchone()[0]:
        return
    placed = (
        "SELECT file_no, x_SourceRow AS row, day, line, version, place, "
        f"max(place) OVER (PARTITION BY day, line) AS latest FROM {left(relation)} "
        "SEMI JOIN twice USING (day, line) JOIN files USING (file_no)"
    )
    judged = (
        "SELECT *, row_number() OVER (PARTITION BY day, line, version ORDER BY file_no, row) AS nth, "
        f"bool_or(place = latest) OVER (PARTITION BY day, line, version) AS in_latest FROM ({placed})"
    )
    connection.execute(
        f"INSERT INTO dropped SELECT file_no, row, CASE WHEN nth > 1 THEN '{DUPLICATE}' ELSE '{CORRECTED}' END "
        f"FROM ({judged}) WHERE nth > 1 OR NOT in_latest"
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
