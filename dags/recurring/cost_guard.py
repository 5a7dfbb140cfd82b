"""
## What it does
Looks once an hour at what the estate spends an hour: live nodes at list price, every other component at the rate of its
newest known day, against the budget of this hour (each target / 30.4 / 24; the nodes' with the shape of their usual
day) and, for the nodes, against their own history at this hour: a spike is above `cost.spike_ratio` x the median of the
last 14 days and more than 3 median deviations above it; with fewer than 7 days nobody can say, and it says so. On a
spike it names the driver (region, NodePool, type, capacity type, the deployment that grew) and the mildest remedy: a
cap of the NodePool's CPU limit at what it runs, what its replicas wait for and headroom; where that would change
nothing, a return to the last plan.

With `allow_remedy` (off by default) it asks for an approval and then caps. A cap is refused when the pool has changed
since, and is never below what runs or what the current replicas need.

## When it runs
Hourly, and by hand.

## How to re-run
Trigger it. A look at the same time replaces its record; a cap that is there already is left as it is.

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

import datetime as dt

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.cost.guard.tasks import change_of, give_verdict, guard_params, is_remedy_wanted, measure_spend
from include.estate import EstateError, load_estate
from include.wiring.conventions import DAG_DEFAULT_ARGS, Tag
from include.wiring.dag import show_problem
from include.wiring.once import change_once


@dag(
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DAG_DEFAULT_ARGS,
    params=guard_params(),
    tags=[Tag.RECURRING, Tag.COST],
    doc_md=__doc__,
)
def cost_guard() -> None:
    """Wire the guard."""
    try:
        load_estate()
    except EstateError as error:
        show_problem(str(error))
        return
    found = measure_spend()
    wanted = is_remedy_wanted(found)
    approval, cap = change_once("cost_cap", "measure_spend", "apply_remedy", change_of, found)
    verdict = give_verdict()

    # Nothing is written before the approval; the verdict comes in any case, also after a Reject.
    wanted >> approval
    cap >> verdict
    found >> verdict


cost_guard()
