"""Reading the world: the objects that the cost-truth lever owns, and whose Deployments stand there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from include.clients.kubernetes import DEPLOYMENT, KINDS, POD, PROMETHEUS_RULE, TimedOutError
from include.levers.cost_monitoring import plan
from include.levers.cost_monitoring.plan import DASHBOARD, MANAGER, SLOTS, MonitoringSettings, Object
from include.levers.spot_capacity import live as spot
from include.rollout.lever import NotConverged

# Managers that write to every object of their kind: nobody's change of mind.
CONTROLLERS = {"kube-controller-manager", "kube-scheduler", "kubelet", "kwok"}


@dataclass(frozen=True)
class World(spot.World):
    """A target with its clients typed, as the spot lever has it, and this lever's settings under ``chosen``."""

    @property
    def settings(self) -> Any:
        """This lever's settings; :attr:`chosen` has them typed."""
        return self.target.settings

    @property
    def chosen(self) -> MonitoringSettings:
        """The settings of this run."""
        settings: MonitoringSettings = self.target.settings
        return settings

    def await_all(self, missing: Callable[[], Sequence[str]], what: str, namespace: str | None = None) -> float:
        """Wait for the cluster or Prometheus; returns seconds. Raises NotConverged with what is missing."""
        try:
            return self.cluster.wait_for(missing, self.timeout, POD, namespace, recheck=1.0)
        except TimedOutError as error:
            raise NotConverged(f"{self.target.region}: {what}: {error}") from error


def read(world: World, body: Object) -> Object | None:
    """The live object of ``body``'s name; None when it does not exist or its kind isn't served."""
    metadata = body["metadata"]
    return world.cluster.get(KINDS[body["kind"]], metadata["name"], metadata.get("namespace"))


def others(live: Object) -> list[str]:
    """Managers besides this lever that have set fields of the object's content."""
    content = ("f:spec", "f:data", "f:rules", "f:subjects")
    return sorted(
        entry["manager"]
        for entry in live["metadata"].get("managedFields") or []
        if entry["manager"] not in CONTROLLERS | {MANAGER}
        and not entry.get("subresource")
        and any(part in (entry.get("fieldsV1") or {}) for part in content)
    )


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
            objects[plan.key_of(body)] = _entry(read(world, body), body)
    return {"operator": operator, "foreign": left, "objects": objects}


def _entry(found: Object | None, body: Object) -> Object | None:
    if found is None:
        return None
    mine = plan.ours(found)
    return {
        "ours": mine,
        "fields": plan.projection(found, body),
        "left_alone": body["kind"] == "Namespace" and mine is None,
    }


def every_body(world: World, live: Object) -> list[Object]:
    """The wanted objects of all slots for a live state that was read."""
    return [
        body for slot in (*plan.CHARTS, DASHBOARD) for body in bodies(world, slot, live["operator"], live["foreign"])
    ]
