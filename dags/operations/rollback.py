"""
## What it does
Sets regions of the estate back to the snapshots that rollouts left in the ledger: one lever or everything, in one
region or all. It needs the ledger and the live world only, so it also works when the rollout's DAG is gone, a region
has left the estate or the estate's file can't be read: each snapshot holds the slice of the estate that it was taken
with. Steps: find the changes that stand -> show them (a dry run stops here, and is the default) -> approval of this
very plan -> take over the locks of all selected regions -> one task per region, in parallel: undo, then verify ->
release the locks -> verdict.

`everything` is every change of every run: in a region the levers in their declared order (scalers before the nodes that
they need), of each lever the newest run first. A lever alone is its last change; an older run is not undone while a
newer one stands on it. The verdict is green only when all that was found is back; what others have changed since the
snapshot is reported and left alone. A region or lever that is gone, or a chain of the ledger that does not add up,
keeps nothing else from being undone, and makes the verdict red with the remedy. `accept` closes what remains, what
belongs to others and what is out of reach: it no longer counts as standing.

## When it runs
When somebody triggers it. `emergency` skips the approval and needs a reason; without a choice of regions it locks all
of the estate, so that it also stops a rollout that has not written anything yet.

## How to re-run
Trigger it again with the same choice: what is restored already is no longer found, the rest is undone again. Every undo
may run twice.

## How to undo
Trigger the rollout again: it plans from the live state.

## Races
It takes the lock over from a rollout that is still running; that run then stops before its next write, and undoes by
itself what this run was not asked to undo. One run of this DAG at a time.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.dag import rollback_arguments
from include.wiring.rollback import roll_back


@dag(schedule=None, **rollback_arguments(__doc__))
def rollback() -> None:
    """Wire the rollback."""
    roll_back()


rollback()
