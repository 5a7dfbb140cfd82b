"""The cost report of a day, from the cost table, the estate, the measured requests and ``as_of``.

A pure function of them: no clock, no Airflow. A component without data makes the total unknown; what is known of it
stands beside it under a name that says so.
"""

from __future__ import annotations

import datetime as dt

from include.cost.report.day import ReportDay
from include.cost.report.figures import opened
from include.cost.report.result import TOTAL, Report
from include.cost.report.sections import all_rows
from include.cost.sources.requests import Requests
from include.cost.table.days import days_read
from include.cost.table.store import CostTable
from include.estate import Estate


def compute_report(
    table: CostTable, day: dt.date, estate: Estate, requests: Requests | None, as_of: dt.datetime | None = None
) -> Report:
    """The report of ``day`` from what the table holds. ``as_of`` (aware) defaults to the newest ``received``.

    Raises CostError for a table whose rows and facts disagree, or when ``as_of`` is before what the table holds.
    """
    with opened(table, days_read(day), day, estate) as figures:
        of_day = ReportDay(table, day, estate, requests, as_of, figures)
        return Report(
            day=day,
            as_of=of_day.as_of,
            status=of_day.status,
            since=of_day.since,
            rows=tuple(all_rows(of_day)),
            unknown=of_day.unknown,
            inputs=tuple(of_day.facts[source] for source in sorted(of_day.facts)),
            requests=requests,
            goals=of_day.goals,
            history=of_day.costs | {TOTAL: of_day.totals},
        )
