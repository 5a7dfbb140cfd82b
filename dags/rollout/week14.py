"""
## What it does
Takes the estate from week 13 to week 14 behind one button. Steps: checks of all days -> plan of all days with the
planner's waterfall (a dry run stops here, and is the default) -> one approval for all days, or none -> each day as a
run of its own DAG, one after the other, its end put on record -> the week-15 gate, where it is asked for -> verdict.

The order, and why:

1. `day1_spot`: the largest saving of a lever alone, and the nodes that the days after it count on.
2. `day2_predictive_scaling`: replicas follow the traffic before anybody judges what a pod needs.
3. `day3_edge`: writes to no cluster, so that day 4's learning window has no other change in it.
4. `day4_right_sizing`, then `day4_consolidation`: requests are known before pods are packed by them.
5. `day5_cost_monitoring`: measures what the four before it have left.

Right-sizing and packing before spot would need fewer spot nodes, at the price of a day's saving at on-demand prices;
what each lever is worth in this order and in any other is in the plan (`make plan`).

`approval = once` names levers, settings, undo and dollars of every day, under the hash of this plan. A day's run takes
the answer over from the ledger, never from its conf; with another lever or other settings, a harder undo, or a saving
that is smaller by more than `dollar_tolerance`, it asks again itself. A day that can't be planned beforehand does too.

## When it runs
When somebody triggers it, inside the estate's change window. `settings` gives single days their own values.

## How to re-run
Trigger it again with `first_day` (or `days`): each day plans from the live state, and what stands is left as it is.
After a day that waits for people (UNKNOWN): clear what its verdict says in the day's run, then `<day>.await_end` here
with everything downstream. A scheduler that was killed goes on by itself: every day's run has an id that follows from
the week's, and a task that is tried again adopts the run that is there.

## How to undo
A day's failed gate undoes that day by itself; the days before it stand, and the verdict names them. Later: trigger
`rollback` for `everything`, or for the levers that the verdict lists.

## Races
One run at a time, and each day's DAG has one run at a time. The week holds no lock: each day takes its own, so that a
rollback never waits for the week. A day that left something behind keeps the next one from beginning.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.dag import week_arguments
from include.wiring.week import week


@dag(schedule=None, **week_arguments(__doc__))
def week14() -> None:
    """Wire the week."""
    week()


week14()
