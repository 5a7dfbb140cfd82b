"""Back to the snapshot: what was made is deleted, what was changed is set back. Runs again after a crash anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.levers.common import Object, name_of, refusals
from include.levers.cost_monitoring.live import World, objects_of
from include.levers.cost_monitoring.plan import MANAGER
from include.levers.namespaces import held_by_others
from include.levers.objects import await_gone, restore_object, unrestored
from include.rollout.lever import Difference, Restored


def restore(world: World, snapshot: Mapping[str, Any]) -> Restored:
    """Set every object back that this lever wrote; what others made or changed since is reported."""
    steps: list[str] = []
    others: list[Difference] = []
    deleted: list[str] = []

    def held(found: Object) -> list[str]:
        return held_by_others(world, MANAGER, name_of(found), objects) if found["kind"] == "Namespace" else []

    with refusals(world):
        objects = objects_of(world, snapshot)
        for key, was in reversed(objects.items()):
            world.target.fence()
            done = restore_object(world, MANAGER, key, was, others, held)
            if done:
                steps.append(f"{key} {done}")
            if done == "deleted":
                deleted.append(key)
        await_gone(world, deleted)
    return Restored(tuple(steps) or ("nothing was written, nothing is to be undone",), tuple(others))


def verify(world: World, snapshot: Mapping[str, Any]) -> list[Difference]:
    """What would still have to be set back, from live to snapshot."""
    return unrestored(world, MANAGER, objects_of(world, snapshot))
