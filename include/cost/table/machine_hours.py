"""Machine hours: which nodes ran when, how they were bought and what they cost, hour by hour.

Two sources give the same table. The bill: rows of the cost table that carry an instance type. The live world:
OpenCost's series ``node_total_hourly_cost`` and ``kubecost_node_is_spot`` in Prometheus, with ``kube_node_labels`` for
the zone, the NodePool and the node group. A sample at time t stands for [t, t + step); a step without any node of a
region is missing, never zero.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cost.table.columns import AMOUNT, CapacityType, CostError
from include.cost.table.days import Window
from include.prices import AwsBook

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus, Sample

PRICE_SERIES = "node_total_hourly_cost"
SPOT_SERIES = "kubecost_node_is_spot"
LABELS_SERIES = "kube_node_labels"
STEP_SECONDS = 60  # between two looks at the nodes; shorter windows look more often
ZONE = "label_topology_kubernetes_io_zone"
POOL = "label_karpenter_sh_nodepool"
NODE_GROUP = "label_eks_amazonaws_com_nodegroup"
CAPACITY = ("label_karpenter_sh_capacity_type", "label_eks_amazonaws_com_capacityType")
HOUR = Decimal(3600)


@dataclass(frozen=True)
class NodeUse:
    """One node in a window. ``hours`` it ran; ``allocator_usd`` is what OpenCost's own price makes of them.

    ``capacity`` is None when nothing says how the node was bought; ``zone`` and ``owner`` are "" when unknown.
    """

    region: str
    node: str
    instance_type: str
    capacity: CapacityType | None
    zone: str
    owner: str  # the NodePool or the node group
    hours: Decimal
    allocator_usd: Decimal


@dataclass(frozen=True)
class Fleet:
    """The nodes of a region in a window: ``steps`` looks were due, ``seen`` of them found nodes."""

    region: str
    steps: int
    seen: int
    uses: tuple[NodeUse, ...]

    @property
    def coverage(self) -> Decimal:
        """Share of the window that was seen, 0..1."""
        return Decimal(self.seen) / self.steps if self.steps else Decimal(0)

    @property
    def hours(self) -> Decimal:
        """Node-hours in the window."""
        return sum((use.hours for use in self.uses), Decimal(0))


@dataclass(frozen=True)
class Priced:
    """Dollars of machine hours. ``by_key`` maps (region, instance type, capacity) to (hours, dollars).

    ``problems`` names what has no price; then ``usd`` is None: a part of the sum would read as all of it.
    """

    usd: Decimal | None
    by_key: Mapping[tuple[str, str, str], tuple[Decimal, Decimal]]
    problems: tuple[str, ...] = ()


def looks_of(seconds: float) -> tuple[Decimal, int]:
    """Seconds between two looks, and how many looks a window of ``seconds`` has.

    60 s, less for a window that is shorter than 12 minutes, not much under 5. The looks divide the window evenly: one
    that stood for time after the window's end would bill that time too.
    """
    looks = math.ceil(seconds / max(5, min(STEP_SECONDS, int(seconds // 12))))
    return Decimal(repr(seconds)) / looks, looks


def read_fleet(prometheus: Prometheus, region: str, start: dt.datetime, end: dt.datetime) -> Fleet:
    """The nodes of ``region`` in [start, end) from its Prometheus. Raises PrometheusError."""
    seconds = (end - start).total_seconds()
    step, steps = looks_of(seconds)
    # Half a step beyond the last look, so that rounding never loses it.
    first, last = start.timestamp(), start.timestamp() + float((steps - Decimal("0.5")) * step)
    selector = f'{{region="{region}"}}'
    prices = prometheus.query_range(f"{PRICE_SERIES}{selector}", first, last, float(step))
    spots = prometheus.query_range(f"{SPOT_SERIES}{selector}", first, last, float(step))
    labels = prometheus.query(f"last_over_time({LABELS_SERIES}[{max(1, round(seconds))}s])", end.timestamp())
    spot = {series.labels["node"]: series.points[-1][1] for series in spots if series.points}
    return fleet_of(region, step, steps, [(s.labels, s.points) for s in prices], spot, labels)


def fleet_of(
    region: str,
    step: Decimal,
    steps: int,
    prices: Iterable[tuple[Mapping[str, str], Sequence[tuple[float, float]]]],
    spot: Mapping[str, float],
    labels: Iterable[Sample],
) -> Fleet:
    """The fleet from price series (labels, points), spot flags by node and samples of ``kube_node_labels``."""
    known = {s.labels["node"]: s.labels for s in labels if s.labels.get("region", region) == region}
    seen: set[float] = set()
    uses = []
    for series, points in prices:
        values = [(at, value) for at, value in points if not math.isnan(value)]
        if not values:
            continue
        seen.update(at for at, _ in values)
        node = series["node"]
        extra = known.get(node, {})
        uses.append(
            NodeUse(
                region=region,
                node=node,
                instance_type=series.get("instance_type", ""),
                capacity=_capacity(spot.get(node), extra),
                zone=extra.get(ZONE, ""),
                owner=extra.get(POOL) or extra.get(NODE_GROUP, ""),
                hours=len(values) * step / HOUR,
                allocator_usd=sum((Decimal(repr(value)) for _, value in values), Decimal(0)) * step / HOUR,
            )
        )
    return Fleet(region, steps, len(seen), tuple(sorted(uses, key=lambda use: use.node)))


def _capacity(flag: float | None, labels: Mapping[str, str]) -> CapacityType | None:
    # The label comes from who launched the node; OpenCost only guesses where its provider is no cloud.
    label = next((labels[name] for name in CAPACITY if labels.get(name)), "").lower().replace("-", "_")
    if label in {CapacityType.SPOT, CapacityType.ON_DEMAND}:
        return CapacityType(label)
    if flag is None or math.isnan(flag):
        return None
    return CapacityType.SPOT if flag else CapacityType.ON_DEMAND


def price_fleet(fleets: Iterable[Fleet], book: AwsBook) -> Priced:
    """Node-hours times the book's price by region, type, zone and capacity."""
    sums: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = defaultdict(lambda: (Decimal(0), Decimal(0)))
    problems = []
    for use in (use for fleet in fleets for use in fleet.uses):
        price = price_of(use, book)
        if price is None:
            problems.append(_no_price(use, book))
            continue
        key = (use.region, use.instance_type, str(use.capacity))
        hours, usd = sums[key]
        sums[key] = hours + use.hours, usd + use.hours * price
    total = sum((usd for _, usd in sums.values()), Decimal(0))
    return Priced(None if problems else total, dict(sorted(sums.items())), tuple(sorted(set(problems))))


def price_of(use: NodeUse, book: AwsBook) -> Decimal | None:
    """USD an hour of a node in the book, None when the book or the node's labels don't say."""
    if use.capacity == CapacityType.ON_DEMAND:
        return book.on_demand(use.region, use.instance_type)
    if use.capacity == CapacityType.SPOT:
        return book.spot(use.region, use.instance_type, use.zone)
    return None


def _no_price(use: NodeUse, book: AwsBook) -> str:
    if use.capacity is None:
        return f"{use.region}: node {use.node} says neither spot nor on demand ({SPOT_SERIES}, {LABELS_SERIES})"
    if use.capacity == CapacityType.SPOT and not use.zone:
        return f"{use.region}: spot node {use.node} has no zone in {LABELS_SERIES}: let kube-state-metrics export it"
    what = f"{use.instance_type} {use.capacity} {use.zone}".strip()
    return f"{use.region}: {what} has no price in the {book.name} book ({book.date})"


def allocator_sum(fleets: Iterable[Fleet]) -> Priced:
    """The same hours at OpenCost's own prices."""
    sums: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = defaultdict(lambda: (Decimal(0), Decimal(0)))
    for use in (use for fleet in fleets for use in fleet.uses):
        key = (use.region, use.instance_type, str(use.capacity or "unknown"))
        hours, usd = sums[key]
        sums[key] = hours + use.hours, usd + use.allocator_usd
    return Priced(sum((usd for _, usd in sums.values()), Decimal(0)), dict(sorted(sums.items())))


# --- Hour by hour, for the analysis of commitments --------------------------------------------------------------------


@dataclass(frozen=True)
class HourlyUse:
    """Machine hours of one clock hour, region, instance type and way of buying; ``usd`` is what they cost."""

    hour: dt.datetime
    region: str
    instance_type: str
    capacity: CapacityType
    hours: Decimal
    usd: Decimal


@dataclass(frozen=True)
class MachineUse:
    """Hourly use over [start, end). ``hours_seen``: clock hours that the source says something about."""

    start: dt.datetime
    end: dt.datetime
    hours_seen: frozenset[dt.datetime] = field(repr=False)
    rows: tuple[HourlyUse, ...] = field(repr=False)

    @property
    def hours_due(self) -> int:
        """Clock hours in the window."""
        return int((self.end - self.start) / dt.timedelta(hours=1))

    @property
    def coverage(self) -> Decimal:
        """Share of the window's hours that were seen, 0..1."""
        return Decimal(len(self.hours_seen)) / self.hours_due if self.hours_due else Decimal(0)


# Only EC2 sells machines. A surcharge (EMR), software (Marketplace) or a licence names the same instance type, often
# the same meter, for an hour that EC2 has billed already; so do some meters of EC2 itself.
_NO_MACHINE = "EBSOptimized|Software|Licen[sc]e|HostUsage|UnusedBox|UnusedDed|CPUCredits|Reservation"
_IS_MACHINE = f"""
x_CapacityType IS NOT NULL AND ChargeCategory = 'Usage' AND ConsumedQuantity IS NOT NULL
AND lower(ConsumedUnit) IN ('hrs', 'hours', 'hour', 'h') AND coalesce(CommitmentDiscountStatus, 'Used') <> 'Unused'
AND (lower(ServiceName) = 'amazonec2' OR starts_with(lower(ServiceName), 'amazon elastic compute cloud'))
AND NOT regexp_matches(coalesce(SkuMeter, ''), '{_NO_MACHINE}')
"""
_IS_INSTANCE = r"regexp_matches(coalesce(ResourceId, ''), '(^|/)i-\w+$')"
# Of the lines of one instance and period, the machine's own come first.
_COUNTED = """
sum(ConsumedQuantity) OVER (
    PARTITION BY ResourceId, ChargePeriodStart, ChargePeriodEnd
    ORDER BY ConsumedQuantity < 0, NOT regexp_matches(coalesce(SkuMeter, ''), '(BoxUsage|SpotUsage|DedicatedUsage)'),
        x_SourceFile, x_SourceRow
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
)
"""
_PERIOD = f"CAST(epoch(ChargePeriodEnd - ChargePeriodStart) / 3600 AS {AMOUNT})"


def with_machine_hours(relation: str) -> str:
    """A query over ``relation`` (columns of the table) that adds ``machine_hours``, null where a row is no machine's.

    An instance runs no longer than the period: whatever its lines are, they count an hour once.
    """
    capped = f"greatest(0, least(ConsumedQuantity, {_PERIOD} - coalesce({_COUNTED}, 0)))"
    hours = (
        f"CASE WHEN {_IS_INSTANCE} AND {_PERIOD} > 0 AND ConsumedQuantity > 0 THEN {capped} ELSE ConsumedQuantity END"
    )
    return (
        f"SELECT *, CAST({hours} AS {AMOUNT}) AS machine_hours FROM {relation} WHERE {_IS_MACHINE} "
        f"UNION ALL SELECT *, CAST(NULL AS {AMOUNT}) FROM {relation} WHERE NOT coalesce({_IS_MACHINE}, FALSE)"
    )


_FILES = "read_parquet($files, union_by_name = true)"
_USE_SQL = f"""
SELECT date_trunc('hour', ChargePeriodStart) AS hour, coalesce(RegionId, ''), x_InstanceType, x_CapacityType,
       sum(machine_hours), sum(coalesce(EffectiveCost, BilledCost))
FROM ({with_machine_hours(_FILES)})
WHERE ChargePeriodStart >= $start AND ChargePeriodStart < $end AND x_InstanceType IS NOT NULL AND machine_hours <> 0
  AND ChargePeriodEnd - ChargePeriodStart <= INTERVAL 1 HOUR
GROUP BY ALL ORDER BY ALL
"""
# A charge at a moment, such as a purchase, says nothing about its hour.
_HOURS_SQL = f"""
SELECT DISTINCT date_trunc('hour', ChargePeriodStart) FROM {_FILES}
WHERE ChargePeriodStart >= $start AND ChargePeriodStart < $end
  AND ChargePeriodEnd > ChargePeriodStart AND ChargePeriodEnd - ChargePeriodStart <= INTERVAL 1 HOUR
"""


def hourly_use(files: Sequence[Path], start: dt.datetime, end: dt.datetime) -> MachineUse:
    """Machine hours in the bill's partitions ``files`` within [start, end), both whole hours.

    Rows longer than an hour say nothing about an hour and are left out; rows of unused commitments are no use, and
    surcharges on an instance are no second machine.
    """
    if start.minute or start.second or end <= start:
        raise CostError(f"hourly use needs whole hours in order, not {start} to {end}: correct the window")
    if not files:
        return MachineUse(start, end, frozenset(), ())
    arguments: dict[str, Any] = {"files": [str(path) for path in files], "start": start, "end": end}
    with connect() as connection:
        seen = frozenset(hour for (hour,) in connection.execute(_HOURS_SQL, arguments).fetchall())
        found = connection.execute(_USE_SQL, arguments).fetchall()
    rows = tuple(HourlyUse(h, region, kind, CapacityType(how), hrs, usd) for h, region, kind, how, hrs, usd in found)
    return MachineUse(start, end, seen, rows)


def connect() -> Any:
    """A DuckDB connection in UTC that answers with aware times."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
    return connection


_UNUSED_SQL = """
SELECT coalesce(CommitmentDiscountId, ''), coalesce(CommitmentDiscountType, ''), ChargePeriodStart, ChargePeriodEnd,
       sum(CommitmentDiscountQuantity), sum(coalesce(EffectiveCost, BilledCost))
FROM read_parquet($files, union_by_name = true) WHERE CommitmentDiscountStatus = 'Unused' GROUP BY ALL ORDER BY ALL
"""


def unused_commitments(
    files: Sequence[Path], window: Window | None = None
) -> list[tuple[str, str, Decimal | None, Decimal]]:
    """Id, type, quantity (None: not said) and dollars of each commitment that was paid and not used.

    Of a line that reaches out of ``window``, such as a month's fee, its share in the window counts.
    """
    if not files:
        return []
    with connect() as connection:
        found = connection.execute(_UNUSED_SQL, {"files": [str(path) for path in files]}).fetchall()
    sums: dict[tuple[str, str], tuple[Decimal | None, Decimal]] = {}
    for name, kind, start, end, quantity, usd in found:
        part = window.part if window else _all
        if not part(Decimal(1), start, end):
            continue
        before, dollars = sums.get((name, kind), (None, Decimal(0)))
        units = before if quantity is None else (before or Decimal(0)) + part(quantity, start, end)
        sums[name, kind] = units, dollars + part(usd, start, end)
    return [(*key, *values) for key, values in sorted(sums.items())]


def _all(amount: Decimal, _start: dt.datetime, _end: dt.datetime) -> Decimal:
    return amount


def live_use(
    of_region: Mapping[str, Prometheus | Exception], start: dt.datetime, end: dt.datetime, book: AwsBook
) -> MachineUse:
    """Hourly use from the nodes that ran at each full hour; an hour counts as seen when every region has nodes.

    A node counts for the hour that begins with the sample. Dollars are the book's price, else OpenCost's.
    """
    seen: list[set[dt.datetime]] = []
    rows: dict[tuple[dt.datetime, str, str, CapacityType], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
    for region, prometheus in of_region.items():
        hours: set[dt.datetime] = set()
        for hour, use in _hourly_nodes(prometheus, region, start, end):
            hours.add(hour)
            if use.capacity is not None:
                price = price_of(use, book)
                sums = rows[hour, region, use.instance_type, use.capacity]
                sums[0], sums[1] = sums[0] + 1, sums[1] + (use.allocator_usd if price is None else price)
        seen.append(hours)
    both = frozenset(set.intersection(*seen)) if seen else frozenset()
    kept = (HourlyUse(*key, *sums) for key, sums in sorted(rows.items()) if key[0] in both)
    return MachineUse(start, end, both, tuple(kept))


def _hourly_nodes(
    prometheus: Prometheus | Exception, region: str, start: dt.datetime, end: dt.datetime
) -> Iterator[tuple[dt.datetime, NodeUse]]:
    if isinstance(prometheus, Exception):
        return
    first, last = start.timestamp(), end.timestamp() - 3600
    selector = f'{{region="{region}"}}'
    spots = prometheus.query_range(f"{SPOT_SERIES}{selector}", first, last, 3600)
    window = round(end.timestamp() - first)
    labels = prometheus.query(f"last_over_time({LABELS_SERIES}[{window}s])", end.timestamp())
    spot = {series.labels["node"]: series.points[-1][1] for series in spots if series.points}
    for series in prometheus.query_range(f"{PRICE_SERIES}{selector}", first, last, 3600):
        for at, value in series.points:
            for use in fleet_of(region, HOUR, 1, [(series.labels, [(at, value)])], spot, labels).uses:
                yield dt.datetime.fromtimestamp(at, dt.UTC), use
