"""The files of a report: its figures as Parquet and JSON, its page as Markdown and HTML."""

from __future__ import annotations

import json
from typing import Any

from include.cost.report.page import document
from include.cost.report.result import Report, Row
from include.cost.table.columns import MONEY
from include.pages.document import to_html, to_markdown

COLUMNS = ("day", "section", "key", "metric", "value", "unit", "status", "sources")


def files_of(report: Report) -> dict[str, bytes]:
    """The files of a revision by name; the same report gives the same bytes."""
    page = document(report)
    return {
        "report.parquet": _parquet(report),
        "report.json": json.dumps(as_json(report), sort_keys=True, indent=1).encode(),
        "report.md": to_markdown(page).encode(),
        "report.html": to_html(page).encode(),
    }


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON, numbers as text. It holds nothing that a later, equal export would change."""
    return {
        "day": str(report.day),
        "status": report.status,
        "complete": not report.unknown,
        "since": report.since.isoformat() if report.since else None,
        "unknown": dict(report.unknown),
        "inputs": [
            {
                "source": one.source,
                "content": one.content,
                "rows": one.rows,
                "billed_usd": str(one.billed_usd),
                "rows_set_aside": one.rows_set_aside,
                "missing_hours": list(one.missing_hours),
                "invoiced": one.invoiced,
            }
            for one in report.inputs
        ],
        "requests": json.loads(report.requests.to_json()) if report.requests else None,
        "targets": {name: {"book": goal.book, "derived": goal.derived} for name, goal in report.goals.items()},
        "figures": [_plain(row) for row in report.rows],
    }


def _plain(row: Row) -> dict[str, Any]:
    return {
        "section": row.section,
        "key": row.key,
        "metric": row.metric,
        "value": None if row.value is None else str(row.value),
        "unit": row.unit,
        "status": row.status,
        "sources": list(row.sources),
    }


def table_of(report: Report) -> Any:
    """The figures as a pyarrow table: one row a figure, in the order of the report."""
    import pyarrow as pa

    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pa.string())
    assert MONEY == "DECIMAL(28,12)"
    kinds |= {"day": pa.date32(), "value": pa.decimal128(28, 12), "sources": pa.list_(pa.string())}
    rows = [_plain(row) | {"day": report.day, "value": row.value} for row in report.rows]
    return pa.Table.from_pylist(rows, pa.schema([(name, kinds[name]) for name in COLUMNS]))


def _parquet(report: Report) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table_of(report), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
