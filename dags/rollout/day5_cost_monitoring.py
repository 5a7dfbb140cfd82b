"""
## What it does
Makes the cost of AkiDB visible in each region and proves it. Steps: checks -> plan (a dry run stops here, and is the
default) -> approval -> lock -> snapshot -> in each region, the canary ahead of the others: OpenCost, then Kubecost
(each installed from pinned manifests, or only checked when somebody else has installed it), then the Grafana dashboard
and the budget alerts. Gates: OpenCost has a price for 95 % of the nodes; the sum of its prices is within
`cost.agree_within` of price book and EC2's spot prices; Kubecost answers; every query of the dashboard returns data;
every rule is loaded and evaluates. A gate that fails rolls back every region that was touched; one that stays without
data ends the run red as UNKNOWN, with change and lock kept. Before the promotion the plan is made again: it must have
nothing left to do.

Then, with everything promoted: a window of `validation_window_seconds` (24 hours) is waited for and validated, each
component against its own target, and the completion report of the week is written. Dollars may honestly miss their
target: the run stays green and the report says FAIL. A total that is unknown fails the run once the report is written.

## When it runs
When somebody triggers it, inside the estate's change window. Day 5 of the week: it measures what days 1 to 4 changed.

## How to re-run
Trigger it again. What stands already is checked and not written. After UNKNOWN, once the data is there: clear the
gate's task with everything downstream, by the call that the verdict shows, and the run goes on. After a validation
without data: bring the data, then clear `validate_costs` and `write_completion_report`.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `cost_monitoring`. What the lever made is
deleted, minutes; a namespace in which somebody else keeps something stays, and is reported. Figures, validations and
reports that were written stay: they are records.

## Races
One run at a time, one lock per cluster: a second run waits or is refused with the holder's name; a rollback takes the
lock over. Live state that changed after the approval is refused with the differences. The validation and the report
hold no lock: they only read.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.completion.tasks import await_validation_window, open_validation_window, write_completion_report
from include.cost.validation.tasks import validate_costs
from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("cost_monitoring", __doc__, [Tag.ROLLOUT, Tag.COST]))
def day5_cost_monitoring() -> None:
    """Wire the rollout of the cost-truth lever, then validation and completion report."""
    promoted = rollout("cost_monitoring")
    if promoted is None:
        return
    window = open_validation_window()
    validated = validate_costs(window)

    # Nothing is validated that a rollback could still take away, and nothing before the window is over.
    promoted >> window >> await_validation_window() >> validated >> write_completion_report()


day5_cost_monitoring()
