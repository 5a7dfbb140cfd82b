"""
## What it does
Moves AkiDB in each region from a managed node group of on-demand nodes to Karpenter nodes of which the wanted share is
spot. Steps: checks -> plan (a dry run stops here, and is the default) -> approval -> lock -> snapshot -> in each
region, the canary ahead of the others: the interruption queue and its event rules, the node class and two node pools;
the spot share in up to three steps; an interruption drill on one spot node; the old node group drained and shrunk to
its floor. Each of these is soaked and judged by gates: interruption notices and rate, P95 of REST and gRPC, errors,
availability, pods that wait for a node, zones that were lost, pods of others that the drain has left without a node. A
gate that fails rolls back every region that was touched, and so does one on the service (P95, errors, availability,
waiting pods) that stays without data; any other without data ends the run red as UNKNOWN, with change and lock kept.
Each needs samples for `minimum_coverage` of its window, which begins at the first write of its stage. Before the
promotion the plan is made again: it must have nothing left to do.

The pods stay in as many zones as before. The new nodes are AkiDB's alone (taint `akidb.io/dedicated`); the plan names
the DaemonSets that they shut out, and every pod of others that the drain of the old group evicts.

A node hosts one capacity domain, and the pods are spread evenly over the domains: with 4 domains the steps 30, 50, 70 %
become 25, 50, 75 %, with 10 they are exact. While no spot capacity is available, the spot pool launches on-demand nodes
in its own domains (`allow_on_demand_fallback`); the share that was reached is in the evidence.

## When it runs
When somebody triggers it, inside the estate's change window. Day 1 of the week; right-sizing and packing (day 4) lower
the number of nodes that it needs.

## How to re-run
Trigger it again. The plan is made from the live state: steps that are reached already are left out, and an unfinished
run is resumed or rolled back first. Every write may run twice. After UNKNOWN, once the data is there: clear the gate's
task with everything downstream, by the call that the verdict shows, and the run goes on. A gate that failed is final.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `spot_capacity`. The node group grows back
first, to what it was or to what the pods need by then; the constraints and the toleration are removed, which restarts
the pods on it; and only then the pools and their nodes go, if no other pod template of the cluster needs them: two
waves of nodes, minutes. What somebody else has changed since is reported and left alone.
See `docs/reference/spot_capacity.md`.

## Races
One run at a time, one lock per cluster: a second run waits or is refused with the holder's name; a rollback takes the
lock over, and the rollout then neither writes nor promotes. Live state that changed after the approval, or in a later
region while the canary soaked, is refused with the differences. PodDisruptionBudgets hold throughout, so an unhealthy
Deployment stops a step until it times out (`converge_timeout_seconds`).

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("spot_capacity", __doc__, [Tag.ROLLOUT, Tag.SPOT]))
def day1_spot() -> None:
    """Wire the rollout of the spot lever."""
    rollout("spot_capacity")


day1_spot()
