"""A validation's record as a page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from include.cost.table.components import UNALLOCATED
from include.cost.targets import FAIL
from include.pages.chart import Bar, Chart, bar_chart
from include.pages.document import Document, Items, Paragraph, Section, bullets
from include.pages.table import Table
from include.pages.texts import usd, words

HEADERS = ("component", "verdict", "24 h", "month", "baseline", "target", "book", "coverage", "source")


def document(record: Mapping[str, Any]) -> Document:
    """The page of a record, of whatever age."""
    window, total = record["window"], record["total"]
    regions, count = record["regions"], record["of_regions"]
    scope = f"all {count} regions" if len(regions) == count else f"only {', '.join(regions)} of {count} regions"
    lead, more = _total_text(total)
    gaps = bullets(*(gap["text"] for gap in record["cross_checks"])) if record["cross_checks"] else None
    rest = Items(tuple(record["unallocated"].items())) if record["unallocated"] else None
    return Document(
        title=f"Validation {_time(window['start'])} to {_time(window['end'])} UTC",
        over="AkiDB cost validation",
        status=total["settling"],
        lead=lead,
        more=more,
        head=(Paragraph(f"Window: {window['seconds']} s; {scope}. State: {total['settling']}. USD."),),
        sections=(
            Section("Components", (_table(record), _chart(record))),
            Section("How each figure was made", (Items(tuple(_explained(line, window) for line in record["lines"])),)),
            Section("Cross-check", (gaps or Paragraph("Nothing to compare: one source only."),)),
            Section(
                "Not allocated to a component",
                (
                    Paragraph("Part of the total, against no target of its own."),
                    rest or Paragraph("Nothing is known of such rows."),
                ),
            ),
        ),
    )


def _total_text(total: Mapping[str, Any]) -> tuple[str, str]:
    if total["unknown"]:
        return "Total unknown", (
            f"{', '.join(total['unknown'])} without data. What is known sums to "
            f"{usd(total['known_usd_month'])} a month; that is no total and is not judged."
        )
    return f"Total {total['verdict']}", (
        f"{usd(total['usd_month'])} a month against {usd(total['target_usd_month'])} "
        f"(the plan's own figure: {usd(total['plan_usd_month'])})."
    )


def _table(record: Mapping[str, Any]) -> Table:
    total = record["total"]
    last = ("total", total["verdict"], usd(total["usd_24h"]), usd(total["usd_month"]), "",
            usd(total["target_usd_month"]), "", "", "")  # fmt: skip
    return Table(HEADERS, (*map(_row, record["lines"]), *_rest_row(total), last))


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    figures = (usd(line[name]) for name in ("usd_24h", "usd_month", "baseline_usd_month", "target_usd_month"))
    coverage = f"{Decimal(line['coverage']) * 100:.1f} %"
    return (line["component"], line["verdict"], *figures, line["book"], coverage, line["source"])


def _rest_row(total: Mapping[str, Any]) -> list[tuple[str, ...]]:
    # Older records don't have it in their total.
    if total.get("unallocated_usd_month") is None:
        return []
    day, month = usd(total["unallocated_usd_24h"]), usd(total["unallocated_usd_month"])
    return [(UNALLOCATED, "", day, month, "", "", "", "", "")]


def _chart(record: Mapping[str, Any]) -> Chart:
    bars = [
        Bar(
            words(line["component"]),
            _float(line["usd_month"]),
            _float(line["target_usd_month"]),
            is_bad=line["verdict"] == FAIL,
        )
        for line in record["lines"]
    ]
    return bar_chart("Components against their targets", bars, "USD a month", "target")


def _float(text: str | None) -> float | None:
    return None if text is None else float(text)


def _time(text: str) -> str:
    return f"{dt.datetime.fromisoformat(text).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def _explained(line: Mapping[str, Any], window: Mapping[str, Any]) -> tuple[str, str]:
    parts = [line["settling"], line["projection"], line["reason"], *line["notes"]]
    beside = line["beside_usd_month"]
    if beside is not None and Decimal(beside):
        parts.append(
            f"beside it {usd(beside)} a month that the baseline doesn't hold: in the total, not in the verdict"
        )
    own = (line["window_start"], line["window_end"])
    where = "" if own == (window["start"], window["end"]) else f" ({_time(own[0])} to {_time(own[1])} UTC)"
    return f"{line['component']}{where}", "; ".join(part for part in parts if part)
