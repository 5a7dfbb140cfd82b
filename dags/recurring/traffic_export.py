"""
## What it does
Reads each region's requests per second from Prometheus, minute by minute, and keeps them as one Parquet file per region
and day under the Airflow Variable `akidb_traffic`. A minute that was not observed is null, never zero; a counter that
was reset counts from its new value; minutes in which more than a tenth of the targets could not be scraped are null. A
Great Expectations gate judges each day (coverage, gaps, range, freshness); a day that fails is kept under `aside/` with
the reason, and the region's task fails. Emits the asset `traffic/<region>` with the key of the newest file.

## When it runs
Daily at 00:15 UTC for the day before. Each run also looks at the six days before its own and fills what is missing.

## How to re-run
Clear the task, or run it for the past:
`airflow backfill create --dag-id traffic_export --from-date 2026-11-01 --to-date 2026-11-30`. Days that are stored
whole are skipped; a run that was killed goes on where it stopped. `force` reads them again. What
Prometheus has forgotten meanwhile is not replaced by less, except by `force`. `regions` reads some regions only.
`dry_run` reads and judges, says which days it would write, and writes none.

## How to undo
Delete the day's file; the next run writes it again as long as Prometheus keeps the samples.

## Races
None: a day's file is replaced whole, and two runs for the same day write the same bytes.

## Owner
platform
"""

from __future__ import annotations

import datetime as dt

from airflow.sdk import CronDataIntervalTimetable, dag

from include.estate import Estate
from include.forecast.settings import ExportSettings
from include.forecast.tasks import export_traffic
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

DAILY = CronDataIntervalTimetable("15 0 * * *", timezone="UTC")
# Runs for the past may go side by side: a day's file is replaced whole.
SIDE_BY_SIDE = 16


@dag(
    schedule=DAILY,
    **recurring(__doc__, ExportSettings, [Tag.FORECAST], since=dt.date(2026, 1, 1), max_active_runs=SIDE_BY_SIDE),
)
@with_estate
def traffic_export(estate: Estate) -> None:
    """Wire one task per region."""
    export_traffic.expand(region=estate.ordered_regions())


traffic_export()
