"""
## What it does
Packs AkiDB's pods in each region onto fewer and cheaper nodes. Steps: checks -> plan (a dry run stops here, and is the
default) -> approval -> lock -> snapshot -> in each region, the canary ahead of the others: Karpenter's policy
`Balanced`, which makes only moves that save at least half as much as they disturb; then `WhenEmptyOrUnderutilized`; and
where `right_size_floor` is set, the system pods' move to a small node group. Each of these waits until no node has come
or gone for as long as Karpenter takes to find and check a move, is soaked and judged by gates: P95 of REST and gRPC,
errors, availability, pods that wait for a node, disruption budgets (every state of each of them is read), the spot
share by pods and by vCPU, and neither more nodes nor more dollars for the same pods, once they are evened out. A gate
that fails rolls back every region that was touched, and so does one on the service (P95, errors, availability, waiting
pods) that stays without data; any other without data ends the run red as UNKNOWN, with change and lock kept. Before the
promotion the plan is made again: it must have nothing left to do.

Pods that scaling down has left where their spread over capacity domains would not put them are evicted first, of a
workload one after the other (`even_domains`): a domain with too many can't be packed. While nodes are packed, the
recommendations of VerticalPodAutoscalers are held: Karpenter doesn't foresee what their webhook gives a pod that moves.
They are let go once the last stage's nodes are at rest.

The evidence has Karpenter's own reasons for and against each node with its dollars, and the price of the cheapest nodes
that hold the same pods, beside the price of the nodes that there are.

## When it runs
When somebody triggers it, inside the estate's change window. Day 4 of the week, after `day4_right_sizing`: requests
first, then the nodes that hold them.

## How to re-run
Trigger it again. A policy that stands already is not made milder on the way. After UNKNOWN, once the data is there:
clear the gate's task with everything downstream, by the call that the verdict shows, and the run goes on. A gate that
failed is final.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `consolidation`. The pools' fields go back to
who owned them, with the values from before, at once: neither policy drifts a node, and nodes come again as pods ask for
them. Where the floor was right-sized, the old node group grows back before the small one goes: minutes.
See `docs/reference/consolidation.md`.

## Races
One run at a time, one lock per cluster: a second run waits or is refused with the holder's name; a rollback takes the
lock over. Live state that changed after the approval is refused with the differences; nodes that come and go meanwhile
don't count. An autoscaler that adds pods meanwhile does not fail the gates on nodes and dollars: they are compared per
requested CPU.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("consolidation", __doc__, [Tag.ROLLOUT, Tag.SPOT, Tag.COST]))
def day4_consolidation() -> None:
    """Wire the rollout of the consolidation lever."""
    rollout("consolidation")


day4_consolidation()
