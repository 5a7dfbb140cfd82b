"""Steps that the spot lever's tests take in its small world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from include.levers.spot_capacity import SpotCapacity
from include.rollout.gates import Figure
from include.rollout.lever import Stage
from tests.unit.levers.spot_world import NOW, World, system_pod

LEVER = SpotCapacity(now=lambda: NOW)


def stage_of(world: World, slot: str) -> Stage:
    return next(stage for stage in LEVER.plan(world.target).stages if stage.slot == slot)


def apply_all(world: World) -> dict[str, dict[str, Any]]:
    return {stage.slot: LEVER.apply(world.target, stage) for stage in LEVER.plan(world.target).stages}


def with_fence(world: World, fence: Callable[[], None]) -> Any:
    return replace(world.target, fence=fence)


class Killed(BaseException):
    """The process dies here."""


def observed(world: World, slot: str = "step_1", **applied: Any) -> dict[str, Figure | None]:
    return LEVER.observe(world.target, stage_of(world, slot), 20, {"started_at": NOW - 60, **applied})


def spread_out(world: World) -> None:
    for slot in ("step_1", "step_2", "step_3"):
        LEVER.apply(world.target, stage_of(world, slot))


def keep_two(world: World) -> None:
    """Have most pods of others on i-1 and i-2, so that these are the floor."""
    for n in range(4):
        world.cluster.put(system_pod(f"more-{n}", f"i-{1 + n % 2}"))


def drained(world: World, *pods: dict[str, Any]) -> tuple[Stage, dict[str, Any]]:
    spread_out(world)
    keep_two(world)
    for pod in pods:
        world.cluster.put(pod)
    stage = stage_of(world, "old_node_group")
    return stage, LEVER.apply(world.target, stage)
