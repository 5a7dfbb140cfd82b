"""What sleep means for each kind of workload, what of a namespace is put to sleep, and what is left with its reason."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from include.clients.kubernetes import (
    AUTOSCALER,
    CRON_JOB,
    DEPLOYMENT,
    SCALED_OBJECT,
    STATEFUL_SET,
    Kind,
    NotServedError,
)
from include.levers.fields import at, leaves, owners_of
from include.levers.nonprod_hours.decide import opted_out
from include.levers.owned import Item, Own, identity, key_of
from include.levers.pods import controller_of
from include.levers.world import Object, World, name_of

MANAGER = "akidb-nonprod-hours"
PAUSED = "autoscaling.keda.sh/paused"
PAUSES = (PAUSED, "autoscaling.keda.sh/paused-replicas")
REPLICAS = "spec.replicas"
# In the order in which they go to sleep: nothing new begins, nobody scales, and only then to zero. Back in reverse.
ORDER = (CRON_JOB, SCALED_OBJECT, DEPLOYMENT, STATEFUL_SET)
ASLEEP: Mapping[str, Object] = {
    CRON_JOB.name: {"spec": {"suspend": True}},
    SCALED_OBJECT.name: {"metadata": {"annotations": {PAUSED: "true"}}},
    DEPLOYMENT.name: {"spec": {"replicas": 0}},
    STATEFUL_SET.name: {"spec": {"replicas": 0}},
}


class NonprodSettings(BaseModel):
    """Which namespace, and how long is waited for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    namespace: Annotated[str, Field(min_length=1, description="Namespace that is put to sleep")]
    converge_timeout_seconds: Annotated[
        int, Field(gt=0, le=3600, description="Longest wait for pods to go, or to be ready again, in seconds")
    ]
    nodes_wait_seconds: Annotated[
        int, Field(ge=0, le=1800, description="Longest wait for the emptied nodes to go, in seconds; they may stay")
    ] = 300


NonprodWorld = World[NonprodSettings]


@dataclass
class Namespace:
    """A namespace as it is read: what is put to sleep by key, which of it an autoscaler moves, and what is left."""

    asleep: list[str] = field(default_factory=list)
    scaled: list[str] = field(default_factory=list)  # keys whose replicas an HPA or KEDA moves
    left: dict[str, str] = field(default_factory=dict)  # key -> why it is left as it is


def all_of(world: NonprodWorld, kind: Kind) -> list[Object]:
    """The objects of a kind in the namespace; none where the kind isn't served."""
    try:
        return sorted(world.cluster.list(kind, world.settings.namespace), key=name_of)
    except NotServedError:
        return []


def namespace_of(world: NonprodWorld) -> Namespace:
    """What of the namespace is put to sleep. Raises nothing for what is left: it is named."""
    things = {kind.name: all_of(world, kind) for kind in ORDER}
    found, scalers = Namespace(), things[SCALED_OBJECT.name]
    held = {target_key(scaler): key_of(scaler) for scaler in scalers if _why_left(world, scaler)}
    for thing in [thing for kind in ORDER for thing in things[kind.name]]:
        key = key_of(thing)
        reason = _why_left(world, thing) or (f"{held[key]}, which scales it, is left" if key in held else "")
        if reason:
            found.left[key] = reason
        elif not is_at_rest(world, thing):
            found.asleep.append(key)
    off = {key_of(thing) for kind in ORDER for thing in things[kind.name] if opted_out(thing)}
    for scaler in scalers:  # whoever leaves a workload leaves what scales it
        if target_key(scaler) in off and key_of(scaler) in found.asleep:
            found.asleep.remove(key_of(scaler))
            found.left[key_of(scaler)] = f"{target_key(scaler)}, which it scales, is left"
    autoscalers = [*scalers, *all_of(world, AUTOSCALER)]
    found.scaled = sorted({key for scaler in autoscalers if (key := target_key(scaler)) in found.asleep})
    return found


def _why_left(world: NonprodWorld, thing: Object) -> str:
    """Why an object is left as it is; empty when it is not."""
    if label := opted_out(thing):
        return label
    owner = controller_of(thing)
    if owner is not None:
        return f"{owner['kind']} {owner['name']} manages it and would set it back"
    annotations = thing["metadata"].get("annotations") or {}
    pause = next((name for name in PAUSES if name in annotations), "")
    if thing["kind"] == SCALED_OBJECT.name and pause and not is_ours(world, thing):
        return f"somebody has paused it ({pause}={annotations[pause]})"
    return ""


def target_key(scaler: Object) -> str:
    """The workload that a ScaledObject or HPA scales, ``Deployment space/name``."""
    target = scaler["spec"].get("scaleTargetRef") or {}
    return f"{target.get('kind', DEPLOYMENT.name)} {scaler['metadata']['namespace']}/{target.get('name', '')}"


def wanted_fields(kind: str) -> Sequence[tuple[tuple[str, ...], Any]]:
    """The fields that sleep sets in a kind, with their values."""
    return list(leaves(ASLEEP[kind]))


def is_ours(world: NonprodWorld, thing: Object) -> bool:
    """Whether the lever holds the field by which an object sleeps."""
    return any([world.manager, "Apply"] in owners_of(thing, path) for path, _ in wanted_fields(thing["kind"]))


def is_at_rest(world: NonprodWorld, thing: Object) -> bool:
    """Whether it sleeps already by somebody else's hand: that is not the lever's to undo."""
    return not is_ours(world, thing) and all(at(thing, path) == value for path, value in wanted_fields(thing["kind"]))


def items(keys: Sequence[str], scaled: Sequence[str]) -> Iterator[Item]:
    """What is wanted of each object; replicas that an autoscaler moves are taken over with their owner alone."""
    for key in keys:
        body = identity(key)
        asleep = copy.deepcopy(dict(ASLEEP[body["kind"]]))
        asleep["metadata"] = {**asleep.get("metadata", {}), **body["metadata"]}
        yield Item({**body, **asleep}, Own.FIELDS, moving=(REPLICAS,) if key in scaled else ())
