"""What is sized in a region: each Deployment with its container, its floor, and the highest mode of its VPA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from include.clients.kubernetes import AUTOSCALER, SCALED_OBJECT
from include.levers.autoscalers import scales
from include.levers.nodes.requests import Requests, read_quantities, show_cpu, show_memory, shown
from include.levers.owned import read_key
from include.levers.right_sizing import floors
from include.levers.right_sizing.sizes import main_container, requests_of
from include.levers.right_sizing.wanted import IN_PLACE, INITIAL, OFF, PREDICTOR, World, vpa_key
from include.levers.workloads import replicas_of
from include.levers.world import Object, deployments, standing
from include.rollout.lever import Json, Refused

DAY = 86_400.0


class Sized(NamedTuple):
    """One Deployment that is sized. ``requests`` are those of its template, ``floor`` is its VPA's minAllowed."""

    container: str
    requests: Requests
    floor: Requests
    highest: str
    notes: tuple[str, ...] = ()

    def kept(self) -> dict[str, Json]:
        """What plan and snapshot keep of it."""
        return {
            "container": self.container,
            "requests": as_text(self.requests),
            "floor": as_text(self.floor),
            "highest": self.highest,
        }


def survey(world: World) -> dict[str, Sized]:
    """Every Deployment that is sized, by name. Raises Refused for a workload that doesn't exist or requests nothing."""
    found = {**deployments(world), **standing(world, [PREDICTOR])}
    scaled = autoscaled(world)
    return {name: _sized(world, name, deployment, name in scaled) for name, deployment in found.items()}


def _sized(world: World, name: str, deployment: Object, scaled: bool) -> Sized:
    spec = deployment["spec"]["template"]["spec"]
    container = main_container(spec)
    now, limits = requests_of(spec, container), requests_of(spec, container, "limits")
    if set(now) != {"cpu", "memory"}:
        raise Refused(
            f"{world.place}: container {container} of Deployment {name} requests {shown(now)}: set requests of CPU and "
            "memory in its template"
        )
    bounds = world.estate.right_sizing.bounds_of(name)
    most = {n: min(v, limits.get(n, v)) for n, v in floors.in_base_units(bounds.most.model_dump()).items()}
    needed, notes = _needed(world, name, scaled)
    least = floors.floor(
        floors.in_base_units(bounds.least.model_dump()), most, now, needed, _standing_floor(world, name)
    )
    highest, why = _highest(world, name, deployment)
    return Sized(container, now, least, highest, (*notes, *why))


def _needed(world: World, name: str, scaled: bool) -> tuple[dict[str, float | None], list[str]]:
    """What the container is known to need in base units, None where that is not known, and what speaks for it."""
    settings, region = world.settings, world.target.region
    peak = floors.peak_memory(world.prometheus, world.estate, region, name, settings.history_days)
    kills, throttled = suffered(world, name)
    needed: dict[str, float | None] = {"memory": None if peak is None or kills else peak * settings.memory_margin}
    notes = []
    if kills:
        notes.append(f"{name}: its memory is not lowered: {kills} OOM kills in {settings.history_days} days")
    elif peak is None:
        notes.append(f"{name}: its memory is not lowered: no peak of it is known")
    if throttled > world.estate.right_sizing.max_throttled:
        needed["cpu"] = None
        notes.append(f"{name}: its CPU is not lowered: throttled in {throttled:.1%} of its periods, its limit is low")
    elif scaled and name in world.estate.predictive_scaling.requests:
        needed["cpu"], note = _at_target(world, name)
        notes.append(note)
    return needed, notes


def _at_target(world: World, name: str) -> tuple[float | None, str]:
    """CPU of a pod that carries its autoscaler's target, with the margin; history from before knows nothing of it."""
    estate, days = world.estate, world.settings.history_days
    each = floors.use_of_requests(world.prometheus, estate, world.target.region, name, world.now(), days)
    if each is None:
        return None, f"{name}: its CPU is not lowered: what a request costs is not known"
    qps = estate.qps_per_replica()
    cores = each * qps * estate.right_sizing.cpu_margin
    return cores, (
        f"{name}: order matters: its autoscaler lets a pod carry {qps:g} requests a second, which take "
        f"{each * qps:.2f} CPU by {days} days of use: it gets {cores:.2f} CPU or more, whatever a pod used before"
    )


def suffered(world: World, name: str) -> tuple[int, float]:
    """OOM kills, and the share of throttled CPU periods (0 without any period), of the days of history."""
    from include.levers.right_sizing.history import oom_kills, throttled_share

    seconds, region, now = world.settings.history_days * DAY, world.target.region, world.now()
    kills = oom_kills(world.prometheus, world.estate, region, name, now, seconds, 300.0)
    return len(kills), throttled_share(world.prometheus, world.estate, region, name, now, seconds) or 0.0


def _standing_floor(world: World, name: str) -> dict[str, Decimal]:
    found = read_key(world, vpa_key(world.estate, name))
    policies = ((found or {}).get("spec", {}).get("resourcePolicy") or {}).get("containerPolicies") or [{}]
    return read_quantities(policies[0].get("minAllowed"))


def _highest(world: World, name: str, deployment: Object) -> tuple[str, list[str]]:
    if name == PREDICTOR and not _is_old(world, name):
        days = world.settings.history_days
        return OFF, [f"{name}: recommendations only: it has run for less than {days} days; run this again then"]
    if replicas_of(deployment) == 0:
        return INITIAL, [f"{name}: scaled to zero: new pods only, there is none to resize"]
    return IN_PLACE, []


def _is_old(world: World, name: str) -> bool:
    """Whether it ran at the beginning of the history."""
    pods = floors.of_pods(world.estate, world.target.region, name)
    hours = world.settings.history_days * 24 - 6
    return bool(world.prometheus.value(f"count(container_memory_working_set_bytes{{{pods}}} offset {hours}h)"))


# Autoscalers -----------------------------------------------------------------------------------------------------


def autoscaled(world: World) -> set[str]:
    """The Deployments that an HPA or a ScaledObject scales."""
    found: Iterable[Object] = world.cluster.list(AUTOSCALER, world.estate.namespace)
    if world.cluster.serves(SCALED_OBJECT):
        found = [*found, *world.cluster.list(SCALED_OBJECT, world.estate.namespace)]
    return {scales(autoscaler) for autoscaler in found}


# Text ------------------------------------------------------------------------------------------------------------


def as_text(requests: Requests) -> dict[str, str]:
    """Requests as Kubernetes' quantities."""
    show = {"cpu": show_cpu, "memory": show_memory}
    return {name: show[name](value) for name, value in requests.items()}


def from_text(kept: Mapping[str, Any]) -> dict[str, Decimal]:
    """Requests of a snapshot or plan, in base units."""
    return read_quantities(kept)
