"""VerticalPodAutoscalers held at their recommendation while pods move, and let go afterwards.

Karpenter computes with the requests of today; what the webhook gives a pod after its eviction it doesn't foresee. A pin
sets both bounds of each container to the target. What the bounds were, and whose, stands beside them in an annotation
until they are back, so that a run that was cut short is let go by any later one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from include.clients.kubernetes import VERTICAL_AUTOSCALER, NotServedError
from include.levers import held_fields
from include.levers.fields import at, handed_back, owners_of, set_at
from include.levers.owned import Holds, Report, hand_back, read_key
from include.levers.world import Object, World, name_of
from include.rollout.export import Export
from include.rollout.lever import Difference, Json

PREDICTOR = "traffic-predictor"
BOUNDS = ("spec", "resourcePolicy", "containerPolicies")
BEFORE = "akidb.io/bounds-before-packing"
ANNOTATION = ("metadata", "annotations", BEFORE)


@dataclass(frozen=True)
class Pin:
    """The bounds of one VerticalPodAutoscaler, as :class:`include.levers.owned.Thing`.

    No run wants them changed when it ends, so a plan says nothing of them; a snapshot knows them.
    """

    name: str
    namespace: str
    wanted: bool = False

    @property
    def key(self) -> str:
        """``VerticalPodAutoscaler akidb/akidb-rest``."""
        return f"{VERTICAL_AUTOSCALER.name} {self.namespace}/{self.name}"

    def live(self, world: World) -> Object | None:
        """The object, None without it."""
        return read_key(world, self.key)

    def entry(self, world: World) -> Json:
        """The bounds and their owners, None without the object."""
        found = self.live(world)
        return found and (remembered(found) or _entry(at(found, BOUNDS), owners_of(found, BOUNDS)))

    def unnamed(self, world: World) -> list[Json]:
        """What the annotation says, if it is pinned."""
        found = self.live(world)
        return [remembered(found)] if found and remembered(found) else []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """None: a pin is no change that stays."""
        del entry
        return ()

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Hold the recommendation; False without one, or where it is held already."""
        found = self.live(world)
        bounds = None if found is None or dry_run else pinned(found)
        if found is None or bounds is None or is_pinned(world, found):
            return False
        before = remembered(found) or _entry(at(found, BOUNDS), owners_of(found, BOUNDS))
        body = self._body({ANNOTATION: json.dumps(before, sort_keys=True), BOUNDS: bounds})
        world.target.fence()
        world.cluster.apply(body, world.manager, force=True)
        return True

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """Let it go: the bounds go back, then their owners, then the annotation. One that is gone has no pin."""
        del held, report
        found = self.live(world)
        before = found and (remembered(found) or was)
        if not found or not before or not (is_pinned(world, found) or remembered(found)):
            return None
        if is_pinned(world, found):
            self._give_back(world, found, before)
        world.target.fence()
        world.cluster.apply(self._body({}), world.manager)
        return "let go"

    def export(self, world: World, was: Json) -> Export:
        """Nothing: a pin is no change that stays."""
        del world, was
        return Export()

    def _give_back(self, world: World, found: Object, before: Mapping[str, Any]) -> None:
        (field,) = held_fields.fields_of(before)
        if field.was is not None:
            kept = at(found, ANNOTATION)
            body = self._body({BOUNDS: field.was} | ({ANNOTATION: kept} if kept else {}))
            world.target.fence()
            world.cluster.apply(body, world.manager, force=True)
            give = partial(handed_back, manager=world.manager, given={BOUNDS: field.owners})
            hand_back(world, VERTICAL_AUTOSCALER, self.name, self.namespace, give)

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """A pin that still holds."""
        del was
        found = self.live(world)
        holds = found is not None and (is_pinned(world, found) or bool(remembered(found)))
        return [Difference(f"{self.key} bounds", "held at the recommendation", None)] if holds else []

    def _body(self, fields: Mapping[tuple[str, ...], Json]) -> Object:
        metadata = {"name": self.name, "namespace": self.namespace}
        body: Object = {"apiVersion": VERTICAL_AUTOSCALER.api_version, "kind": VERTICAL_AUTOSCALER.name}
        body["metadata"] = metadata
        for path, value in fields.items():
            set_at(body, path, copy.deepcopy(value))
        return body


def pins(world: World) -> list[Pin]:
    """One for each VerticalPodAutoscaler of what right-sizing sizes; none where there is no such kind."""
    try:
        found = world.cluster.list(VERTICAL_AUTOSCALER, world.estate.namespace)
    except NotServedError:
        return []
    sized = {*world.estate.workloads, PREDICTOR}
    return [Pin(name, world.estate.namespace) for name in sorted(map(name_of, found)) if name in sized]


def is_pinned(world: World, found: Object) -> bool:
    """Whether the bounds are the lever's."""
    return [world.manager, "Apply"] in owners_of(found, BOUNDS)


def remembered(found: Object) -> Json:
    """The entry in the annotation, None without one."""
    text = at(found, ANNOTATION)
    return json.loads(text) if text else None


def _entry(bounds: Json, owners: Sequence[Sequence[str]]) -> Json:
    state = "absent" if bounds is None else "set"
    return {"own": "fields", "fields": [{"path": [*BOUNDS], "state": state, "was": bounds, "owners": [*owners]}]}


def pinned(autoscaler: Object) -> list[Object] | None:
    """The container policies with both bounds at the target; None without any recommendation."""
    recommended = at(autoscaler, ("status", "recommendation", "containerRecommendations")) or []
    targets = {part["containerName"]: part["target"] for part in recommended}
    policies = at(autoscaler, BOUNDS) or []
    return [*_held(targets, policies), *(p for p in policies if p.get("containerName") not in targets)] or None


def _held(targets: Mapping[str, Object], policies: Sequence[Object]) -> Iterator[Object]:
    by_name = {policy.get("containerName", "*"): policy for policy in policies}
    for name, target in targets.items():
        policy = by_name.get(name) or by_name.get("*") or {}
        yield {**policy, "containerName": name, "minAllowed": dict(target), "maxAllowed": dict(target)}
