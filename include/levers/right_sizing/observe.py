"""What the weekly proposal rests on, read from a region's Prometheus and cluster: use, requests and what went wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from include.clients.kubernetes import AUTOSCALER, POD, VERTICAL_AUTOSCALER
from include.levers.pods import pods_of_deployments
from include.levers.right_sizing.history import HistoryError, Reading, oom_kills, read_use, throttled_share
from include.levers.right_sizing.recommendation import DAY, Bounds, ContainerUse, Requests, missing_days
from include.levers.right_sizing.tune import Observed, Offer
from include.prices import TooFewInstanceTypesError, choose_instance_types
from include.quantities import quantity

if TYPE_CHECKING:
    from include.clients.kubernetes import Cluster
    from include.clients.prometheus import Prometheus
    from include.estate import Estate
    from include.levers.world import Object
    from include.prices import AwsBook


def observe(
    prometheus: Prometheus, cluster: Cluster, estate: Estate, region: str, book: AwsBook, now: float, days: int
) -> list[Observed]:
    """Every workload that the estate sizes and that has running pods in a region, at Unix time ``now``."""
    pods = [pod for pod in cluster.list(POD, estate.namespace) if pod.get("status", {}).get("phase") == "Running"]
    offers = offers_of(estate, region, book)
    found = []
    for workload in estate.right_sizing.bounds:
        if mine := pods_of_deployments(pods, [workload]):
            one = _observed(prometheus, estate, region, workload, mine, now, days)
            found.append(dataclasses.replace(one, offers=offers, cpu_floor=cpu_floor(cluster, estate, workload)))
    return found


def _observed(
    prometheus: Prometheus, estate: Estate, region: str, workload: str, pods: Sequence[Object], now: float, days: int
) -> Observed:
    container = sized_container(pods[0])
    use = _use(prometheus, estate, region, workload, container, now)
    return Observed(
        region=region,
        workload=workload,
        container=container,
        pods=len(pods),
        requests=requests_of(pods, container),
        use=use,
        now=now,
        throttled=throttled_share(prometheus, estate, region, workload, now, days * DAY),
        oom_kills=len(oom_kills(prometheus, estate, region, workload, now, days * DAY)),
        missing=tuple(map(str, missing_days(use, days, now))),
    )


def _use(
    prometheus: Prometheus, estate: Estate, region: str, workload: str, container: str, now: float
) -> tuple[ContainerUse, ...]:
    """The use of the container in every pod; none where Prometheus has none: the proposal says so."""
    try:
        return read_use(prometheus, estate, region, [workload], now, Reading())[workload].get(container, ())
    except HistoryError:
        return ()


def sized_container(pod: Object) -> str:
    """The container that is sized: the one that requests the most memory."""
    return str(max(pod["spec"]["containers"], key=lambda one: _asked(one, "memory"))["name"])


def requests_of(pods: Iterable[Object], container: str) -> Requests:
    """The largest requests of the container in any of the pods."""
    mine = [one for pod in pods for one in pod["spec"]["containers"] if one["name"] == container]
    return Requests(max(_asked(one, "cpu") for one in mine), max(_asked(one, "memory") for one in mine))


def cpu_floor(cluster: Cluster, estate: Estate, workload: str) -> int | None:
    """Millicores below which day 4 lets no pod of the workload go; 0 where nothing scales it, None: not known.

    An autoscaled pod carries its target at any time of day: day 4 keeps what that takes in the VPA's minAllowed. A VPA
    whose bounds are equal is pinned by the consolidation and says nothing of it.
    """
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in cluster.list(AUTOSCALER, estate.namespace)}
    if workload not in scaled:
        return 0
    vpa = cluster.get(VERTICAL_AUTOSCALER, workload, estate.namespace)
    policies = ((vpa or {}).get("spec", {}).get("resourcePolicy") or {}).get("containerPolicies") or []
    least = [policy for policy in policies if policy.get("mode") != "Off" and "cpu" in policy.get("minAllowed", {})]
    if not least or least[0]["minAllowed"] == least[0].get("maxAllowed"):
        return None
    return _amount(least[0]["minAllowed"], "cpu")


def bounds_of(estate: Estate, workload: str) -> Bounds:
    """The estate's bounds of a workload."""
    found = estate.right_sizing.bounds_of(workload)
    least, most = found.least.model_dump(), found.most.model_dump()
    return Bounds(
        Requests(_amount(least, "cpu"), _amount(least, "memory")),
        Requests(_amount(most, "cpu"), _amount(most, "memory")),
    )


def offers_of(estate: Estate, region: str, book: AwsBook) -> tuple[Offer, ...]:
    """The instance types that the region's pools may have on demand, at list price; none where too few are known."""
    try:
        choices = choose_instance_types(book, region, estate.spot).on_demand
    except TooFewInstanceTypesError:
        return ()
    return tuple(
        Offer(one.instance.allocatable_cpu, one.instance.allocatable_memory_mib / 1024, float(one.on_demand))
        for one in choices
    )


def _asked(container: Mapping[str, Any], resource: str) -> int:
    return _amount((container.get("resources") or {}).get("requests") or {}, resource)


def _amount(quantities: Mapping[str, Any], resource: str) -> int:
    """Millicores or bytes."""
    return int(quantity(quantities.get(resource, "0")) * (1000 if resource == "cpu" else 1))
