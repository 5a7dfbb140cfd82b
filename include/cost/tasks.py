"""What the tasks of the cost rooms share: the table's place, the clients of the regions and the end of a window."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from include.estate import Estate
from include.wiring.connections import SettingMissingError, prometheus_of

COSTS_VARIABLE = "akidb_costs"


def prometheus_clients(regions: Iterable[str], estate: Estate) -> dict[str, Any]:
    """The Prometheus of each region; where its connection is missing, the error that says so."""
    return {region: _prometheus(region, estate) for region in regions}


def _prometheus(region: str, estate: Estate) -> Any:
    try:
        return prometheus_of(region, estate)
    except SettingMissingError as error:
        return error


def window_end(context: Any, given: dt.datetime | None) -> dt.datetime:
    """End of the window: ``given`` by the form, the end of the schedule's interval, or the start of the task."""
    if given is not None:
        return given
    interval = context.get("data_interval_end")
    if interval is not None and context["dag_run"].run_type != "manual":
        return dt.datetime.fromtimestamp(interval.timestamp(), dt.UTC)
    # The task's own start: a fact of the run that Airflow keeps, so that the window can be told later.
    return dt.datetime.fromtimestamp(int(context["ti"].start_date.timestamp()), dt.UTC)
