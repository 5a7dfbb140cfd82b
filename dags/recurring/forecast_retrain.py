"""
## What it does
Trains each region's traffic forecast on its newest 30 whole days and decides whether the new model becomes champion:
load the window -> judge the data -> train -> evaluate on the newest 15 % -> promote. A model is promoted only if it is
better than every naive forecast and than the current champion by more than noise; the reason is put on record either
way (`models/<region>/history` under the Airflow Variable `akidb_models`). Thin, dirty or old data promotes nothing. A
region that fails stops no other; the last task says what became of each region and fails the run when one failed. Emits
the asset `forecast/champion/<region>` when a champion changes.

## When it runs
When new traffic was exported for every region, and at 03:30 UTC in any case: one region without traffic must not keep
the others from training. A region whose data and code were judged before is skipped.

## How to re-run
Clear the failed task, or trigger it: `regions`, `last` and `days` choose what is trained on, `force` trains although
nothing is new.
With `AKIDB_TRAIN_IN_POD=<image>` in the environment of Airflow training runs in a pod
(docs/how-to/forecast_operations.md).

## How to undo
Set the former champion by hand: `python -m include.forecast.set_champion` (docs/how-to/forecast_operations.md).
Versions are never changed, so the former champion is still there.

## Races
The pointer is changed only if it still is the one that the candidate was judged against; the loser of a race leaves the
winner and records that. One run at a time.

## Owner
platform
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import AssetAll, AssetOrTimeSchedule, CronTriggerTimetable, dag

from include.estate import EstateError, load_estate
from include.forecast.tasks import report_retraining, retrain_params, retrain_region, traffic_asset
from include.wiring.conventions import DAG_DEFAULT_ARGS, Tag
from include.wiring.dag import show_problem

try:
    REGIONS, PROBLEM = load_estate().ordered_regions(), ""
except EstateError as error:
    REGIONS, PROBLEM = [], str(error)
NIGHTLY = CronTriggerTimetable("30 3 * * *", timezone="UTC")


@dag(
    schedule=AssetOrTimeSchedule(timetable=NIGHTLY, assets=AssetAll(*map(traffic_asset, REGIONS))) if REGIONS else None,
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DAG_DEFAULT_ARGS,
    doc_md=__doc__,
    tags=[Tag.RECURRING, Tag.FORECAST],
    params=retrain_params(),
)
def forecast_retrain() -> None:
    """Wire one group a region and the report."""
    if PROBLEM:
        show_problem(PROBLEM)
        return
    # The report comes last whatever happened: it alone decides how the run ends.
    retrain_region.expand(region=REGIONS) >> report_retraining(REGIONS)


forecast_retrain()
