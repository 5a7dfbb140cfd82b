"""Back to the old requests: first what would set the new ones again, then every running pod, and proof on the pods.

A pod gets its template's requests where it runs. Where its node could never hold it, or has had no room for too long,
it is evicted within its PodDisruptionBudget, and the pod that follows comes from the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import InvalidError, NodeCapacityError, NotFoundError
from include.levers.nodes.requests import shown
from include.levers.owned import Report
from include.levers.pods import is_ready, waiting
from include.levers.right_sizing.live import pods_of
from include.levers.right_sizing.sizes import (
    DEFERRED,
    carried_out,
    container_of,
    main_container,
    refused_for,
    requests_of,
    running,
)
from include.levers.right_sizing.survey import as_text, from_text
from include.levers.right_sizing.wanted import MANAGER, OFF, PREDICTOR, World, vpa_key
from include.levers.workloads import replicas_of
from include.levers.world import Object, name_of, standing
from include.rollout.lever import Difference, kept

Wanted = Mapping[str, tuple[str, Mapping[str, Decimal]]]  # by Deployment: its container, and its old requests


def to_size_back(world: World, snapshot: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """The Deployments whose requests were their template's: no VPA of ours set them then.

    One that came after the snapshot is of these too: what its template says now is all that there is of it.
    """
    known = kept(snapshot, "sized")
    since = standing(world, [name for name in (*world.estate.workloads, PREDICTOR) if name not in known])
    every = {**known, **{name: _as_kept(deployment) for name, deployment in since.items()}}
    return {name: one for name, one in every.items() if _mode(objects.get(vpa_key(world.estate, name))) == OFF}


def _as_kept(deployment: Object) -> dict[str, Any]:
    spec = deployment["spec"]["template"]["spec"]
    container = main_container(spec)
    return {"container": container, "requests": as_text(requests_of(spec, container))}


def _mode(was: Mapping[str, Any] | None) -> str:
    spec = ((was or {}).get("ours") or {}).get("spec") or {}
    return str((spec.get("updatePolicy") or {}).get("updateMode", OFF))


def old_requests(world: World, kept_ones: Mapping[str, Any], report: Report) -> Wanted:
    """The template's requests of each Deployment that stands; a template that others have changed is reported."""
    wanted: dict[str, tuple[str, Mapping[str, Decimal]]] = {}
    for name, deployment in standing(world, kept_ones).items():
        container, was = kept_ones[name]["container"], from_text(kept_ones[name]["requests"])
        spec = deployment["spec"]["template"]["spec"]
        now = requests_of(spec, container)
        if container_of(spec, container) is None or now != was:
            path = f"Deployment {world.estate.namespace}/{name} requests of {container}"
            report.append(Difference(path, kept_ones[name]["requests"], as_text(now) or None))
        if now:
            wanted[name] = (container, now)
    return wanted


# Sizing back -----------------------------------------------------------------------------------------------------


@dataclass
class SizingBack:
    """A way back under way: it resizes, evicts and looks again until every running pod has its old requests."""

    world: World
    wanted: Wanted
    resized: set[str] = field(default_factory=set)
    evicted: set[str] = field(default_factory=set)

    def missing(self) -> list[str]:
        """What is left to do, a line each; does what it can of it. A pod that is gone has nothing left."""
        lines: list[str] = []
        for name, deployment in standing(self.world, self.wanted).items():
            every = pods_of(self.world, name)
            pods = running(every)
            lines += [line for pod in pods if (line := self._look_at(pod, *self.wanted[name]))]
            # An evicted pod's successor may wait for a node: until it runs, the old capacity is not back.
            ready = sum(is_ready(pod) for pod in pods)
            if self.evicted and ready < replicas_of(deployment):
                lines += [f"{name}: {ready} of {replicas_of(deployment)} pods ready", *waiting(every)]
        return lines

    def _look_at(self, pod: Object, container: str, wanted: Mapping[str, Decimal]) -> str:
        name, asked = name_of(pod), requests_of(pod["spec"], container)
        if asked == wanted and carried_out(pod, container) == wanted:
            return ""
        waits = refused_for(pod, self.world.now())
        if asked == wanted and waits and self._is_hopeless(*waits):
            return self._evict(pod, f"{waits[0]} for {waits[1]:.0f} s")
        if asked == wanted:
            return (
                f"{name} has {shown(carried_out(pod, container))} of {shown(wanted)}{f' ({waits[0]})' if waits else ''}"
            )
        return self._resize(pod, container, wanted)

    def _is_hopeless(self, reason: str, seconds: float) -> bool:
        return reason != DEFERRED or seconds >= self.world.settings.deferred_seconds

    def _resize(self, pod: Object, container: str, wanted: Mapping[str, Decimal]) -> str:
        world, name = self.world, name_of(pod)
        world.target.fence()
        try:
            world.cluster.resize(name, world.estate.namespace, {container: as_text(wanted)}, MANAGER)
        except NotFoundError:
            return f"{name} is ending"
        except (NodeCapacityError, InvalidError) as error:
            return self._evict(pod, str(error))
        self.resized.add(name)
        return f"{name} is resized to {shown(wanted)}"

    def _evict(self, pod: Object, why: str) -> str:
        world, name = self.world, name_of(pod)
        world.target.fence()
        if not world.cluster.evict(name, world.estate.namespace):
            return f"{name} can't be resized where it runs ({why}), and its PodDisruptionBudget holds it for now"
        self.evicted.add(name)
        return f"{name} is evicted ({why})"

    def steps(self) -> list[str]:
        """What was done, for people."""
        stayed = len(self.resized - self.evicted)
        lines = [f"{stayed} pods have their old requests again, where they run"] if stayed else []
        if self.evicted:
            lines.append(f"{len(self.evicted)} pods were evicted, since their nodes had no room: new ones follow them")
        return lines


def size_back(world: World, wanted: Wanted) -> list[str]:
    """Give every running pod its old requests and wait for it; returns what was done. Raises NotConverged."""
    back = SizingBack(world, wanted)
    if back.missing():
        world.wait_for(back.missing, "getting the old requests back on the running pods")
    return back.steps()


# Proof -----------------------------------------------------------------------------------------------------------


def pods_left(world: World, wanted: Wanted) -> list[Difference]:
    """Running pods that don't have their old requests, from what they have to what they had."""
    return [
        Difference(f"Pod {world.estate.namespace}/{name_of(pod)} requests of {container}", as_text(now), as_text(old))
        for name, (container, old) in wanted.items()
        for pod in running(pods_of(world, name))
        if (now := requests_of(pod["spec"], container)) != old or (now := carried_out(pod, container)) != old
    ]
