"""Carrying a drill out: its strikes when they are due, a look at nodes and pods in between, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.levers.game_day.drills import Drill
from include.levers.game_day.settings import World
from include.levers.game_day.timeline import (
    MOST_SAMPLES,
    Sample,
    least_ready,
    on_record,
    recovered_after,
    stop_reason,
)
from include.levers.node_costs import node_facts
from include.levers.pods import has_no_node, is_ready, replicas_of, workload_pods
from include.levers.world import deployments
from include.rollout.lever import Json, Refused

SHORTEST_PAUSE = 2.0  # seconds between two looks


def carry_out(world: World, drill: Drill, facts: Mapping[str, Json]) -> dict[str, Any]:
    """Strike, look and wait until all is well again, or for as long as the hypothesis gives it.

    Returns the timeline and its figures. Raises Refused when the stop condition is met: what stands is then undone.
    """
    settings, due = world.settings, drill.strikes(facts)
    longest = float(settings.fault_seconds + settings.recover_seconds)
    pause = max(SHORTEST_PAUSE, longest / MOST_SAMPLES)
    begun, last = world.now(), 0.0
    samples: list[Sample] = []
    measured: list[float] = []
    while True:
        at = world.now() - begun
        while due and due[0].after <= at:
            drill.strike(world, due.pop(0))
            last = at
        drill.press_on(world, facts)
        samples.append(look(world, drill, facts, round(at, 1)))
        measured += [found] if (found := drill.measure(world, facts)) is not None else []
        if reason := stop_reason(samples[-1], settings.stop_ready_share):
            raise Refused(f"{world.place}: {drill.name}: {reason}")
        if _is_over(samples[-1], bool(due), settings.fault_seconds, longest):
            return _figures(drill, samples, last, measured)
        world.sleep(pause)


def _is_over(sample: Sample, due: bool, fault_seconds: float, longest: float) -> bool:
    return not due and sample.at >= fault_seconds and (sample.well or sample.at >= longest)


def _figures(drill: Drill, samples: list[Sample], last: float, measured: list[float]) -> dict[str, Any]:
    return {
        "drill": drill.name.value,
        "looks": len(samples),
        "least_ready_share": round(least_ready(samples), 4),
        "recovered_seconds": recovered_after(samples, last),
        "watched_seconds": samples[-1].at,
        "last_strike_seconds": round(last, 1),
        "measured_max": max(measured, default=None),
        "timeline": on_record(samples),
    }


def look(world: World, drill: Drill, facts: Mapping[str, Json], at: float) -> Sample:
    """Nodes and pods as they are now."""
    nodes, pods = node_facts(world), workload_pods(world)
    return Sample(
        at=at,
        nodes=len(nodes),
        spot_nodes=sum(node.capacity == "spot" for node in nodes),
        ready=sum(map(is_ready, pods)),
        wanted=sum(replicas_of(found) for found in deployments(world).values()),
        waiting=sum(map(has_no_node, pods)),
        missing=tuple(drill.missing(world, facts)),
    )
