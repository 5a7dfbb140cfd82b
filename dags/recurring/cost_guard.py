"""
## What it does
Looks once an hour at what the estate spends per hour: live nodes at list price, every other component at the rate of
its newest known day, against the budget of this hour (each target / 30.4 / 24; the nodes' with the shape of their usual
day) and, for the nodes, against their own history at this hour: a spike is above `cost.spike_ratio` x the median of the
last 14 days and more than 3 median deviations above it; with fewer than 7 days it is unknown, and it says so. On a
spike it names the driver (region, NodePool, type, capacity type, the Deployment that grew) and the mildest remedy: a
cap of the NodePool's CPU limit at what it runs, what its replicas wait for and headroom; where that would change
nothing, a return to the last plan.

With `allow_remedy` (off by default) it asks for an approval and then caps. A cap is refused when the pool has changed
since, and is never below what runs or what the current replicas need.

## When it runs
Hourly, and by hand.

## How to re-run
Trigger it. A look at the same time replaces its record; a cap that is there already is left as it is. `dry_run` shows
the look, the cap and its plan without asking for an approval, and keeps nothing; a spike then leaves the run green.

## How to undo
Trigger `rollback` for the lever `cost_cap`: the limit is set back and belongs to its former owner again. A limit that
somebody else has changed since is reported and left alone.

## Races
One run at a time. A cap takes the lock of the region like a rollout and leaves the same records; it is refused
while another run holds the lock, or another cap stands. It takes the limit over from the rollout that built the pool;
until it is undone a rollout that wants another limit is refused with the owner's name (`akidb-cost-guard`).

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.cost.guard.settings import GuardSettings
from include.cost.guard.tasks import change_of, change_to_show, give_verdict, is_remedy_wanted, measure_spend
from include.estate import Estate
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate
from include.wiring.once import change_once, show_change

HOURLY = CronDataIntervalTimetable("@hourly", timezone="UTC")


@dag(schedule=HOURLY, **recurring(__doc__, GuardSettings, [Tag.COST]))
@with_estate
def cost_guard(_: Estate) -> None:
    """Wire the guard."""
    found = measure_spend()
    wanted = is_remedy_wanted(found)
    plan = show_change("cost_cap", "plan_remedy", change_to_show, found)
    approval, cap = change_once("cost_cap", "measure_spend", "apply_remedy", change_of, found)
    verdict = give_verdict()

    # Nothing is written before the approval; the verdict comes in any case, also after a Reject.
    wanted >> approval
    [found, plan, cap] >> verdict


cost_guard()
