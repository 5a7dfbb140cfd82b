"""Whole weights out of flows, weights on the way to others, and which of two sets stays. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from include.levers.request_routing.backends import Backend, mixture_share, usd_million
from include.levers.request_routing.optimum import Decision, Demand, decide

WHOLE = 10_000  # what the weights of a route add up to
LARGEST_RECORD_WEIGHT = 255  # Route 53's
EPSILON = 1e-6
STEADY = 0.1  # a record set's weight that is so near to the wanted one stays

Weights = Mapping[str, int]


def whole(flows: Mapping[str, float], backends: Sequence[Backend], budget_ms: float) -> dict[str, int]:
    """Weights that add up to WHOLE and keep what the flows keep: what rounding leaves over goes to the fastest that has
    room for it.
    """
    total = sum(flows.values())
    found = {name: math.floor(flow / total * WHOLE + EPSILON) if total else 0 for name, flow in flows.items()}
    left = WHOLE - sum(found.values())
    usable = [backend for backend in backends if backend.usable] or list(backends)
    more = total * left / WHOLE
    roomy = [b for b in usable if b.capacity_qps - total * found[b.name] / WHOLE >= more] or usable
    fastest = max(roomy, key=lambda backend: backend.share_within(budget_ms))
    return {**found, fastest.name: found[fastest.name] + left}


def on_the_way(before: Weights, after: Weights, part: float) -> dict[str, int]:
    """Weights at ``part`` of the way from ``before`` to ``after``, adding up to what ``after`` does."""
    scale = sum(after.values()) / sum(before.values())
    found = {n: round(before.get(n, 0) * scale * (1 - part) + weight * part) for n, weight in after.items()}
    largest = max(found, key=lambda name: found[name])
    return {**found, largest: found[largest] + sum(after.values()) - sum(found.values())}


def healed(weights: Weights, unusable: Iterable[str], last: str) -> dict[str, int]:
    """The weights with those of backends that are not usable given to ``last``: nobody waits a stage for that."""
    lost = {name: weight for name, weight in weights.items() if name in set(unusable) and name != last}
    return {n: 0 if n in lost else w + sum(lost.values()) * (n == last) for n, w in weights.items()}


def problems(weights: Weights, backends: Sequence[Backend], demand: Demand, share: float) -> list[str]:
    """What keeps weights from serving the demand within the limit, by backend; empty when they do."""
    total = sum(weights.values())
    by_name = {backend.name: backend for backend in backends}
    used = [name for name, weight in weights.items() if weight]
    unknown = [name for name in used if name not in by_name]
    if unknown or not total:
        return [f"{', '.join(unknown) or 'nobody'} may not be given requests"]
    ill = [f"{name} is not known to be well" for name in used if not by_name[name].usable]
    full = [
        f"{name} would get {weights[name] / total * demand.qps:.0f} of the {by_name[name].capacity_qps:.0f} requests/s"
        for name in used
        if weights[name] * demand.qps > by_name[name].capacity_qps * (total + 1)  # rounding is no overload
    ]
    within = mixture_share(weights, backends, demand.budget_ms)
    late = [f"{within:.2%} within {demand.budget_ms:g} ms"] if within < share - EPSILON else []
    return [*ill, *full, *late]


def next_weights(
    standing: Weights, backends: Sequence[Backend], demand: Demand, share: float, gain: float, last: str
) -> tuple[dict[str, int], Decision]:
    """The weights to be had now, and the decision that they come from: see :func:`steady`."""
    best = decide(backends, [demand], share, last)
    return steady(standing, best, backends, demand, share, gain), best


def steady(
    standing: Weights, best: Decision, backends: Sequence[Backend], demand: Demand, share: float, gain: float
) -> dict[str, int]:
    """The weights of ``best``; but ``standing`` as long as they serve the demand within the limit and the others would
    not save ``gain`` (0.05 is 5 %) of their cost.
    """
    weights = whole(best.total(), backends, demand.budget_ms)
    if best.fallback or not standing or problems(standing, backends, demand, share):
        return weights
    least = usd_million(standing, backends) * (1 - Decimal(str(gain)))
    return dict(standing) if usd_million(weights, backends) >= least else weights


def record_weight(before: int, capacity_qps: float, pods_qps: float, standing: int | None) -> int:
    """The weight of a region's record set: as much more than ``before`` as all backends serve more than its pods alone.

    Other regions' weights are in units of their own, so that only a ratio is safe; ``standing`` stays while it is
    within STEADY of it. 0 stays 0: somebody has drained the region.
    """
    if not before:
        return 0
    wanted = max(1, min(LARGEST_RECORD_WEIGHT, round(before * capacity_qps / pods_qps))) if pods_qps else before
    return standing if standing and abs(wanted - standing) <= STEADY * standing else wanted


def prompt_qps(backends: Sequence[Backend], budget_ms: float, share: float) -> float:
    """Requests a second that may be given to backends that keep to the budget by themselves."""
    return sum(b.capacity_qps for b in backends if b.usable and b.share_within(budget_ms) >= share)
