"""
## What it does
Lets one thing go wrong on purpose in one region of an estate that is not production, watches, and sets everything back:

- `spot-storm`: interruption notices for many spot nodes, on the queue where AWS puts them, when and where a history of
  real prices says (`price_history`), or in three waves of its own.
- `zone-loss`: every node of a zone cordoned and emptied by evictions; disruption budgets hold.
- `forecast-outage`: the predictor's Deployment without a pod.
- `metrics-outage`: Prometheus without a pod, or away through the hook that the estate names.
- `cost-spike`: a load that asks for more nodes than the cost guard's cap allows, after the cap was set as the guard
  sets it.

Each has a hypothesis and a stop condition, which the approval's form shows. Steps: checks -> plan (a dry run stops
here, and is the default) -> approval -> lock -> plan again -> snapshot -> strike and watch -> judge the hypothesis ->
set back -> verify -> unlock -> verdict. The ledger keeps the timeline of nodes and pods. A drill that held, and was set
back to the last field, puts on record for the safety matrix which of the levers that stand in the region survived it.

It is refused before anything is written unless the estate's file has `governance.game_days: allowed`.

## When it runs
When somebody triggers it, inside the estate's change window: after each release of a lever, before its rollout in
production.

## How to re-run
Trigger it again. A drill that was cut short is set back first: trigger `rollback` for the lever `game_day`.

## How to undo
It undoes itself, also when it is stopped or a task of it dies. Where even that was cut short, `rollback` finds it in
the ledger. See `docs/how-to/game_days.md`.

## Races
One drill at a time, under the region's lock: no rollout writes there meanwhile. An emergency rollback takes the lock
over; the drill then writes nothing more.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.levers.game_day.tasks import drill, game_day_arguments


@dag(schedule=None, **game_day_arguments(__doc__))
def game_day() -> None:
    """Wire the drill."""
    drill()


game_day()
