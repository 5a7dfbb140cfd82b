"""Gates and figures of right-sizing: recommendations, sizes, and how the service does with them. No data is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from include.clients.kubernetes import EVENT
from include.estate import Estate
from include.levers import service
from include.levers.node_costs import node_facts, usd_hour
from include.levers.pods import is_ready, unix
from include.levers.probes import GateWindow, Probe, at_once, over_recent, over_stage
from include.levers.right_sizing import agreement, live
from include.levers.right_sizing.agreement import apart, recommended_for, sized_at_all, use_of
from include.levers.right_sizing.sizes import Recommended, container_of, in_mib, killed_since, requests_of, running
from include.levers.right_sizing.survey import survey
from include.levers.right_sizing.wanted import CANARY, NEW_PODS, PREDICTOR, RECOMMEND, REST, World, canary_of
from include.levers.service import covered
from include.levers.utilisation import oom_kills as counted_kills
from include.levers.utilisation import utilisation
from include.levers.world import standing
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Json

if TYPE_CHECKING:
    from include.levers.right_sizing.recommendation import Recommendation

SOURCE = "estate right_sizing"
EVICTED = "EvictedByVPA"  # the updater's event on a pod that it evicts
HOUR = 3600.0
BESIDE_OURS = "VPA's status against our own figure"
SHOWN = 5  # lines of a note


def probes(slot: str, estate: Estate) -> Sequence[Probe]:
    """The gates of a slot. Those of the service cover the whole stage: a kill at its beginning counts."""
    limits = estate.right_sizing
    if slot == RECOMMEND:
        near = _gate("recommendation_apart", limits.agree_within, "ratio", f"{SOURCE}.agree_within")
        return [
            at_once(_gate("recommendations_missing", 0, "workloads", "VPA must recommend"), missing),
            at_once(near, furthest),
            at_once(_gate("histories_unread", 0, "workloads", "VPA must know the history"), unread),
        ]
    new = at_once(_gate("new_pods_unsized", 0, "workloads", "the webhook must answer"), new_pods_unsized)
    resized = at_once(_gate("pods_unsized", 0, "pods", "the kubelets must follow"), pods_unsized(slot))
    return [*([new] if slot == NEW_PODS else [new, resized]), *_of_the_service(estate), *_of_the_sizes(estate, slot)]


def _gate(
    name: str, most: float, unit: str, source: str, comparison: Comparison = Comparison.AT_MOST, safety: bool = False
) -> Gate:
    return Gate(name, comparison, most, unit, 1, source, safety)


def _of_the_service(estate: Estate) -> list[Probe]:
    gates = (*service.latency_gates(estate), service.error_gate(estate), service.availability_gate(estate))
    kills = Probe(_gate("oom_kills", 0, "kills", "no container may lack memory", safety=True), oom_kills)
    return [kills, *(over_stage(one.gate, one.measure) for one in gates)]


def _of_the_sizes(estate: Estate, slot: str) -> list[Probe]:
    limits = estate.right_sizing
    found = [
        over_stage(_gate("throttled_share", limits.max_throttled, "ratio", f"{SOURCE}.max_throttled"), throttled),
        over_recent(
            _gate("evictions_hour", limits.max_evictions_hour, "pods", f"{SOURCE}.max_evictions_hour"), evictions
        ),
    ]
    if slot == REST:
        at_least, least = Comparison.AT_LEAST, f"{SOURCE}.min_utilisation"
        low = _gate("utilisation_least", limits.min_utilisation, "ratio", least, at_least)
        high = _gate("utilisation_most", limits.max_utilisation, "ratio", f"{SOURCE}.max_utilisation")
        found += [over_recent(low, used), over_recent(high, used)]
    return found


def sized_now(world: World) -> dict[str, Json]:
    """What is sized at this moment, as plans keep it, without what only has recommendations."""
    return sized_at_all(agreement.kept_of(survey(world)))


# Recommendations -------------------------------------------------------------------------------------------------


def missing(world: World) -> Figure:
    """Workloads whose VPA recommends nothing."""
    sized = sized_now(world)
    lines = agreement.without_recommendation(world, sized)
    return Figure(len(lines), "workloads", len(sized), "status of the VPAs", _note(lines))


def furthest(world: World) -> Figure | None:
    """How far the recommender is from our own figure at most, over the service's workloads and both resources."""
    lines, shares = [], []
    for name, _, theirs, twin in _beside_ours(world):
        own = agreement.in_cores_and_bytes(twin.uncapped)
        shares.append(apart(theirs.uncapped, own))
        lines.append(f"{name}: VPA {in_mib(theirs.uncapped)}, ours {in_mib(own)}")
    if not shares:
        return None
    return Figure(round(max(shares), 6), "ratio", len(shares), BESIDE_OURS, _note(lines))


def unread(world: World) -> Figure | None:
    """Workloads of which the recommender knows less than Prometheus: it has not read their history."""
    compared = _beside_ours(world)
    if not compared:
        return None
    lines = [line for name, one, _, twin in compared for line in agreement.unread(world, name, one, twin)]
    return Figure(len(lines), "workloads", len(compared), BESIDE_OURS, _note(lines))


def _beside_ours(world: World) -> list[tuple[str, Mapping[str, Json], Recommended, Recommendation]]:
    """Each of the service's workloads, VPA's recommendation and our own; none at all while one is missing."""
    sized = {name: one for name, one in sized_now(world).items() if name != PREDICTOR}
    found = {name: recommended_for(world, name, one["container"]) for name, one in sized.items()}
    known = {name: theirs for name, theirs in found.items() if theirs is not None}
    if not sized or len(known) < len(sized):
        return []
    use = use_of(world, list(sized))
    twins = {name: agreement.twin(world, use[name], one["container"]) for name, one in sized.items()}
    return [(name, sized[name], theirs, twins[name]) for name, theirs in known.items()]


# Sizes -----------------------------------------------------------------------------------------------------------


def new_pods_unsized(world: World) -> Figure:
    """Workloads whose new pods would not get what is recommended."""
    sized = sized_now(world)
    lines = live.unsized_new_pods(world, sized)
    return Figure(len(lines), "workloads", len(sized), "dry run of a new pod", _note(lines))


def pods_unsized(slot: str) -> Any:
    """Measures the running pods that the updater still has to resize; a workload without pods has none."""

    def measure(world: World) -> Figure:
        sized = acted_on(slot, world.settings.canary, sized_now(world))
        lines = live.unsized_pods(world, sized)
        return Figure(len(lines), "pods", max(1, len(sized)), "spec and status of the pods", _note(lines))

    return measure


def acted_on(slot: str, canary: str, sized: Mapping[str, Json]) -> dict[str, Json]:
    """Those whose running pods a slot resizes."""
    chosen = [canary_of(canary, sized)] if slot == CANARY else list(sized)
    return {name: sized[name] for name in chosen if name in sized and slot in (CANARY, REST)}


def _note(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


# How the containers do -------------------------------------------------------------------------------------------


def oom_kills(world: World, window: GateWindow) -> Figure:
    """Containers killed for want of memory since the stage's first write, by their pods or by the kubelets' counter.

    A pod that is gone shows its kill in the counter alone; without the counter the pods have to do.
    """
    names = [*world.estate.workloads, PREDICTOR]
    pods = [pod for name in names for pod in live.pods_of(world, name)]
    shown_by = killed_since(pods, world.now() - window.whole)
    counted = counted_kills(world, window.whole)
    value = max(len(shown_by), round(counted or 0.0))
    note = "the counter container_oom_events_total is not there" if counted is None else ""
    told = _note([f"{pod} was OOM-killed" for pod in shown_by]) or note
    return Figure(value, "kills", max(1, len(pods)), "lastState of the pods, container_oom_events_total", told)


def throttled(world: World, seconds: float) -> Figure | None:
    """The largest share of CPU periods in which a workload's containers were throttled; 0 where nothing limits them."""
    from include.levers.right_sizing.history import throttled_share

    limited = [name for name, one in sized_now(world).items() if _is_limited(world, name, one["container"])]
    if not limited:
        return Figure(0.0, "ratio", 1, "CPU limits", "no container has a CPU limit: nothing can be throttled")
    region, now = world.target.region, world.now()
    shares = {n: throttled_share(world.prometheus, world.estate, region, n, now, max(seconds, 60.0)) for n in limited}
    known = {name: share for name, share in shares.items() if share is not None}
    if len(known) < len(shares):
        return None
    note = ", ".join(f"{name} {share:.2%}" for name, share in known.items())
    figure = Figure(max(known.values()), "ratio", len(known), "container_cpu_cfs_throttled_periods_total", note)
    return covered(figure, 1.0)


def _is_limited(world: World, name: str, container: str) -> bool:
    spec = standing(world, [name])[name]["spec"]["template"]["spec"]
    return container_of(spec, container) is not None and "cpu" in requests_of(spec, container, "limits")


def evictions(world: World, seconds: float) -> Figure:
    """Pods that VPA's updater has evicted in the last hour of the stage. A resize in place is no eviction."""
    since = world.now() - min(HOUR, seconds)
    events = world.cluster.list(EVENT, world.estate.namespace, fields=f"reason={EVICTED}")
    recent = [event for event in events if _at(event) >= since]
    count = sum(int(event.get("count") or 1) for event in recent)
    return Figure(count, "pods", 1, f"events {EVICTED}", _note([str(e["involvedObject"]["name"]) for e in recent]))


def _at(event: Mapping[str, Any]) -> float:
    text = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return unix(text) if text else 0.0


def used(world: World, seconds: float) -> Figure | None:
    """How much of what they request the pods use: the larger of CPU and memory."""
    found = utilisation(world, seconds)
    if found["utilisation"] is None:
        return None
    note = f"CPU {found['utilisation_cpu']:.0%}, memory {found['utilisation_memory']:.0%}"
    return Figure(found["utilisation"], "ratio", 1, "use against requests of the ready pods", note)


# The report ------------------------------------------------------------------------------------------------------


def evidence(world: World) -> dict[str, Any]:
    """Utilisation, sizes, kills, nodes and cost of the live world; None where nothing is known."""
    nodes = node_facts(world)
    cost, unknown = usd_hour(world, nodes)
    return {
        **utilisation(world),
        "oom_kills": counted_kills(world),
        "requested": _requested(world),
        "nodes": len(nodes),
        "usd_hour": None if cost is None else float(cost),
        "usd_hour_unknown": unknown,
        **service.evidence(world),
    }


def _requested(world: World) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in survey(world).items():
        pods = [pod for pod in running(live.pods_of(world, name)) if is_ready(pod)]
        sizes = [requests_of(pod["spec"], one.container) for pod in pods]
        whole = {part: sum((size.get(part, Decimal(0)) for size in sizes), Decimal(0)) for part in ("cpu", "memory")}
        found[name] = {
            "pods": len(pods),
            "cpu": float(whole["cpu"]),
            "memory_gib": round(float(whole["memory"]) / 2**30, 3),
        }
    return found
