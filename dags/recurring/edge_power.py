"""
## What it does
Plans the day's power modes of each Jetson device and writes them to it as a new generation of its desired state, over
SSH. The plan is the cheapest by the measured table for the load that is likely (yesterday's or last week's at the same
time, whichever has missed by less), never below the capacity that the highest load near that time needs. On the device
the agent raises a scheduled mode when the real load needs more. The canary device is written to and judged first: it
has to be as asked, and no request above its mode's measured capacity; what is unknown is no pass. Then the others, each
judged the same way; one that fails gets its former desired state again.

Only devices that `edge_power_rollout` has asked to follow their load are written to. A device without a known load is
left to its policy.

## When it runs
Daily at 00:05 UTC, and by hand. A schedule holds for 48 hours: one failed planning changes nothing, after two the
devices go to their safe mode.

## How to re-run
Trigger it. A device that has the schedule already is left alone. `dry_run` shows the plans and writes nothing. An
offline device is pending and makes the run red.

## How to undo
Trigger `rollback` for the lever `edge_power`: mode, desired state and unit are as they were before the rollout,
whatever has been scheduled since. To keep the policy without schedules: pause this DAG; after 48 hours at most trigger
`edge_power_rollout` again, which asks for the policy alone.

## Races
One run at a time. It takes the lock of the devices like a rollout, so that neither writes while the other does; a
device refuses a generation that is not newer than its own.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.trigger import CronTriggerTimetable

from include.estate import Estate
from include.levers.edge_power.settings import ScheduleSettings
from include.levers.edge_power.tasks import give_verdict, is_real_run, plan_schedules, write_canary, write_rest
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

AFTER_MIDNIGHT = CronTriggerTimetable("5 0 * * *", timezone="UTC")


@dag(schedule=AFTER_MIDNIGHT, **recurring(__doc__, ScheduleSettings, [Tag.EDGE]))
@with_estate
def edge_power(_: Estate) -> None:
    """Wire the planning."""
    found = plan_schedules()
    real, canary, rest, verdict = is_real_run(), write_canary(found), write_rest(found), give_verdict()

    # Nothing is written to the others before the canary was judged; the verdict comes in any case.
    found >> real >> canary >> rest
    [canary, rest] >> verdict


edge_power()
