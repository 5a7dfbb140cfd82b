"""The requests of a region over the week, from its Prometheus, for the completion report."""

from __future__ import annotations

import datetime as dt
from typing import Any

from include.estate import Estate
from include.wiring.connections import prometheus_of


def requests_of_the_week(region: str, estate: Estate, since: str, until: str) -> dict[str, Any] | None:
    """The figures of a record of availability; ``since`` and ``until`` are ISO 8601. None where they aren't known.

    Raises SettingMissingError without a connection, PrometheusError when nothing answers.
    """
    from include.levers.request_counts import counted

    begin, end = (dt.datetime.fromisoformat(moment).timestamp() for moment in (since, until))
    found = counted(prometheus_of(region, estate), estate, region, begin, end)
    if found is None:
        return None
    figures = {"kind": "availability", "asked": round(found.asked, 1), "served": round(found.served, 1)}
    return {**figures, "coverage": round(found.coverage, 4), "since": since, "until": until,
            "includes": ["days", "drills", "undo"]}  # fmt: skip
