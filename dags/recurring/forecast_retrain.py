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
nothing is new. `dry_run` trains and judges, says what it would promote, and keeps neither versions nor decision.
With `AKIDB_TRAIN_IN_POD=<image>` in the environment of Airflow, training runs in a pod
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

from airflow.sdk import dag

from include.estate import Estate
from include.forecast.settings import RetrainSettings
from include.forecast.tasks import nightly_and_after_every_export, report_retraining, retrain_region
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, schedule_by_estate, with_estate


@dag(
    schedule=schedule_by_estate(nightly_and_after_every_export),
    **recurring(__doc__, RetrainSettings, [Tag.FORECAST], since=dt.date(2026, 1, 1)),
)
@with_estate
def forecast_retrain(estate: Estate) -> None:
    """Wire one group per region and the report."""
    regions = estate.ordered_regions()
    # The report comes last whatever happened: it alone decides how the run ends.
    retrain_region.expand(region=regions) >> report_retraining(regions)


forecast_retrain()
