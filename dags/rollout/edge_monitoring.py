"""
## What it does
Leaves the edge watched: alert rules for the P95 of each part of the world and of all viewers, for the cache hit rate
and for devices that don't tell their watts, and a dashboard with the same figures. They stand in the canary region's
cluster, whose Prometheus has the series. Steps: checks -> plan (a dry run stops here, and is the default) -> approval
-> lock -> snapshot -> rules and dashboard, soak. Gates: every rule is loaded and evaluates, every panel has data. A
gate that fails is undone; one that stays without data ends the run red as UNKNOWN, with change and lock kept.

## When it runs
When somebody triggers it, inside the estate's change window; after the other levers of the edge.

## How to re-run
Trigger it again. Limits that were changed in the estate's file become new rules.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `edge_monitoring`: rules and dashboard are
deleted, in minutes. The Namespace `monitoring` goes only when nobody else keeps anything in it.

## Races
One run at a time, one lock per cluster. Live state that changed after the approval is refused with the differences.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("edge_monitoring", __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def edge_monitoring() -> None:
    """Wire the rollout of the edge's rules and dashboard."""
    rollout("edge_monitoring")


edge_monitoring()
