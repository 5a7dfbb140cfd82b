"""
## What it does
Lets AkiDB in each region scale with its traffic, ahead of it where a forecast is good enough. Steps: checks -> plan (a
dry run stops here, and is the default) -> approval -> lock -> snapshot -> in each region, the canary ahead of the
others: the predictor, which serves the champion's forecast; autoscaling by requests (KEDA, one ScaledObject per
Deployment); the forecast's trigger on top of it. Gates: the forecast is fresh, its accuracy 15 minutes ahead is what
the estate asks for and no worse than the best naive; every HPA works and none is on its fallback; replicas are never
below what requests need; P95 of REST and gRPC and errors, the scale-up included; replica time that the forecast added
without need. A gate that fails rolls back every region that was touched, and so does one on the service (P95, errors)
that stays without data; any other without data ends the run red as UNKNOWN, with change and lock kept. Before the
promotion the plan is made again: it must have nothing left to do.

A forecast may add capacity, never remove it: its trigger gives 0 unless the forecast is fresh, confident and above the
current demand, and at most twice what the running pods serve. While the predictor is down, scaling goes on by requests;
the gate `forecast_age` and the report say so. Lost metrics are never zero: KEDA then holds the replicas of the start,
or more where more run.

## When it runs
When somebody triggers it, inside the estate's change window, once `forecast_retrain` has promoted a champion in every
region. Day 2 of the week; nodes follow the replicas only after day 1.

## How to re-run
Trigger it again. What stands already is checked and written again unchanged; a forecast's trigger that stands is not
taken out on the way. After UNKNOWN, once the data is there: clear the gate's task with everything downstream, by the
call that the verdict shows, and the run goes on. A gate that failed is final.

## How to undo
A failed gate undoes it by itself. The forecast alone: trigger this DAG with `use_forecast` off; one apply per
Deployment takes its trigger out, seconds, and the autoscaling stays. Everything: trigger `rollback` for the lever
`predictive_scaling`. The forecast's trigger goes first, then the autoscaling, then the replicas are set back to those
before the rollout and the predictor goes: minutes.

## Races
One run at a time, one lock per cluster: a second run waits or is refused with the holder's name; a rollback takes the
lock over. Live state that changed after the approval is refused with the differences; replicas that the autoscaler
moves meanwhile don't count. Another HPA or ScaledObject on the same Deployment is refused in the checks.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("predictive_scaling", __doc__, [Tag.ROLLOUT, Tag.FORECAST]))
def day2_predictive_scaling() -> None:
    """Wire the rollout of the predictive-scaling lever."""
    rollout("predictive_scaling")


day2_predictive_scaling()
