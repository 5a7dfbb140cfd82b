"""
## What it does
Compares the forecasts that each region's predictor served over the last 24 hours (15 minutes ahead, from Prometheus)
with what came, and with what the naive forecasts would have said for the same minutes. A champion that is worse than
the best naive by more than noise and by more than 2 % is demoted to the best alternative in the registry, judged on the
same minutes: a former champion or a naive. Without enough forecasts the answer is unknown: the run fails, so that
somebody looks, and nothing is demoted.

## When it runs
Hourly, at five minutes past. A region without a champion is skipped.

## How to re-run
Clear the task: it looks at the last 24 hours from now on. `dry_run` says whom it would demote, and demotes nobody; what
is unknown fails the run all the same.

## How to undo
The next forecast_retrain promotes a model again when it is better; docs/how-to/forecast_operations.md says how to set a
champion by hand.

## Races
A champion that was changed while the watch looked stays: the pointer is compared before it is set.

## Owner
platform
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import CronTriggerTimetable, dag

from include.estate import Estate
from include.forecast.settings import WatchSettings
from include.forecast.tasks import report_watch, watch_forecast
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

HOURLY = CronTriggerTimetable("5 * * * *", timezone="UTC")


@dag(schedule=HOURLY, **recurring(__doc__, WatchSettings, [Tag.FORECAST], since=dt.date(2026, 1, 1)))
@with_estate
def forecast_watch(estate: Estate) -> None:
    """Wire one task per region and the report."""
    regions = estate.ordered_regions()
    # The report comes last whatever happened: it alone decides how the run ends.
    watch_forecast.expand(region=regions) >> report_watch(regions)


forecast_watch()
