"""What each workload cost, as OpenCost or Kubecost splits it, as rows of the cost table, and its check by the bill.

An allocation splits dollars that the bill already holds. Its rows therefore say BilledCost 0, which is true (the
allocator bills nobody) and keeps a careless sum over all sources right; the split itself is in EffectiveCost. FOCUS
does the same for usage that a commitment has paid for. Idle capacity is a row of its own and is never spread.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from include.clients.opencost import AGGREGATE, IDLE, SPECIAL, Allocation, AllocationSet, OpenCost
from include.cost.table.columns import SOURCES, CostError, Role
from include.cost.table.partition import HOUR, billing_period, day_start, tags, write_partition
from include.cost.table.store import Facts
from include.estate import Estate

CENT = Decimal("0.01")
DEFAULT_CLUSTERS = frozenset({"cluster-one", "default-cluster"})  # what an installation without a CLUSTER_ID says
_NAMES = {"opencost": "OpenCost", "kubecost": "Kubecost"}


@dataclass(frozen=True)
class Split:
    """A bill split among workloads: ``sum(by_name) + idle + unallocated == bill``, exactly.

    ``unallocated`` holds the allocator's own unallocated cost and ``gap``, what it doesn't know of the bill. It is
    negative when the allocator counts more than was billed, such as list prices where the bill has discounts.
    """

    bill: Decimal
    by_name: Mapping[str, Decimal]
    idle: Decimal
    unallocated: Decimal
    allocated: Decimal  # the allocator's own total, as it gave it

    @property
    def gap(self) -> Decimal:
        """The bill less the allocator's own total."""
        return self.bill - self.allocated

    @property
    def gap_share(self) -> Decimal | None:
        """The gap against the bill; None when nothing was billed."""
        return self.gap / self.bill if self.bill else None

    def explain(self) -> str:
        """The gap in one sentence."""
        if not self.gap:
            return "the allocator's total equals the bill"
        share = "" if self.gap_share is None else f" ({abs(self.gap_share) * 100:.1f} % of the bill)"
        if self.gap > 0:
            return f"the bill has {self.gap:.2f}{share} that the allocator doesn't know; it is in unallocated"
        return f"the allocator counts {-self.gap:.2f}{share} more than was billed; unallocated is lower by it"


def reconcile(bill: Decimal, allocated_by_name: Mapping[str, Decimal], unit: Decimal = CENT) -> Split:
    """Split ``bill`` by an allocator's figures, each rounded to ``unit`` so that no unit is lost (largest remainder).

    Names that end in ``__idle__`` are idle; ``__unallocated__`` and ``__unmounted__`` are unallocated. Workloads and
    idle keep the allocator's figures: they are not stretched to the bill, the gap is shown instead.
    """
    allocated = sum(allocated_by_name.values(), Decimal(0))
    own = {name: amount for name, amount in allocated_by_name.items() if not _unallocated(name)}
    rounded = largest_remainder(own, unit)
    idle = sum((amount for name, amount in rounded.items() if _idle(name)), Decimal(0))
    by_name = {name: amount for name, amount in sorted(rounded.items()) if not _idle(name)}
    return Split(bill, by_name, idle, bill - idle - sum(by_name.values(), Decimal(0)), allocated)


def largest_remainder(amounts: Mapping[str, Decimal], unit: Decimal = CENT) -> dict[str, Decimal]:
    """``amounts`` in whole ``unit`` whose sum is the rounded sum; ties go to the first name."""
    floors = {name: (amount / unit).to_integral_value(ROUND_FLOOR) for name, amount in amounts.items()}
    wanted = (sum(amounts.values(), Decimal(0)) / unit).to_integral_value()
    left = int(wanted - sum(floors.values(), Decimal(0)))
    by_rest = sorted(amounts, key=lambda name: (floors[name] - amounts[name] / unit, name))
    return {name: (floors[name] + (name in by_rest[:left])) * unit for name in amounts}


def by_workload(rows: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """EffectiveCost by ResourceId of allocation rows: the input of :func:`reconcile`."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        sums[row["ResourceId"]] = sums.get(row["ResourceId"], Decimal(0)) + row["EffectiveCost"]
    return sums


def allocation_rows(
    sets: Sequence[AllocationSet], region: str, source: str, day: dt.date, estate: Estate
) -> list[dict[str, Any]]:
    """The rows of one region and day. ResourceId is ``cluster/namespace/controller``, for idle ``cluster/__idle__``.

    Raises CostError for a window that reaches out of the day, two windows that overlap, or a source that is no
    allocation.
    """
    if SOURCES.get(source) is not Role.ALLOCATION:
        raise CostError(f"source {source!r} is no allocation: use one of {', '.join(_NAMES)}")
    _check_windows(sets, region, day)
    cluster = estate.region(region).cluster
    found = [allocation for one in sets for allocation in one.allocations]
    return [
        _row(allocation, place, region, source, day, cluster) | {"BillingCurrency": estate.cost.currency}
        for place, allocation in enumerate(found, 1)
    ]


def covered_hours(sets: Iterable[AllocationSet], day: dt.date) -> set[int]:
    """The hours of ``day`` (UTC) that lie wholly inside a set's window."""
    start = day_start(day)
    edges = [(one.start, one.end) for one in sets if one.allocations]
    hours = ((hour, start + hour * HOUR) for hour in range(24))
    return {hour for hour, at in hours if any(first <= at and at + HOUR <= last for first, last in edges)}


def allocation_partition(
    allocators: Mapping[str, OpenCost], estate: Estate, day: dt.date, received: dt.datetime, path: Path
) -> Facts | None:
    """Ask the allocator of each region for ``day`` and write the partition of its flavour to ``path``.

    An hour that one region of the estate knows nothing about is missing. None, and nothing written, when no region
    knows anything. Raises OpenCostError or CostError, such as for an allocator that answers for another's cluster: the
    same cost would count twice.
    """
    start, end = day_start(day), day_start(day + dt.timedelta(days=1))
    source = _flavour(allocators)
    _check_addresses(allocators, source, estate)
    rows: list[dict[str, Any]] = []
    hours, inputs = set(range(24)) if set(allocators) >= set(estate.regions) else set[int](), []
    for region in sorted(allocators):
        sets = allocators[region].allocations(start, end)
        _check_clusters(sets, region, source, estate)
        rows += allocation_rows(sets, region, source, day, estate)
        hours &= covered_hours(sets, day)
        inputs.append(_file(source, region, day))
    if not rows:
        return None
    missing = tuple(hour for hour in range(24) if hour not in hours)
    return write_partition(rows, Facts(source, day, 0, Decimal(0), 0, received, tuple(inputs), False, missing), path)


def _flavour(allocators: Mapping[str, OpenCost]) -> str:
    flavours = {allocator.flavour for allocator in allocators.values()}
    if len(flavours) != 1:
        found = ", ".join(sorted(flavours)) or "none"
        raise CostError(f"allocators are of flavour {found}: a partition needs one region or more, all of one flavour")
    return flavours.pop()


def connection_of(source: str, region: str) -> str:
    """The id of the Airflow connection of a region's allocator, such as ``opencost_us_east_1``."""
    return f"{source}_{region.replace('-', '_')}"


def _check_addresses(allocators: Mapping[str, OpenCost], source: str, estate: Estate) -> None:
    """An answer need not name its cluster: one address for two regions is one allocator that would count twice."""
    seen: dict[tuple[Any, ...], str] = {}
    for region in sorted(allocators):
        url = getattr(allocators[region], "url", "")
        other = seen.setdefault(_address(url), region) if url else region
        if other != region:
            raise CostError(
                f"connections {connection_of(source, other)} and {connection_of(source, region)} have the same address "
                f"{url}, and the same cost would count twice: give each the address of the allocator in its own "
                f"cluster ({estate.region(other).cluster}, {estate.region(region).cluster}), or remove one"
            )


def _address(url: str) -> tuple[Any, ...]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.hostname, port, parts.path.rstrip("/")


def _check_clusters(sets: Sequence[AllocationSet], region: str, source: str, estate: Estate) -> None:
    """A region's allocator must answer for its own cluster alone, by the estate's name for it or by the region's."""
    named = {name for one in sets for allocation in one.allocations if (name := _cluster_of(allocation))}
    own = estate.region(region).cluster
    foreign = sorted(named - {own, region} - DEFAULT_CLUSTERS - SPECIAL)
    if foreign:
        raise CostError(
            f"the {_NAMES[source]} of {region} answers for cluster {', '.join(foreign)}, and only {own} is its own: "
            f"the same cost could count twice. Give connection {connection_of(source, region)} the address of the one "
            f"in {own}; if it is the one, set its CLUSTER_ID to {own}"
        )


def _cluster_of(allocation: Allocation) -> str | None:
    # Some versions leave the property out, and name the cluster in the allocation's name alone.
    parts = allocation.name.split("/")
    return allocation.cluster or (parts[0] if len(parts) == len(AGGREGATE) else None)


def _check_windows(sets: Sequence[AllocationSet], region: str, day: dt.date) -> None:
    start, end = day_start(day), day_start(day + dt.timedelta(days=1))
    before = start
    for one in sorted(sets, key=lambda found: found.start):
        if one.start < start or one.end > end:
            raise CostError(f"{region}: allocation window {one.start} to {one.end} is not inside {day}: ask by day")
        if one.start < before:
            raise CostError(f"{region}: allocation windows overlap at {one.start}: the same cost would count twice")
        before = one.end


def _row(allocation: Allocation, place: int, region: str, source: str, day: dt.date, cluster: str) -> dict[str, Any]:
    return {
        **billing_period(day),
        "BilledCost": Decimal(0),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"cost of {allocation.name} as {_NAMES[source]} splits it",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": allocation.end,
        "ChargePeriodStart": allocation.start,
        "ConsumedQuantity": allocation.cpu_core_hours,
        "ConsumedUnit": None if allocation.cpu_core_hours is None else "Core-Hours",
        "EffectiveCost": allocation.total_cost,
        "RegionId": region,
        "RegionName": region,
        "ResourceId": resource_id(allocation, cluster),
        "ResourceName": allocation.controller or allocation.name,
        "ResourceType": allocation.kind or allocation.controller_kind or "workload",
        "ServiceCategory": "Compute",
        "ServiceName": f"Kubernetes ({_NAMES[source]})",
        "ServiceSubcategory": "Containers",
        "Tags": tags(
            cluster=allocation.cluster or cluster,
            controller=allocation.controller,
            controller_kind=allocation.controller_kind,
            namespace=allocation.namespace,
        ),
        "x_SourceFile": _file(source, region, day),
        "x_SourceRow": place,
    }


def resource_id(allocation: Allocation, cluster: str) -> str:
    """``cluster/namespace/controller`` as far as known, or the cluster and the special name."""
    if allocation.kind:
        return f"{allocation.cluster or cluster}/{allocation.kind}"
    own = [part for part in (allocation.namespace, allocation.controller) if part and part not in SPECIAL]
    return "/".join([allocation.cluster or cluster, *(own or [allocation.name])])


def _file(source: str, region: str, day: dt.date) -> str:
    return f"{source} {region} {day}"


def _idle(name: str) -> bool:
    return name.rpartition("/")[2] == IDLE


def _unallocated(name: str) -> bool:
    return name.rpartition("/")[2] in SPECIAL - {IDLE}
