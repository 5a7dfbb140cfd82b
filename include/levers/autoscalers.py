"""Who scales a workload's Deployment: KEDA's ScaledObjects and the HPAs that it makes of them, others', and VPAs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from include.clients.kubernetes import AUTOSCALER
from include.estate import Estate
from include.levers.fields import applied_by
from include.levers.owned import read_key
from include.levers.world import Object, World, condition
from include.rollout.gates import Figure

OWNER = "ScaledObject"


# What stands -----------------------------------------------------------------------------------------------------


def scaled_key(estate: Estate, workload: str) -> str:
    """``ScaledObject akidb/akidb-rest``."""
    return f"{OWNER} {estate.namespace}/{workload}"


def scaled_object(world: World, workload: str) -> Object | None:
    """The live ScaledObject of a workload; None without one, or without KEDA."""
    return read_key(world, scaled_key(world.estate, workload))


def own_scaled_object(world: World, workload: str) -> Object | None:
    """The ScaledObject of a workload as the lever applied it; None when it did not, or KEDA is not there."""
    found = scaled_object(world, workload)
    return applied_by(world.manager, found) if found else None


def autoscalers_of(world: World, workload: str) -> list[Object]:
    """The HPAs that scale one Deployment, whoever made them."""
    return [found for found in world.cluster.list(AUTOSCALER, world.estate.namespace) if scales(found) == workload]


def keda_autoscaler(world: World, workload: str) -> Object | None:
    """The HPA that KEDA made for a workload's ScaledObject."""
    found = autoscalers_of(world, workload)
    return next((autoscaler for autoscaler in found if (OWNER, workload) in owners_of(autoscaler)), None)


def scales(autoscaler: Mapping[str, Any]) -> str:
    """The Deployment that an HPA, ScaledObject or VPA is for; empty for another kind."""
    spec = autoscaler["spec"]
    target = spec.get("scaleTargetRef") or spec.get("targetRef") or {}
    return str(target["name"]) if target.get("kind", "Deployment") == "Deployment" and "name" in target else ""


def owners_of(autoscaler: Object) -> list[tuple[str, str]]:
    """Kind and name of each owner of an HPA."""
    owners = autoscaler["metadata"].get("ownerReferences") or []
    return [(owner["kind"], owner["name"]) for owner in owners]


# How it does -----------------------------------------------------------------------------------------------------


def unhealthy(world: World) -> Figure:
    """Workloads whose ScaledObject or HPA does not work."""
    problems = [lines for lines in scaling_problems(world).values() if lines]
    wrong = [line for lines in problems for line in lines]
    return Figure(len(problems), "workloads", len(world.estate.workloads), "conditions of the HPAs", "; ".join(wrong))


def scaling_problems(world: World, triggers: int | None = None) -> dict[str, list[str]]:
    """What is wrong with the scaling of each workload; ``triggers`` is how many must have a value."""
    scaled = {name: scaled_object(world, name) for name in world.estate.workloads}
    return {name: _problems(name, found, keda_autoscaler(world, name), triggers) for name, found in scaled.items()}


def _problems(name: str, scaled: Object | None, autoscaler: Object | None, triggers: int | None) -> list[str]:
    if scaled is None:
        return [f"ScaledObject {name} does not exist"]
    if condition(scaled, "Ready") != "True":
        return [f"ScaledObject {name} is not ready: {_message(scaled, 'Ready')}"]
    if autoscaler is None:
        return [f"KEDA has made no HPA for {name}"]
    for kind in ("AbleToScale", "ScalingActive"):
        if condition(autoscaler, kind) != "True":
            return [f"the HPA of {name} is not {kind}: {_message(autoscaler, kind)}"]
    wanted = len(scaled["spec"]["triggers"]) if triggers is None else triggers
    # A metric that could not be read is listed too, but empty.
    read = [m for m in autoscaler["status"].get("currentMetrics") or [] if m.get("external", {}).get("current")]
    return [] if len(read) >= wanted else [f"the HPA of {name} has a value of {len(read)} of {wanted} triggers"]


def _message(thing: Object, kind: str) -> str:
    conditions = thing.get("status", {}).get("conditions") or []
    return next((c.get("message") or c.get("reason") or c["status"] for c in conditions if c["type"] == kind), "none")


def fallback(world: World) -> Figure | None:
    """Workloads that KEDA scales by its fallback, since their metrics are lost; None without any ScaledObject."""
    scaled = {name: found for name in world.estate.workloads if (found := scaled_object(world, name))}
    if not scaled:
        return None
    active = [name for name, found in scaled.items() if condition(found, "Fallback") == "True"]
    note = f"lost metrics of {', '.join(active)}" if active else ""
    return Figure(len(active), "workloads", len(scaled), "ScaledObject condition Fallback", note)
