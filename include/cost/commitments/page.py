"""The analysis of commitments as a page."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from include.pages.chart import Bar, bar_chart
from include.pages.document import Block, Document, Paragraph, Section, bullets
from include.pages.table import Table
from include.pages.texts import UNKNOWN, percent, usd, words

Cells = tuple[str, ...]


def document(record: Mapping[str, Any]) -> Document:
    """The page of a record."""
    share = f"{Decimal(record['coverage']) * 100:.1f} %"
    skipped = record["skipped_types"]
    left_out = (Paragraph(f"Left out, no normalised size: {', '.join(skipped)}."),) if skipped else ()
    return Document(
        title=f"Commitments {record['start'][:10]} to {record['end'][:10]}",
        over="AkiDB commitments",
        head=(Paragraph(f"Hourly use from {record['source']}, {share} of the hours. USD a month."),),
        sections=(
            Section("What the on-demand remainder would bear", _advice(record)),
            Section("Stranded", _stranded(record)),
            Section("Other clouds (pilot, list prices on demand)", (_clouds(record), *left_out)),
        ),
    )


def _advice(record: Mapping[str, Any]) -> tuple[Block, ...]:
    headers = ("region", "family", "offer", "buy", "coverage", "utilisation", "break-even", "on demand", "saving")
    bars = [Bar(_name(row), float(row["saving_usd_month"])) for row in record["advice"]]
    states = sorted({f"{row['offer']}: {row['status']}" for row in record["advice"]})
    blocks: list[Block] = [Paragraph("After spot and after what is committed already.")]
    blocks.append(Table(headers, tuple(map(_advice_row, record["advice"]))))
    if bars:
        blocks.append(bar_chart("Saving of each offer", bars, "USD a month"))
        blocks.append(bullets(*states))
    return tuple(blocks)


def _name(row: Mapping[str, Any]) -> str:
    """Such as ``us-east-1 c7g reserved instance 1y``."""
    where = row["region"] if row["family"] == "all" else f"{row['region']} {row['family']}"
    return f"{where} {words(' '.join(row['offer'].split()[:2]))}"


def _advice_row(row: Mapping[str, Any]) -> Cells:
    buy = (
        f"{Decimal(row['quantity']):.2f} {row['unit']}"
        if row["family"] == "all"
        else f"{row['quantity']} x {row['unit']}"
    )
    shares = percent(row["coverage"]), percent(row["utilisation"])
    money = usd(row["on_demand_usd_month"]), usd(row["saving_usd_month"])
    hours = f"{Decimal(row['break_even_hours']):.0f} h"
    return (row["region"], row["family"], row["offer"], buy, *shares, hours, *money)


def _stranded(record: Mapping[str, Any]) -> tuple[Block, ...]:
    unused = [_unused_text(row) for row in record["unused"]]
    none = () if unused else (Paragraph("No row of the bill is an unused commitment."),)
    found = (*unused, *record["before_spot"])
    return (*none, *((bullets(*found),) if found else ()))


def _unused_text(row: Mapping[str, Any]) -> str:
    quantity = "" if row["quantity"] is None else f", {Decimal(row['quantity']).normalize():f} units"
    return f"{row['commitment']} ({row['kind']}): {usd(row['usd'])} paid and not used{quantity}"


def _clouds(record: Mapping[str, Any]) -> Table:
    headers = ("region", "ours", "USD/h", "theirs", "USD/h", "difference", "date", "status")
    return Table(headers, tuple(map(_cloud_row, record["clouds"])))


def _cloud_row(row: Mapping[str, Any]) -> Cells:
    theirs = UNKNOWN if row["theirs_usd_hour"] is None else f"{Decimal(row['theirs_usd_hour']):.4f}"
    ours = f"{Decimal(row['ours_usd_hour']):.4f}"
    rest = percent(row["difference"]), row["date"], row["status"]
    return (row["region"], row["ours"], ours, row["theirs"] or UNKNOWN, theirs, *rest)
