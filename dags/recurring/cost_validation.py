"""
## What it does
Validates what AkiDB costs over a window, 24 hours by default: for each component its source, how much of the window has
data, the figure scaled to 24 hours, the projection to a month of 30.4 days (weekdays and weekends by their own means
once there is history), its target and a verdict: pass, fail or unknown. The total is judged only when every component
is known. Bill, OpenCost's allocation and node-hours at list price are compared, and each gap is split into hours,
prices and what one source leaves out. Every result is kept as a record with a page. Steps: the window -> wait for its
end -> validate and keep -> earlier windows that are not final yet, again -> verdict.

A figure is provisional until its day is `cost.settle_hours` old and two exports in a row agree (settled), and final
when every row is invoiced. A target in dollars may be missed: the run stays green and the verdict says fail. A total
that is unknown fails the run and names what is missing.

## When it runs
Daily, for the day before (UTC), and by hand for any window, also one that ends later: the wait holds no worker slot.

## How to re-run
Trigger it with the same `end` and `validation_window_seconds`, or clear the run. Equal inputs give an equal record,
which is kept once; other inputs add a record to the window's chain. `dry_run` shows the verdicts and keeps nothing; an
unknown total fails the run all the same.

## How to undo
Nothing to undo: it only reads, and adds records under `validations/` of the storage that `akidb_costs` names.

## Races
Two runs may validate the same window: each record is created only if its name is free.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.cost.validation.settings import ValidationSettings
from include.cost.validation.tasks import (
    await_window,
    give_verdict,
    plan_window,
    record_validation,
    revalidate_earlier,
)
from include.estate import Estate
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

DAILY = CronDataIntervalTimetable("@daily", timezone="UTC")


@dag(schedule=DAILY, **recurring(__doc__, ValidationSettings, [Tag.COST], max_active_runs=4))
@with_estate
def cost_validation(_: Estate) -> None:
    """Wire the validation."""
    window = plan_window()
    summary = record_validation(window)
    earlier = revalidate_earlier(window)

    # Nothing is judged before the window is over; the earlier windows first, so that a failing verdict can't stop them.
    window >> await_window() >> [summary, earlier]
    earlier >> give_verdict(summary)


cost_validation()
