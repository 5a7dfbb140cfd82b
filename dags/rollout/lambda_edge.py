"""
## What it does
Gives the function that CloudFront runs at the edge the memory size that its measured durations speak for, and the
regional function's alias provisioned concurrency. Steps: checks, the association's event type first (viewer events
allow 128 MB and 5 s at most) -> plan with every size's durations, its price and why one is refused, and the plan's
dollars beside list prices (a dry run stops here, and is the default) -> approval -> lock -> snapshot -> the size set on
$LATEST, a version published or an equal one reused, the distribution's associations switched to it, every edge location
waited for, soak -> provisioned concurrency in each region, ready, soak. Gates: P95, errors and throttles of the
function, units that aren't ready, spill-over, and what the probes of the whole world wait for. A gate that fails, or
stays unknown, is undone.

## When it runs
When somebody triggers it, inside the estate's change window. Once for the estate: it asks for no cluster. In the week
it is one of day 3's levers.

## How to re-run
Trigger it again. A version that fits is associated, not published anew; what has the wanted size stays as it is.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `lambda_edge`. Provisioned concurrency goes
back to what it was (deleted where there was none), the associations to the old version, $LATEST to the old size:
minutes, until CloudFront has deployed it. Versions are never deleted: replicas run an old one for hours, and an undo
goes back to it. What somebody else has changed since stays and is reported.

## Races
One run at a time; the lock lies in the ledger's store. The distribution is written with the ETag that was read, the
function with its RevisionId: whoever was faster keeps what they wrote, and it is read again. $LATEST with code that
nobody has published is refused: a change of size must not ship it.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("lambda_edge", __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def lambda_edge() -> None:
    """Wire the rollout of the functions."""
    rollout("lambda_edge")


lambda_edge()
