"""
## What it does
Lets the requests of AkiDB's Deployments (and of the traffic predictor, where it stands) follow what they use, in each
region. Steps: checks -> plan (a dry run stops here, and is the default) -> approval -> lock -> snapshot -> in each
region, the canary ahead of the others: VPA recommends and nothing changes; new pods get the recommended requests; the
running pods of one Deployment are resized in place; then those of all. Before the first write of each step but the
first the real recommendation must be there, fresh, within one bucket or 5 % of our own figure, and below the
most memory that is allowed; days without history are refused by name. Gates: no container is killed for want of memory,
throttling, evictions by VPA's updater, what a new pod would get (a dry run), P95 of REST and gRPC, errors,
availability, utilisation of requests. A gate that fails rolls back every region that was touched, and so does one on
the service that stays without data; any other without data ends the run red as UNKNOWN, with change and lock kept.
Before the promotion the plan is made again: it must have nothing left to do.

Requests change alone, limits stay. Order matters: history from before day 2 tells less CPU than an autoscaled pod
needs, so a Deployment with an autoscaler gets at least what a pod at the autoscaler's target takes, by measured CPU a
request. Memory never goes below its peak with a margin, nor below the present request after an OOM kill. The lever
saves no dollars by itself: fewer nodes are `day4_consolidation`'s.

## When it runs
When somebody triggers it, inside the estate's change window. Day 4 of the week, after the autoscaling of day 2 and
before `day4_consolidation`; metrics-server and VPA must be installed (docs/how-to/install_controllers.md).

## How to re-run
Trigger it again. What stands already is checked and written again unchanged, and pods that are sized in place are not
taken back on the way. After UNKNOWN, once the data is there: clear the gate's task with everything downstream, by the
call that the verdict shows, and the run goes on. A gate that failed is final.

## How to undo
A failed gate undoes it by itself. Otherwise trigger `rollback` for the lever `right_sizing`: the VPAs go first, then
every running pod gets its template's requests back where it runs; one whose node has no room for that is evicted within
its PodDisruptionBudget, and its successor comes from the template. The proof is read on the running pods: minutes. It
also works while consolidation's packing stands: Karpenter then makes the nodes that the larger pods need.

## Races
One run at a time, one lock per cluster: a second run waits or is refused with the holder's name; a rollback takes the
lock over. Live state that changed after the approval is refused with the differences. Somebody else's VPA on the same
Deployment, and an HPA or ScaledObject that follows CPU or memory, are refused in the checks.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("right_sizing", __doc__, [Tag.ROLLOUT]))
def day4_right_sizing() -> None:
    """Wire the rollout of the right-sizing lever."""
    rollout("right_sizing")


day4_right_sizing()
