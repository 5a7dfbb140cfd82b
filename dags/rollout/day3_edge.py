"""
## What it does
Rolls out the savings at the edge, one lever after the other behind one approval. Steps: checks of all levers -> one
plan with each lever's dollars, steps and undo (a dry run stops here, and is the default) -> approval -> locks -> all
plans made again -> then each lever in a group of its name: its plan once more, snapshot, its steps with soak and gates,
promotion or rollback. The order, and why:

1. `dns_health_checks`: what notices a failure is in place and has proved itself before anything else moves, and the
   weighted record sets that come last refer to checks that stay.
2. `storage_tiering`: no request reads what it moves, so nothing that follows can be mistaken for its doing.
3. `lambda_edge`: memory changes the time at the edge itself. It is judged while every viewer still reaches the same
   edge as before, and before the price class decides on the same distribution.
4. `cdn_price_class`: changes which edge serves whom. Whatever a viewer waits longer after it is its doing alone.
5. `request_routing`: weighs backends by latency, price and health as the four before have left them.
6. `edge_monitoring`: the panels and alerts that stay watch what the others have left, and go with the undo.

Gates of the whole world: P95 of each part below its limit (25 ms in the USA, Europe and Asia Pacific, 35 ms in India
and South America), below 30 ms weighted by where viewers are, and a cache hit rate above 95 %; each lever has its own
besides. A lever whose plan has no step, because nothing is to be changed or because the dollars speak against it, is
skipped, and the plan says why. One that fails a gate is rolled back: those before stay promoted, those after don't
begin, and the run is red.

## When it runs
When somebody triggers it, inside the estate's change window. Day 3 of the week: after `day2_predictive_scaling`, before
`day4_right_sizing`. Each lever also has a rollout of its own, under its name.

## How to re-run
Trigger it again. What stands already is looked at by its gates again. After UNKNOWN, once the data is there: clear the
gate's task with everything downstream, by the call that the verdict shows, and the run goes on with the levers after
it. A gate that failed is final: remove the reason, and trigger a new run.

## How to undo
A failed gate undoes its lever by itself. Later: trigger `rollback` for one lever by its name, or for everything. How
long it takes and what can't come back differs by lever: the plan says it, and so does each lever's page.

## Races
One run at a time. The locks of all places are taken once, before the first write, and held to the end; a second run is
refused with the holder's name; a rollback takes them over, and then no further lever begins. A lever's plan is made
again when its turn comes: state that changed since the approval is refused with the differences.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollouts

LEVERS = (
    "dns_health_checks",
    "storage_tiering",
    "lambda_edge",
    "cdn_price_class",
    "request_routing",
    "edge_monitoring",
)


@dag(schedule=None, **rollout_arguments(LEVERS, __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def day3_edge() -> None:
    """Wire the levers of the edge in their order."""
    rollouts(LEVERS)


day3_edge()
