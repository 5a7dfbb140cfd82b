"""
## What it does
Puts non-production namespaces to sleep outside their hours and wakes them before their hours begin, by the calendars of
`nonprod` in the estate's file: weekly intervals in a team's own time zone, which may span days, public holidays and
days off. Asleep: CronJobs suspended, KEDA's ScaledObjects paused by KEDA's own annotation, Deployments and StatefulSets
without replicas; an HPA does nothing at zero. Replicas, suspension and owners of the fields are in the ledger's
snapshot. How early it wakes follows from the wakes measured so far (median seconds until all pods were ready).

A namespace stays awake while its label `akidb.io/nonprod-hours` is `off` (on a workload: that workload), or until the
moment in its annotation `akidb.io/keep-until`; one without an end is refused. `wake` wakes namespaces now and writes
that annotation. The record of a wake says which nodes had gone and what they would have cost, as far as that was
measured.

## When it runs
Every 15 minutes, and by hand.

## How to re-run
Trigger it. What sleeps or is awake as it should be is left alone. A sleep that was cut is undone and begun anew by a
later look. `dry_run` shows what would be done and writes nothing.

## How to undo
`wake` with the namespace's name, for `keep_hours`; for good: take the namespace out of the estate's file, and the next
look wakes it. Or trigger `rollback` for the lever `nonprod_hours`; without one of the former the next look puts it to
sleep again. What somebody has changed since is reported and left alone.

## Races
One run at a time. Each change takes the lock of the region: while another run holds it a sleep is postponed, and a wake
that can't be made fails the run. The estate's own namespace never sleeps. No approval is asked for: the order is the
estate's file, which is reviewed.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.trigger import CronTriggerTimetable

from include.estate import Estate
from include.levers.nonprod_hours.settings import HoursSettings
from include.levers.nonprod_hours.tasks import give_verdict, list_regions, sleep_and_wake
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

EVERY_QUARTER = CronTriggerTimetable("*/15 * * * *", timezone="UTC")


@dag(schedule=EVERY_QUARTER, **recurring(__doc__, HoursSettings, [Tag.COST]))
@with_estate
def nonprod_hours(_: Estate) -> None:
    """Wire the looks."""
    sleep_and_wake.expand(region=list_regions()) >> give_verdict()


nonprod_hours()
