"""The completion report as Markdown and as one HTML file without anything from elsewhere. Pure functions."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from include.completion.report import usd

Json = Any
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid #8884;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.pass{color:#1a7f37}.fail{color:#cf222e}.unknown{color:#9a6700}
.bar{display:inline-block;height:.8rem;background:#57a;border-radius:2px}
"""


def tables(report: Mapping[str, Json]) -> dict[str, Table]:
    """Every table of the report: heading -> (head, rows), all text."""
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
    return head, [
        (row["component"], *(usd(row[name]) for name in figures), row["book"], row["verdict"], _why(row))
        for row in rows
    ]


def _why(row: Mapping[str, Json]) -> str:
    return str(row["reason"] or row["source"])


def _days(rows: Sequence[Mapping[str, Json]]) -> Table:
    head = ("day", "lever", "region", "outcome", "stages", "run")
    return head, [
        (row["day"], row["lever"], row["region"], row["outcome"], "; ".join(row["stages"]) or "none", row["run"])
        for row in rows
    ]


def _latency(rows: Sequence[Mapping[str, Json]]) -> Table:
    head = ("region", "P95 ms", "error ratio", "nodes", "spot share", "USD an hour")
    forms = {"p95_ms": ".1f", "error_ratio": ".4%", "nodes": ".0f", "spot_share_pods": ".0%", "usd_hour": ".4f"}

    def pair(row: Mapping[str, Json], name: str) -> str:
        values = [row[f"{name}_before"], row[f"{name}_after"]]
        return " -> ".join("unknown" if v is None else format(v, forms[name]) for v in values)

    return head, [(row["region"], *(pair(row, name) for name in forms)) for row in rows]


def _savings(rows: Sequence[Mapping[str, Json]]) -> Table:
    return ("point", "book", "USD a month"), [(row["point"], row["book"], usd(row["usd_month"])) for row in rows]


def _scorecard(rows: Sequence[Mapping[str, Json]]) -> Table:
    names = ("priority", "item", "wanted", "verdict", "measured")
    return names, [tuple(str(row[name]) for name in names) for row in rows]


def to_markdown(report: Mapping[str, Json]) -> str:
    """The report as Markdown."""
    lines = [f"# Completion report: {report['estate']}", "", f"Regions: {', '.join(report['regions'])}.", ""]
    lines += [f"Newest record of the ledger: {report['as_of'] or 'none'}.", "", "## Summary", ""]
    lines += [f"- {line}" for line in report["summary"]]
    for title, (head, rows) in tables(report).items():
        lines += ["", f"## {title}", "", _md_row(head), _md_row(["---"] * len(head)), *(_md_row(row) for row in rows)]
    lines += ["", "## Lessons", "", *([f"- {_flat(lesson)}" for lesson in report["lessons"]] or ["None on record."])]
    lines += ["", "## Sources", "", *(f"- {name}: {key or 'none'}" for name, key in sorted(report["sources"].items()))]
    return "\n".join(lines) + "\n"


def _flat(text: str) -> str:
    return " ".join(text.split())


def _md_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_flat(cell).replace("|", "\\|") for cell in cells) + " |"


def to_html(report: Mapping[str, Json]) -> str:
    """The report as one HTML file; bars show the savings, numbers stand right."""
    title = f"Completion report: {_text(report['estate'])}"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{STYLE}</style><h1>{title}</h1><p>Regions: {_text(', '.join(report['regions']))}.",
        f"Newest record of the ledger: {_text(report['as_of'] or 'none')}.</p>",
        "<h2>Summary</h2>" + _list(report["summary"]),
        _bars(report["savings"]),
    ]
    parts += [f"<h2>{_text(head)}</h2>{_table(*table)}" for head, table in tables(report).items()]
    parts.append("<h2>Lessons</h2>" + _list(report["lessons"] or ["None on record."]))
    parts.append(
        "<h2>Sources</h2>" + _list([f"{name}: {key or 'none'}" for name, key in sorted(report["sources"].items())])
    )
    return "\n".join(parts) + "\n"


def _text(value: str) -> str:
    return html.escape(str(value))


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: str) -> str:
    if cell in ("pass", "fail", "unknown"):
        return f'<td class="{cell}">{cell}</td>'
    number = cell.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()
    return f'<td class="n">{_text(cell)}</td>' if number else f"<td>{_text(cell)}</td>"


def _bars(points: Sequence[Mapping[str, Json]]) -> str:
    known = [Decimal(point["usd_month"]) for point in points if point["usd_month"] is not None]
    most = max(known, default=Decimal(1))
    rows = []
    for point in points:
        value = point["usd_month"]
        width = 0 if value is None or most <= 0 else round(Decimal(value) / most * 100)
        bar = "" if value is None else f'<span class="bar" style="width:{width}%"></span>'
        rows.append(f"<tr><td>{_text(point['point'])} ({_text(point['book'])})</td><td style='width:60%'>{bar}</td>"
                    f"{_cell(usd(value))}</tr>")  # fmt: skip
    return f"<h2>USD a month</h2><table>{''.join(rows)}</table>"
