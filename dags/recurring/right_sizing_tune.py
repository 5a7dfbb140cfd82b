"""
## What it does
Proposes once a week new bounds of the requests of every workload that `right_sizing.bounds` in the estate names, from
what its containers have used in every region: least (what the quietest region uses at the median, with margin; never
below what an autoscaled pod needs, what was throttled, or what was OOM-killed and a fifth) and most (the highest upper
bound, and never near the highest use). Use is read from Prometheus as VPA's recommender reads it. For each region it
shows requests and dollars a month before and after, the share of the time above the request, throttling, OOM kills and
days of confidence. A workload with days missing, without use on record or with anything else that is not known stays as
it is, with the reason. Then it waits for an approval and keeps the approved proposal. It changes no workload.

## When it runs
Weekly, and by hand for the days before any moment. Without a change there is nothing to approve, and the run ends.

## How to re-run
Trigger it with the same `end`: equal inputs give the same proposal, under the same hash. `dry_run` shows the proposal,
asks nobody and keeps nothing.

## How to undo
Nothing to undo: it writes only its records, `right_sizing/<hash>/{proposal,answer,approved}.json` under `akidb_costs`.
The owner of the estate carries an approved one out: `approved.json` has the entries for estate.yaml and the command
that triggers `day4_right_sizing`, which has a plan, an approval and an undo of its own.

## Races
One run at a time. Bounds that change while somebody reads the proposal are seen by day 4's own plan.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag
from airflow.timetables.interval import CronDataIntervalTimetable

from include.estate import Estate
from include.levers.right_sizing.settings import TuneSettings
from include.levers.right_sizing.tasks import ask, is_approval_wanted, keep_proposal, propose_bounds
from include.wiring.conventions import Tag
from include.wiring.dag import recurring, with_estate

WEEKLY = CronDataIntervalTimetable("@weekly", timezone="UTC")


@dag(schedule=WEEKLY, **recurring(__doc__, TuneSettings, [Tag.COST]))
@with_estate
def right_sizing_tune(estate: Estate) -> None:
    """Wire proposal, approval and record."""
    found = propose_bounds()
    is_approval_wanted(found) >> ask(estate) >> keep_proposal(found)


right_sizing_tune()
