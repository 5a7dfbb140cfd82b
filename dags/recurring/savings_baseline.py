"""
## What it does
Publishes what a month really saved: the configuration of week 13 simulated on the traffic that came (the traffic
tables), less the bill of that month (the cost table), with an error band from the last rehearsal in which the planner
was compared with real nodes. Only the clusters count as saved, and the platform's bill is taken off in full; of other
components nobody has measured what they would have cost. Page and record are kept under `savings/<month>`.

## When it runs
On the fifth of each month at 06:00 UTC, for the month before: the bill has settled then.

## How to re-run
Clear the run, trigger it with `month`, or backfill: equal inputs give equal bytes in the place of the old ones. A month
with missing traffic or an unsettled bill is refused with the days by name; nothing is written then. `dry_run` shows the
page and keeps nothing.

## How to undo
Nothing to undo: it only reads, and writes its page.

## Races
Runs of different months touch different records.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.estate import Estate
from include.planner.settings import BaselineSettings
from include.planner.tasks import publish_savings
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

MONTHLY = CronDataIntervalTimetable("0 6 5 * *", timezone="UTC")


@dag(schedule=MONTHLY, **recurring(__doc__, BaselineSettings, [Tag.COST]))
@with_estate
def savings_baseline(_: Estate) -> None:
    """Wire the month's report."""
    publish_savings()


savings_baseline()
