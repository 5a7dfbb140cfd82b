"""Reading the world: the objects that the cost-truth lever owns, and whose Deployments stand there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, PROMETHEUS_RULE
from include.levers import common
from include.levers.common import Object
from include.levers.cost_monitoring import plan
from include.levers.cost_monitoring.plan import DASHBOARD, SLOTS, MonitoringSettings
from include.levers.objects import by_key, key_of, listed, projection, read, with_own
from include.rollout.lever import kept


@dataclass(frozen=True)
class World(common.World):
    """A target with its clients typed, and this lever's settings under ``chosen``."""

    @property
    def chosen(self) -> MonitoringSettings:
        """The settings of this run."""
        settings: MonitoringSettings = self.target.settings
        return settings


def is_foreign(world: World, name: str) -> bool:
    """Whether a Deployment stands there that this lever never applied."""
    found = world.cluster.get(DEPLOYMENT, name, name)
    return found is not None and plan.ours(found) is None


def foreign(world: World) -> list[str]:
    """Which of OpenCost and Kubecost belong to somebody else."""
    return [name for name in plan.CHARTS if is_foreign(world, name)]


def bodies(world: World, slot: str, operator: bool, left: Sequence[str]) -> list[Object]:
    """The wanted objects of a slot in this world."""
    return plan.wanted(slot, world.estate, world.target.region, world.chosen, operator, left)


def read_live(world: World) -> Object:
    """The state of everything that the lever may write, as JSON. An object that doesn't exist is None.

    ``ours`` is the object as this lever applied it before, ``fields`` the live values of what is wanted now. A
    Namespace that is there already is left as it is (``left_alone``).
    """
    operator, left = world.cluster.serves(PROMETHEUS_RULE), foreign(world)
    objects: dict[str, Any] = {}
    for slot in SLOTS:
        for body in bodies(world, slot, operator, left):
            objects[key_of(body)] = _entry(read(world, body), body)
    return {"operator": operator, "foreign": left, "objects": listed(objects)}


def _entry(found: Object | None, body: Object) -> Object | None:
    if found is None:
        return None
    mine = plan.ours(found)
    return {
        "ours": mine,
        "fields": projection(found, body, mine),
        "left_alone": body["kind"] == "Namespace" and mine is None,
    }


def objects_of(world: World, snapshot: Mapping[str, Any]) -> dict[str, Object | None]:
    """What is to be set back: the snapshot's objects, and what this lever has made since that it does not name."""
    possible = (body for slot in SLOTS for operator in (True, False) for body in bodies(world, slot, operator, ()))
    return with_own(world, plan.MANAGER, by_key(kept(snapshot, "objects")), possible)


def every_body(world: World, live: Object) -> list[Object]:
    """The wanted objects of all slots for a live state that was read."""
    return [
        body for slot in (*plan.CHARTS, DASHBOARD) for body in bodies(world, slot, live["operator"], live["foreign"])
    ]
