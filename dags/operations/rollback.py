"""
## What it does
Sets regions of the estate back to the snapshots that rollouts left in the ledger: one lever or everything, in one
region or all. It needs the ledger and the live world only, so it also works when the rollout's DAG is gone. Steps: find
the changes that stand -> show them (a dry run stops here, and is the default) -> approval -> take the locks over -> per
region, in parallel: undo, verify -> release the locks -> verdict. The verdict is green only when every field is back;
what others have changed since the snapshot is reported and left alone.

## When it runs
When somebody triggers it. `emergency` skips the approval and needs a reason.

## How to re-run
Trigger it again with the same choice: what is restored already is no longer found, the rest is undone again. Every undo
may run twice.

## How to undo
Trigger the rollout again: it plans from the live state.

## Races
It takes the lock over from a rollout that is still running; that run then stops before its next write. One run of this
DAG at a time.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.rollout.task_groups import roll_back, rollback_arguments


@dag(schedule=None, **rollback_arguments(__doc__))
def rollback() -> None:
    """Wire the rollback."""
    roll_back()


rollback()
