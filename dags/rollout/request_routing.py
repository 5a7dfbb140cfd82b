"""
## What it does
Routes AkiDB's requests to whoever serves them cheapest within the latency budget: Jetson devices, spot and on-demand
pods, Lambda. In each region the weights are solved as a linear programme from health, headroom and live prices: at
least 95 % of all requests must keep to the budget. Steps: checks -> plan with weights and dollars (a dry run stops
here, and is the default) -> approval -> lock -> snapshot -> in each region, the canary ahead of the others: an
HTTPRoute at a tenth of the way, soak, then the weights and the region's weighted record set in Route 53, soak. Gates,
for the service's safety: P95 and errors of all routed requests, P95, errors and availability of AkiDB's pods; besides,
each backend gets the share that it should. A gate that fails is undone in every region that was touched.

## When it runs
When somebody triggers it, inside the estate's change window.

## How to re-run
Trigger it again, such as when prices, capacity or demand have changed: weights that stand stay unless others save 5 %
of a request's price, or they no longer keep to the limit. Where nothing would change there is no stage.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `request_routing`. The record set's weight is
set back first, then the HTTPRoute is deleted, or its old rules are put back where somebody else had made it: seconds.
A weight that somebody else has changed since stays and is reported.

## Races
One run at a time, one lock per cluster. The HTTPRoute is written by server-side apply: a field that somebody else owns
is not taken from them. A record set is replaced only as it was read.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("request_routing", __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def request_routing() -> None:
    """Wire the rollout of the routing lever."""
    rollout("request_routing")


request_routing()
