"""The completion report as a page: one description of it, for Markdown and for an HTML file on its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from include.completion import pictures
from include.pages import document as pages
from include.pages.document import Block, Document, Items, Paragraph, Section, Tile, bullets
from include.pages.table import Table
from include.pages.texts import usd

Json = Any
LATENCY = {"p95_ms": ".1f", "error_ratio": ".4%", "nodes": ".0f", "spot_share_pods": ".0%", "usd_hour": ".4f"}


def to_markdown(report: Mapping[str, Json]) -> str:
    """The report as Markdown."""
    return pages.to_markdown(document(report))


def to_html(report: Mapping[str, Json]) -> str:
    """The report as one HTML file without anything from elsewhere."""
    return pages.to_html(document(report))


class Notes:
    """Numbers for the records that figures come from, in the order in which they are named."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, *keys: str) -> str:
        """Such as ``[3] [4]``; ``none`` without a record."""
        named = dict.fromkeys(key for key in keys if key)
        return " ".join(f"[{self._numbers.setdefault(key, len(self._numbers) + 1)}]" for key in named) or "none"

    def table(self) -> Table:
        """Number and record, the ledger's key of it."""
        return _table(("number", "record"), ((f"[{number}]", key) for key, number in self._numbers.items()))


def document(report: Mapping[str, Json]) -> Document:
    """The page of a report."""
    ledger = report["ledger"]
    return Document(
        title=f"Completion report: {report['estate']}",
        over="AkiDB cost optimisation, the week's result",
        head=(
            Paragraph(f"Regions: {', '.join(report['regions'])}."),
            Paragraph(f"Newest record of the ledger: {report['as_of'] or 'none'}."),
            Paragraph(f"Records read: {ledger['records']}, of which nobody signed {ledger['unsigned']}."),
            *(Paragraph(f"Not in this report: {why}", strong=True) for _, why in sorted(ledger["bad"].items())),
        ),
        tiles=tuple(_tile(name, told) for name, told in report["priorities"].items()),
        sections=tuple(Section(title, blocks) for title, blocks in _sections(report).items()),
    )


def _tile(name: str, told: Mapping[str, Json]) -> Tile:
    return Tile(name, str(told["verdict"]), f"{told['pass']} of {told['of']} pass; wanted: {told['wanted']}")


def _sections(report: Mapping[str, Json]) -> dict[str, tuple[Block, ...]]:
    notes, limit = Notes(), float(report["limits"]["p95_ms"])
    lessons = [f"{lesson['text']} {notes(lesson['source'])}" for lesson in report["lessons"]]
    sources = tuple((name, key or "none") for name, key in sorted(report["sources"].items()))
    found: dict[str, tuple[Block, ...]] = {
        "Executive summary": (bullets(*report["summary"]),),
        "Scorecard": (_scorecard(report["scorecard"], notes),),
        "Cost by component (USD a month)": _costs(report["breakdown"], notes),
        "Day by day": (_days(report["days"], notes),),
        "Latency and nodes, before and after": (
            pictures.latency(report["latency"], limit),
            _latency(report["latency"], notes),
        ),
        "Requests of the week": (_service(report["service"], notes),),
        "Savings since week 8": (pictures.savings(report["savings"]), _savings(report["savings"], notes)),
        "Planned savings": _planned(report["waterfall"], notes),
        "Lessons": (bullets(*(lessons or ["None on record."])),),
        "Figures that the verifier computes again": (_figures(report["figures"]),),
    }
    return {**found, "Records": (notes.table(), Items(sources))}


def _scorecard(rows: Sequence[Mapping[str, Json]], notes: Notes) -> Table:
    names = ("item", "priority", "wanted", "verdict", "measured")
    return _table((*names, "records"), ((*(str(row[name]) for name in names), notes(*row["sources"])) for row in rows))


def _costs(rows: Sequence[Mapping[str, Json]], notes: Notes) -> tuple[Block, ...]:
    head = ("component", "week 13 (plan)", "week 14 (plan)", "baseline", "target", "measured", "book", "verdict", "why")
    names = ("week_13_plan_usd", "week_14_plan_usd", "baseline_usd", "target_usd", "measured_usd")
    told = (
        (
            row["component"],
            *(usd(row[name]) for name in names),
            row["book"],
            row["verdict"],
            str(row["reason"] or row["source"]),
            notes(row["record"]),
        )
        for row in rows
    )
    return pictures.components(rows), _table((*head, "record"), told)


def _days(rows: Sequence[Mapping[str, Json]], notes: Notes) -> Table:
    names = ("lever", "day", "date", "region", "outcome")
    return _table(
        ("lever", "day", "date", "place", "outcome", "stages", "run", "record"),
        (
            (*(row[name] for name in names), "; ".join(row["stages"]) or "none", row["run"], notes(row["source"]))
            for row in rows
        ),
    )


def _latency(rows: Sequence[Mapping[str, Json]], notes: Notes) -> Table:
    def pair(row: Mapping[str, Json], name: str) -> str:
        values = [row[f"{name}_before"], row[f"{name}_after"]]
        return " -> ".join("unknown" if v is None else format(v, LATENCY[name]) for v in values)

    head = ("region", "P95 ms", "error ratio", "nodes", "spot share", "USD an hour", "records")
    return _table(
        head, ((row["region"], *(pair(row, name) for name in LATENCY), notes(*row["sources"].values())) for row in rows)
    )


def _service(rows: Sequence[Mapping[str, Json]], notes: Notes) -> Table:
    def whole(value: Json) -> str:
        return "unknown" if value is None else f"{value:,.0f}"

    told = (
        (
            row["region"],
            *(whole(row[name]) for name in ("asked", "served", "served_qps")),
            *(str(row[name] or "unknown")[:19] for name in ("since", "until")),
            notes(*row["sources"]),
        )
        for row in rows
    )
    return _table(("region", "asked", "served", "QPS in the load step", "from", "to", "records"), told)


def _savings(rows: Sequence[Mapping[str, Json]], notes: Notes) -> Table:
    return _table(
        ("point", "book", "USD a month", "record"),
        ((row["point"], row["book"], usd(row["usd_month"]), row["source"] or notes(row["record"])) for row in rows),
    )


def _planned(waterfall: Mapping[str, Json], notes: Notes) -> tuple[Block, ...]:
    rows = waterfall["rows"]
    books = dict.fromkeys(row["book"] for row in rows)
    if not books:
        return (Paragraph("Unknown: no plan of the week is on record."),)
    source = notes(waterfall["source"])
    told = ((row["lever"], row["book"], usd(row["usd_month"]), source) for row in rows)
    return (
        *(pictures.waterfall(rows, book) for book in books),
        _table(("lever", "book", "USD a month", "record"), told),
    )


def _figures(rows: Sequence[Mapping[str, Json]]) -> Table:
    head = ("figure", "value", "rule", "records")
    return _table(head, ((r["figure"], str(r["value"]), r["rule"], str(len(r["records"]))) for r in rows))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    return Table(head, tuple(rows))
