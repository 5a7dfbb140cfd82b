"""A cost table in a folder, and a Prometheus of a few nodes, for the tests of validation, guard and commitments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.clients.prometheus import Sample, Series
from include.clients.storage import Folder
from include.cost.table.partition import write_partition
from include.cost.table.store import Aside, CostTable, Facts

DAY = dt.timedelta(days=1)
PRICES = {"us-east-1": "0.29", "eu-central-1": "0.3451", "ap-northeast-1": "0.3683"}  # c7g.2xlarge on demand


def at(day: dt.date, hour: float = 0) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC) + dt.timedelta(hours=hour)


def row(
    service: str,
    usd: str,
    start: dt.datetime,
    hours: float = 1,
    region: str | None = None,
    machine: tuple[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    month = start.replace(day=1, hour=0, minute=0)
    base = {
        "BilledCost": Decimal(usd),
        "EffectiveCost": Decimal(usd),
        "BillingCurrency": "USD",
        "BillingPeriodStart": month,
        "BillingPeriodEnd": (month + dt.timedelta(days=31)).replace(day=1),
        "ChargeCategory": "Usage",
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + dt.timedelta(hours=hours),
        "ServiceName": service,
        "RegionId": region,
    }
    if machine:
        base |= {"x_InstanceType": machine[0], "x_CapacityType": machine[1]}
        base |= {"ConsumedQuantity": Decimal(str(hours)), "ConsumedUnit": "Hrs"}
    return base | more


class Table:
    """The cost table, with a way to put a day's rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = Folder(folder / "costs")
        self.table = CostTable(self.storage)

    def put(
        self,
        day: dt.date,
        rows: Iterable[Mapping[str, Any]],
        source: str = "aws",
        received_hours: int = 12,
        invoiced: bool = False,
        aside: tuple[Aside, ...] = (),
    ) -> Facts:
        traced = [{**one, "x_SourceFile": "test", "x_SourceRow": n} for n, one in enumerate(rows, 1)]
        received = at(day + DAY, received_hours)
        facts = Facts(source, day, 0, Decimal(0), 0, received, ("test",), invoiced, aside=aside)
        path = self.folder / "partition.parquet"
        write_partition(traced, facts, path)
        return self.table.replace(path)


def estate_day(day: dt.date, nodes: int = 5, hours: Sequence[int] = range(24)) -> list[dict[str, Any]]:
    """A day of the whole estate: node hours in each region, volumes, the other AWS services and one unallocated row."""
    rows = []
    for hour in hours:
        for region, price in PRICES.items():
            usd, machine = str(nodes * Decimal(price)), ("c7g.2xlarge", "on_demand")
            more = {"ConsumedQuantity": Decimal(nodes), "SkuMeter": "BoxUsage:c7g.2xlarge"}
            rows.append(row("Amazon Elastic Compute Cloud", usd, at(day, hour), 1, region, machine, **more))
            rows.append(row("Amazon Elastic Compute Cloud", "0.10", at(day, hour), 1, region, SkuMeter="EBS:gp3"))
        others = {"Amazon CloudFront": "0.5", "AWS Lambda": "0.4", "Amazon Simple Storage Service": "0.15"}
        for service, usd in (others | {"Amazon Route 53": "0.10", "AWS Support": "0.05"}).items():
            rows.append(row(service, usd, at(day, hour)))
    return rows


class Node:
    """One node of the fake Prometheus: runs in [since, until) of Unix seconds."""

    def __init__(
        self,
        name: str,
        price: float,
        kind: str = "c7g.2xlarge",
        region: str = "us-east-1",
        capacity: str = "on-demand",
        owner: str = "akidb-on-demand",
        zone: str | None = "a",
        since: float = 0,
        until: float = float("inf"),
    ) -> None:
        self.name, self.price, self.kind, self.region = name, price, kind, region
        self.capacity, self.owner, self.since, self.until = capacity, owner, since, until
        self.zone = zone and f"{region}{zone}"

    def labels(self) -> dict[str, str]:
        extra = {"label_topology_kubernetes_io_zone": self.zone} if self.zone else {}
        extra |= {"label_karpenter_sh_nodepool": self.owner, "label_karpenter_sh_capacity_type": self.capacity}
        return {"node": self.name, "region": self.region, **extra}


def live_nodes(count: int = 5) -> FakePrometheus:
    """``count`` on-demand nodes in each region and five devices of 20 W."""
    nodes = [
        Node(f"{region}-{n}", float(price), region=region) for region, price in PRICES.items() for n in range(count)
    ]
    return FakePrometheus(nodes, {f"jetson0{n}": 20.0 for n in range(1, 6)})


class FakePrometheus:
    """Answers what is asked of OpenCost's series and the devices' power; anything else has no series."""

    def __init__(
        self, nodes: Iterable[Node] = (), watts: Mapping[str, float] | None = None, gap: range = range(0)
    ) -> None:
        self.nodes = list(nodes)
        self.watts = watts or {}
        self.gap = gap  # Unix seconds without any sample
        self.replicas: dict[float, dict[str, int]] = {}  # wanted replicas from a moment on
        self.hourly_usd: float | None = None  # of each region, in every hour before the last one

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        times = [start + n * step for n in range(int((end - start) // step) + 1)]
        times = [t for t in times if int(t) not in self.gap]
        if expression.startswith("sum(node_total_hourly_cost"):
            return [Series({}, tuple((t, self.hourly_usd) for t in times))] if self.hourly_usd is not None else []
        if expression.startswith("jetson"):
            return [Series({"device": d}, tuple((t, w) for t in times)) for d, w in self.watts.items()]
        found = []
        for node in (node for node in self.nodes if f'region="{node.region}"' in expression):
            value = node.price if expression.startswith("node_total") else float(node.capacity == "spot")
            points = tuple((t, value) for t in times if node.since <= t < node.until)
            labels = {"node": node.name, "instance_type": node.kind, "region": node.region}
            found += [Series(labels, points)] if points else []
        return found

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        when = at or 0.0
        if expression.startswith("last_over_time(kube_node_labels"):
            return [Sample(node.labels(), when, 1.0) for node in self.nodes]
        if "kube_deployment_spec_replicas" in expression:
            known = max((t for t in self.replicas if t <= when), default=None)
            counts = self.replicas[known] if known is not None else {}
            return [Sample({"deployment": name}, when, float(count)) for name, count in counts.items()]
        return []
