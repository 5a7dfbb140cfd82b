"""Reading the world: the objects that the predictive-scaling lever owns, KEDA's autoscalers, and the champion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from include.clients.kubernetes import AUTOSCALER, DEPLOYMENT
from include.forecast.registry import Registry
from include.levers import common
from include.levers.common import Object, deployments, name_of
from include.levers.objects import by_key, key_of, listed, projection, read, read_key, with_own
from include.levers.predictive_scaling import plan
from include.levers.predictive_scaling.plan import MODELS_VARIABLE, PredictiveSettings
from include.rollout.lever import kept

OWNER = "ScaledObject"


@dataclass(frozen=True)
class World(common.World):
    """A target with its clients typed, and this lever's settings under ``chosen``."""

    @property
    def chosen(self) -> PredictiveSettings:
        """The settings of this run."""
        settings: PredictiveSettings = self.target.settings
        return settings

    @property
    def models(self) -> str:
        """Where the models lie, as the Airflow Variable says."""
        return str(self.target.clients.location(MODELS_VARIABLE))

    @property
    def registry(self) -> Registry:
        """The models of the region."""
        return Registry(self.target.clients.storage(MODELS_VARIABLE), self.target.region)


def bodies(world: World, slot: str) -> list[Object]:
    """The wanted objects of a slot in this world."""
    return plan.wanted(slot, world.estate, world.target.region, world.chosen, world.models)


def final(world: World) -> list[Object]:
    """All that stands after the last stage in this world."""
    return plan.final(world.estate, world.target.region, world.chosen, world.models)


def everything(world: World) -> list[Object]:
    """All that the lever can write in this world."""
    return plan.every_object(world.estate, world.target.region, world.chosen, world.models)


def objects_of(world: World, snapshot: Mapping[str, Any]) -> dict[str, Object | None]:
    """What is to be set back: the snapshot's objects, and what this lever has made since that it does not name."""
    # Where the models lie is in no name: an undo must not fail on a Variable that is gone.
    possible = plan.every_object(world.estate, world.target.region, world.chosen, "")
    return with_own(world, plan.MANAGER, by_key(kept(snapshot, "objects")), possible)


def read_live(world: World) -> Object:
    """The state of everything that the lever may write, as JSON. An object that doesn't exist is None.

    ``ours`` is the object as this lever applied it before, ``fields`` the live values of what is wanted now.
    ``replicas`` of a Deployment are None while this lever's autoscaler sets them: they then move by themselves.
    """
    scaled = {name: our_scaled_object(world, name) is not None for name in world.estate.workloads}
    replicas = {name: None if scaled[name] else replicas_of(found) for name, found in deployments(world).items()}
    return {
        "objects": listed({key_of(body): _entry(read(world, body), body) for body in everything(world)}),
        "replicas": replicas,
    }


def _entry(found: Object | None, body: Object) -> Object | None:
    if found is None:
        return None
    mine = plan.ours(found)
    return {"ours": mine, "fields": projection(found, body, mine)}


def our_scaled_object(world: World, workload: str) -> Object | None:
    """The ScaledObject of a workload as this lever applied it; None when it did not, or KEDA is not there."""
    found = scaled_object(world, workload)
    return plan.ours(found) if found else None


def scaled_object(world: World, workload: str) -> Object | None:
    """The live ScaledObject of a workload; None without one, or without KEDA."""
    return read_key(world, plan.scaled_key(world.estate, workload))


def replicas_of(deployment: Object) -> int:
    """Wanted replicas of a Deployment."""
    return int(deployment["spec"].get("replicas", 1))


def scaled_objects(world: World) -> dict[str, Object | None]:
    """The live ScaledObject of each workload by its name."""
    return {name: scaled_object(world, name) for name in world.estate.workloads}


def autoscalers(world: World) -> dict[str, list[Object]]:
    """The HPAs that scale each workload, whoever made them."""
    return {name: autoscalers_of(world, name) for name in world.estate.workloads}


def autoscalers_of(world: World, workload: str) -> list[Object]:
    """The HPAs that scale one Deployment, whoever made them."""
    return [found for found in world.cluster.list(AUTOSCALER, world.estate.namespace) if scales(found) == workload]


def scales(autoscaler: Mapping[str, Any]) -> str:
    """The Deployment that an HPA, ScaledObject or VPA is for; empty for another kind."""
    spec = autoscaler["spec"]
    target = spec.get("scaleTargetRef") or spec.get("targetRef") or {}
    return str(target["name"]) if target.get("kind", "Deployment") == "Deployment" and "name" in target else ""


def made_by_keda(autoscaler: Object, scaled_object: str) -> bool:
    """Whether KEDA made the HPA for this ScaledObject."""
    owners = autoscaler["metadata"].get("ownerReferences") or []
    return any((owner["kind"], owner["name"]) == (OWNER, scaled_object) for owner in owners)


def keda_autoscaler(world: World, workload: str) -> Object | None:
    """The HPA that KEDA made for a workload's ScaledObject."""
    found = autoscalers_of(world, workload)
    return next((autoscaler for autoscaler in found if made_by_keda(autoscaler, workload)), None)


def standing(world: World, names: Iterable[str]) -> dict[str, Object]:
    """The Deployments of ``names`` that stand, whether or not the estate still has them."""
    found = {name: world.cluster.get(DEPLOYMENT, name, world.estate.namespace) for name in names}
    return {name: deployment for name, deployment in found.items() if deployment is not None}


def all_replicas(world: World) -> dict[str, int]:
    """Wanted replicas of each workload at this moment."""
    return {name_of(found): replicas_of(found) for found in deployments(world).values()}
