"""What pods request: as the scheduler counts it, and as a person writes it. Pure functions, in base units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from include.quantities import quantity

Requests = Mapping[str, Decimal]


def pod_requests(spec: Mapping[str, Any], part: str = "requests") -> dict[str, Decimal]:
    """What the scheduler counts for a pod (``part`` limits: what it may use), in base units by resource.

    The larger of all that runs together and of each init container with the sidecars that run by then; sidecars are
    init containers that are restarted always.
    """
    running: dict[str, Decimal] = {}
    highest: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        needs = _container(container, part)
        if container.get("restartPolicy") == "Always":
            running = _sum(running, needs)
            highest = _most(highest, running)
        else:
            highest = _most(highest, _sum(running, needs))
    for container in spec.get("containers") or []:
        running = _sum(running, _container(container, part))
    whole = {**_most(highest, running), **_container(spec, part)}  # what is said of the whole pod counts
    return _sum(whole, read_quantities(spec.get("overhead")))


def _container(container: Mapping[str, Any], part: str) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    # A limit without a request is the request too.
    return {**read_quantities(resources.get("limits")), **read_quantities(resources.get(part))}


def read_quantities(quantities: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """A list of resources in base units."""
    return {name: quantity(value) for name, value in (quantities or {}).items()}


def _sum(one: Requests, other: Requests) -> dict[str, Decimal]:
    return {name: one.get(name, Decimal(0)) + other.get(name, Decimal(0)) for name in {**one, **other}}


def _most(one: Requests, other: Requests) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {**one, **other}}


def largest(several: Iterable[Requests]) -> dict[str, Decimal]:
    """The largest of each resource."""
    found: dict[str, Decimal] = {}
    for requests in several:
        found = _most(found, requests)
    return found


def shown(requests: Requests) -> str:
    """CPU and memory as a person writes them: ``cpu 500m, memory 2Gi``."""
    return f"cpu {show_cpu(requests.get('cpu'))}, memory {show_memory(requests.get('memory'))}"


def show_cpu(value: Decimal | None) -> str:
    """Cores as a quantity: ``500m``, ``2``."""
    if not value:
        return "none"
    return f"{value.normalize():f}" if value % 1 == 0 else f"{(value * 1000).normalize():f}m"


def show_memory(value: Decimal | None) -> str:
    """Bytes as the shortest quantity that says exactly that: ``2Gi``, ``512Mi``, ``2G``."""
    if not value:
        return "none"
    factors = {"Gi": 2**30, "Mi": 2**20, "Ki": 2**10, "G": 10**9, "M": 10**6, "k": 10**3}
    exact = [f"{int(value // factor)}{unit}" for unit, factor in factors.items() if value % factor == 0]
    return min(exact, key=len, default=f"{value.normalize():f}")
