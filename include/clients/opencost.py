"""A thin client for the allocation interface of OpenCost and of Kubecost. Amounts stay exact: JSON numbers are Decimal.

OpenCost (1.108) answers ``/allocation/compute``, Kubecost ``/model/allocation``; the fields are the same. Seen shapes
of ``data``: null or an empty list (nothing known), one map of allocations by name, a list of such maps (one a step).
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.clients.access import Access
from include.clients.asking import Asking

IDLE, UNMOUNTED, UNALLOCATED = "__idle__", "__unmounted__", "__unallocated__"
SPECIAL = frozenset({IDLE, UNMOUNTED, UNALLOCATED})
AGGREGATE = ("cluster", "namespace", "controllerKind", "controller")
# Path of the interface and the name that it gives to the switch for idle cost.
FLAVOURS = {"opencost": ("/allocation/compute", "includeIdle"), "kubecost": ("/model/allocation", "idle")}
_STEPS = {86400: "1d", 3600: "1h"}


class OpenCostError(RuntimeError):
    """The allocator can't be asked or its answer can't be used; the message names address, parameter and remedy."""


@dataclass(frozen=True)
class Allocation:
    """What one workload (or idle capacity) cost in a window, in the allocator's currency.

    ``start`` and ``end`` are the window's, not those of the workload's own life, which ``minutes`` counts.
    """

    name: str
    start: dt.datetime
    end: dt.datetime
    minutes: Decimal
    total_cost: Decimal
    cpu_core_hours: Decimal | None
    costs: Mapping[str, Decimal]  # by part: cpu, ram, gpu, pv, network, loadBalancer, shared, external
    cluster: str | None = None
    namespace: str | None = None
    controller: str | None = None
    controller_kind: str | None = None

    @property
    def kind(self) -> str | None:
        """One of the special names, or None for a workload.

        A pod without a controller is ``namespace/__unallocated__`` and still a workload of its namespace.
        """
        parts = self.name.split("/")
        if parts[-1] in (IDLE, UNMOUNTED):
            return parts[-1]
        return UNALLOCATED if all(part in SPECIAL for part in parts) else None


@dataclass(frozen=True)
class AllocationSet:
    """The allocations of one window, by name in order."""

    start: dt.datetime
    end: dt.datetime
    allocations: tuple[Allocation, ...]

    @property
    def total_cost(self) -> Decimal:
        """The allocator's own total, idle included."""
        return sum((allocation.total_cost for allocation in self.allocations), Decimal(0))


class OpenCost:
    """One OpenCost or Kubecost (``flavour``). ``timeout`` is in seconds; ``access`` says who asks (default: nobody).

    TLS certificates are always checked.
    """

    def __init__(
        self,
        url: str,
        flavour: str = "opencost",
        timeout: float = 60.0,
        session: Any = None,
        access: Access | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if flavour not in FLAVOURS:
            raise OpenCostError(f"flavour {flavour!r} is not known: use one of {', '.join(FLAVOURS)}")
        if session is None:
            import requests

            session = requests.Session()
        self.url = url.rstrip("/")
        self.flavour = flavour
        access = access or Access(self.url)
        self._asking = Asking(session, access, timeout, sleep, OpenCostError, "the allocator's own log")

    def allocations(
        self,
        start: dt.datetime,
        end: dt.datetime,
        step: dt.timedelta = dt.timedelta(hours=1),
        aggregate: tuple[str, ...] = AGGREGATE,
        include_idle: bool = True,
        accumulate: bool = False,
    ) -> list[AllocationSet]:
        """The allocations from ``start`` to ``end`` (aware), a set a ``step``, or one set when accumulated.

        A window that the allocator knows nothing about has no set: missing, not zero.
        """
        return parse(self._ask(self.parameters(start, end, step, aggregate, include_idle, accumulate)), self.url)

    def parameters(
        self,
        start: dt.datetime,
        end: dt.datetime,
        step: dt.timedelta = dt.timedelta(hours=1),
        aggregate: tuple[str, ...] = AGGREGATE,
        include_idle: bool = True,
        accumulate: bool = False,
    ) -> dict[str, str]:
        """The parameters of the request for :meth:`allocations`. Raises OpenCostError for an impossible window."""
        seconds = round(step.total_seconds())
        if start.tzinfo is None or end.tzinfo is None or start >= end or seconds < 1:
            raise OpenCostError(f"window {start} to {end}, step {step}: needs aware times, start < end and a step > 0")
        return {
            "window": f"{_rfc3339(start)},{_rfc3339(end)}",
            "step": _STEPS.get(seconds, f"{seconds}s"),
            "aggregate": ",".join(aggregate),
            FLAVOURS[self.flavour][1]: str(include_idle).lower(),
            "accumulate": str(accumulate).lower(),
        }

    def _ask(self, parameters: Mapping[str, str]) -> Any:
        address = f"{self.url}{FLAVOURS[self.flavour][0]}"
        return _data(self._asking.get(address, dict(parameters), _shown(parameters)), address, parameters)


def _data(response: Any, address: str, parameters: Mapping[str, str]) -> Any:
    if response.status_code == 404:
        raise OpenCostError(
            f"{address} does not exist (404): give the address of an OpenCost, or of a Kubecost, as its connection says"
        )
    try:
        answer = json.loads(response.text, parse_float=Decimal, parse_int=Decimal)
    except ValueError as error:
        raise OpenCostError(
            f"{address} answers {response.status_code} without JSON: is this the allocator? Check host and schema of "
            "its connection"
        ) from error
    if not isinstance(answer, dict) or response.status_code != 200 or answer.get("code", 200) != 200:
        said = answer.get("message") if isinstance(answer, dict) else None
        raise OpenCostError(
            f"{address} refuses {_shown(parameters)}: {said or response.status_code}: correct the named parameter"
        )
    return answer.get("data")


def parse(data: Any, where: str) -> list[AllocationSet]:
    """The sets in the ``data`` of an answer, in order of time. Raises OpenCostError naming ``where`` and the field."""
    if data is None:
        return []
    if isinstance(data, Mapping):
        data = [data]
    if not isinstance(data, list):
        raise OpenCostError(f"{where}: data is {type(data).__name__}, wanted a map or a list: check its version")
    sets = [_set(raw, where) for raw in data if raw]
    return sorted(sets, key=lambda found: (found.start, found.end))


def _set(raw: Any, where: str) -> AllocationSet:
    if not isinstance(raw, Mapping):
        raise OpenCostError(f"{where}: a set is {type(raw).__name__}, wanted a map by name: check its version")
    allocations = tuple(_allocation(name, raw[name], where) for name in sorted(raw))
    # In an accumulated set a workload that came later keeps the shorter window of its own steps.
    start, end = min(one.start for one in allocations), max(one.end for one in allocations)
    return AllocationSet(start, end, allocations)


def _allocation(name: str, raw: Any, where: str) -> Allocation:
    field = "window"
    try:
        start, end = (_time(raw["window"][edge]) for edge in ("start", "end"))
        field = "totalCost"
        total = _number(raw["totalCost"])
        field = "minutes"
        minutes = _number(raw["minutes"])
        field = "cost or property"
        costs = dict(_parts(raw))
        hours = raw.get("cpuCoreHours")
        properties = raw.get("properties") or {}
        return Allocation(
            name,
            start,
            end,
            minutes,
            total,
            None if hours is None else _number(hours),
            costs,
            cluster=properties.get("cluster"),
            namespace=properties.get("namespace"),
            controller=properties.get("controller"),
            controller_kind=properties.get("controllerKind"),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise OpenCostError(
            f"{where}: allocation {name!r} has no usable {field} ({type(error).__name__} {error}): check its version"
        ) from error


def _parts(raw: Mapping[str, Any]) -> Iterator[tuple[str, Decimal]]:
    # An adjustment corrects its part by the bill; both are inside totalCost.
    for part in ("cpu", "ram", "gpu", "pv", "network", "loadBalancer", "shared", "external"):
        amounts = [raw.get(f"{part}Cost"), raw.get(f"{part}CostAdjustment")]
        known = [_number(amount) for amount in amounts if amount is not None]
        if known:
            yield part, sum(known, Decimal(0))


def _number(value: Any) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"{value} is not a number")
    return number


def _time(text: str) -> dt.datetime:
    at = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return at.astimezone(dt.UTC)


def _rfc3339(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _shown(parameters: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in parameters.items())
