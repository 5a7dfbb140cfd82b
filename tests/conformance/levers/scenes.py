"""For each lever a small region in memory in which it can be rolled out, disturbed and undone.

A new lever needs an entry in ``SCENES``: without one every property of it fails.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from include.estate import Estate
from include.levers.cost_cap import CapSettings, CostCap
from include.levers.spot_capacity import SpotCapacity
from include.rollout.lever import Json, Lever, Target
from include.rollout.settings import build
from tests.unit.levers import monitoring_world, scaling_world, spot_world

Object = dict[str, Any]
# What controllers make and remove by themselves, and what only tells how often something was written.
MOVING_KINDS = {"Node", "NodeClaim", "Pod", "ReplicaSet", "HorizontalPodAutoscaler", "Lease", "Event"}
# The diary of drills stays: the notices that it names must not count as AWS's in a later rollout.
DIARY = "ConfigMap akidb akidb-interruption-drills"
COUNTERS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


@dataclass(frozen=True)
class Scene:
    """One lever in one region. ``objects`` and ``cloud`` are the live world, to be looked at and to be disturbed."""

    lever: Lever
    target: Target
    objects: dict[tuple[str, str, str], Object]
    cloud: Any
    cluster: Any

    def apply_all(self, target: Target | None = None) -> None:
        """Every stage of the plan, in order."""
        target = target or self.target
        for stage in self.lever.plan(target).stages:
            self.lever.apply(target, stage)

    def state(self) -> dict[str, Json]:
        """Everything that a lever may change, as the API server and the cloud have it."""
        self.cluster.settle()  # a Node goes after its instance
        kept = {" ".join(key): _content(thing) for key, thing in self.objects.items() if key[0] not in MOVING_KINDS}
        kept.pop(DIARY, None)
        nodes = [o for (kind, *_), o in self.objects.items() if kind == "Node"]
        return kept | {
            "cordoned": sorted(n["metadata"]["name"] for n in nodes if n["spec"].get("unschedulable")),
            "node group": dict(self.cloud.scaling),
            "nodes of the group": len(self.cloud.instances),
            "queue": copy.deepcopy(self.cloud.queue),
            "rules": copy.deepcopy(self.cloud.rules),
        }

    def with_settings(self, **chosen: Any) -> Target:
        """The target with other settings."""
        model = self.lever.settings_type
        settings = build(model, self.target.settings.model_dump() | chosen, self.target.estate)
        return replace(self.target, settings=settings)

    def with_estate(self, change: Callable[[Object], Object]) -> Target:
        """The target with another estate file."""
        raw = change(self.target.estate.model_dump(mode="json"))
        return replace(self.target, estate=Estate.model_validate(raw))


def _content(thing: Mapping[str, Any]) -> Object:
    body = {key: value for key, value in thing.items() if key not in ("status", "apiVersion")}
    metadata = {k: value for k, value in thing["metadata"].items() if k not in COUNTERS and value not in ({}, None)}
    return copy.deepcopy({**_without_empty(body), "metadata": metadata})


def _without_empty(value: Json) -> Json:
    """An API server omits what is empty: ``{"limits": {}}`` and no limits are the same."""
    if not isinstance(value, Mapping):
        return value
    inner = {key: _without_empty(part) for key, part in value.items()}
    return {key: part for key, part in inner.items() if part not in ({}, [], None)}


def _scene(lever: Lever, target: Target) -> Scene:
    cluster = target.clients.kubernetes
    return Scene(lever, target, cluster.objects, cluster.cloud, cluster)


def spot(folder: Path) -> Scene:
    """Five on-demand nodes, thirty pods."""
    return _scene(SpotCapacity(now=lambda: spot_world.NOW), spot_world.World().target)


def scaling(folder: Path) -> Scene:
    """Two workloads and a champion."""
    return _scene(scaling_world.LEVER, scaling_world.World(folder).target)


def monitoring(folder: Path) -> Scene:
    """A cluster in which nothing of it is installed."""
    return _scene(monitoring_world.LEVER, monitoring_world.World().target)


def cap(folder: Path) -> Scene:
    """A pool that the spot lever made, with a limit of 200 vCPU."""
    world = monitoring_world.World()
    pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "akidb-spot"}}
    requirements = [{"key": spot_world.SPREAD, "operator": "In", "values": []}]
    spec = {"limits": {"cpu": "200", "memory": "400Gi"}, "template": {"spec": {"requirements": requirements}}}
    world.cluster.apply({**pool, "spec": spec}, "akidb-rollout")
    settings = CapSettings(pool="akidb-spot", new_cpu="120", old_cpu="200")
    return _scene(CostCap(now=lambda: spot_world.NOW), replace(world.target, settings=settings))


SCENES: dict[str, Callable[[Path], Scene]] = {
    "spot_capacity": spot,
    "predictive_scaling": scaling,
    "cost_monitoring": monitoring,
    "cost_cap": cap,
}
# Settings of a run that resumes the one before; None where a lever has nothing to choose.
OTHER_SETTINGS: dict[str, Mapping[str, Any] | None] = {
    "spot_capacity": {"steps_percent": (50,)},
    "predictive_scaling": {"use_forecast": False},
    "cost_monitoring": {"known_usd_day": {"s3": "4.00"}, "known_as_of": "2026-11-23"},
    "cost_cap": None,
}
