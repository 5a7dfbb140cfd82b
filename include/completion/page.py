"""The completion report as a page: one description of it, for Markdown and for an HTML file on its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.completion.report import usd
from include.pages import document as pages
from include.pages.chart import Bar, Chart, bar_chart
from include.pages.document import Document, Items, Paragraph, Section, bullets
from include.pages.table import Table

Json = Any


def to_markdown(report: Mapping[str, Json]) -> str:
    """The report as Markdown."""
    return pages.to_markdown(document(report))


def to_html(report: Mapping[str, Json]) -> str:
    """The report as one HTML file without anything from elsewhere."""
    return pages.to_html(document(report))


def document(report: Mapping[str, Json]) -> Document:
    """The page of a report."""
    sources = tuple((name, key or "none") for name, key in sorted(report["sources"].items()))
    return Document(
        title=f"Completion report: {report['estate']}",
        over="AkiDB cost optimisation, the week's result",
        head=(
            Paragraph(f"Regions: {', '.join(report['regions'])}."),
            Paragraph(f"Newest record of the ledger: {report['as_of'] or 'none'}."),
        ),
        sections=(
            Section("Summary", (bullets(*report["summary"]), _savings_chart(report["savings"]))),
            *(Section(title, (table,)) for title, table in tables(report).items()),
            Section("Lessons", (bullets(*(report["lessons"] or ["None on record."])),)),
            Section("Sources", (Items(sources),)),
        ),
    )


def tables(report: Mapping[str, Json]) -> dict[str, Table]:
    """Every table of the report by its heading."""
    return {
        "Cost by component (USD a month)": _breakdown(report["breakdown"]),
        "Day by day": _days(report["days"]),
        "Latency and nodes, before and after": _latency(report["latency"]),
        "Savings": _savings(report["savings"]),
        "Scorecard": _scorecard(report["scorecard"]),
    }


def _breakdown(rows: Sequence[Mapping[str, Json]]) -> Table:
    head = ("component", "week 13 (plan)", "week 14 (plan)", "baseline", "target", "measured", "book", "verdict", "why")
    figures = ("week_13_plan_usd", "week_14_plan_usd", "baseline_usd", "target_usd", "measured_usd")
    return _table(
        head,
        (
            (row["component"], *(usd(row[name]) for name in figures), row["book"], row["verdict"], _why(row))
            for row in rows
        ),
    )


def _why(row: Mapping[str, Json]) -> str:
    return str(row["reason"] or row["source"])


def _days(rows: Sequence[Mapping[str, Json]]) -> Table:
    head = ("day", "lever", "region", "outcome", "stages", "run")
    names = ("day", "lever", "region", "outcome")
    return _table(
        head, ((*(row[name] for name in names), "; ".join(row["stages"]) or "none", row["run"]) for row in rows)
    )


def _latency(rows: Sequence[Mapping[str, Json]]) -> Table:
    head = ("region", "P95 ms", "error ratio", "nodes", "spot share", "USD an hour")
    forms = {"p95_ms": ".1f", "error_ratio": ".4%", "nodes": ".0f", "spot_share_pods": ".0%", "usd_hour": ".4f"}

    def pair(row: Mapping[str, Json], name: str) -> str:
        values = [row[f"{name}_before"], row[f"{name}_after"]]
        return " -> ".join("unknown" if v is None else format(v, forms[name]) for v in values)

    return _table(head, ((row["region"], *(pair(row, name) for name in forms)) for row in rows))


def _savings(rows: Sequence[Mapping[str, Json]]) -> Table:
    head = ("point", "book", "USD a month")
    return _table(head, ((row["point"], row["book"], usd(row["usd_month"])) for row in rows))


def _scorecard(rows: Sequence[Mapping[str, Json]]) -> Table:
    names = ("priority", "item", "wanted", "verdict", "measured")
    return _table(names, (tuple(str(row[name]) for name in names) for row in rows))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    return Table(head, tuple(rows))


def _savings_chart(points: Sequence[Mapping[str, Json]]) -> Chart:
    bars = [
        Bar(f"{point['point']} ({point['book']})", None if point["usd_month"] is None else float(point["usd_month"]))
        for point in points
    ]
    return bar_chart("USD a month", bars, "USD a month")
