"""The pictures of the completion report, each with the table behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from include.pages.chart import Bar, Chart, bar_chart

Json = Any


def savings(points: Sequence[Mapping[str, Json]]) -> Chart:
    """USD a month from week 8 on: as the plan has it, and as it was measured."""
    bars = [Bar(f"{point['point']} ({point['book']})", _float(point["usd_month"])) for point in points]
    return bar_chart("From week 8 to today", bars, "USD a month")


def components(rows: Sequence[Mapping[str, Json]]) -> Chart:
    """Each component's dollars against its own target."""
    bars = [
        Bar(row["component"], _float(row["measured_usd"]), _float(row["target_usd"]), row["verdict"] == "fail")
        for row in rows
    ]
    return bar_chart("Measured against the target", bars, "USD a month", "target")


def latency(rows: Sequence[Mapping[str, Json]], limit_ms: float) -> Chart:
    """P95 before and after the week, region by region."""
    bars = []
    for row in rows:
        for word in ("before", "after"):
            value = _float(row[f"p95_ms_{word}"])
            bars.append(Bar(f"{row['region']}, {word}", value, limit_ms, value is not None and value > limit_ms))
    return bar_chart("P95 before and after", bars, "ms", "limit")


def waterfall(rows: Sequence[Mapping[str, Json]], book: str) -> Chart:
    """What the planner promised of each lever, in the order of the week; a lever that costs has no bar."""
    bars = [Bar(row["lever"], _float(row["usd_month"])) for row in rows if row["book"] == book]
    return bar_chart(f"Planned saving by lever, book {book}", bars, "USD a month")


def _float(value: Json) -> float | None:
    return None if value is None else float(value)
