"""The live nodes as far as money and shares need them, and what they cost an hour."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.clients.kubernetes import NODE
from include.levers.world import Object, World, name_of
from include.prices import AwsBook, load_aws_book
from include.quantities import cores

SPREAD = "akidb.io/capacity-spread"  # label: the capacity domain of a node
NODE_GROUP_LABEL = "eks.amazonaws.com/nodegroup"


@dataclass(frozen=True)
class NodeFact:
    """One live node as far as money and shares need it. ``capacity`` is ``spot`` or ``on-demand``."""

    name: str
    instance_type: str
    zone: str
    capacity: str
    vcpu: float
    node_group: str | None
    node_pool: str | None
    domain: str | None


def node_price(book: AwsBook, region: str, node: NodeFact) -> Decimal | None:
    """USD an hour of a node in the book, None when the book doesn't know it."""
    if node.capacity == "spot":
        return book.spot(region, node.instance_type, node.zone)
    return book.on_demand(region, node.instance_type)


def total(prices: Iterable[Decimal | None]) -> Decimal | None:
    """The sum, or None as soon as one is not known: a missing price is never zero."""
    known = Decimal(0)
    for price in prices:
        if price is None:
            return None
        known += price
    return known


def node_facts(world: World) -> list[NodeFact]:
    """The live nodes, by name."""
    return [node_fact(node) for node in sorted(world.cluster.list(NODE), key=lambda node: str(name_of(node)))]


def node_fact(node: Object) -> NodeFact:
    """What money and shares need of a Node."""
    labels = node["metadata"].get("labels", {})
    eks_type = labels.get("eks.amazonaws.com/capacityType", "ON_DEMAND")
    return NodeFact(
        name=name_of(node),
        instance_type=labels.get("node.kubernetes.io/instance-type", ""),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        capacity=labels.get("karpenter.sh/capacity-type") or eks_type.lower().replace("_", "-"),
        vcpu=float(cores(node.get("status", {}).get("capacity", {}).get("cpu", "0"))),
        node_group=labels.get(NODE_GROUP_LABEL),
        node_pool=labels.get("karpenter.sh/nodepool"),
        domain=labels.get(SPREAD),
    )


def spot_prices(world: World, types: Sequence[str]) -> dict[tuple[str, str], Decimal]:
    """The newest spot price, USD an hour, by instance type and zone."""
    if not types:
        return {}
    now = dt.datetime.fromtimestamp(world.now(), dt.UTC)
    newest: dict[tuple[str, str], tuple[Any, Decimal]] = {}
    pages = world.aws.pages(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        InstanceTypes=sorted(set(types)),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,  # with equal times AWS gives each pool's price at that moment
        EndTime=now,
    )
    for entry in pages:
        key = (entry["InstanceType"], entry["AvailabilityZone"])
        if key not in newest or newest[key][0] < entry["Timestamp"]:
            newest[key] = (entry["Timestamp"], Decimal(entry["SpotPrice"]))
    return {key: price for key, (_, price) in newest.items()}


def usd_hour(world: World, nodes: list[NodeFact]) -> tuple[Decimal | None, list[str]]:
    """USD an hour of the live nodes, spot at EC2's current price, and the nodes without a known price."""
    book = load_aws_book(world.estate)
    spot = spot_prices(world, [n.instance_type for n in nodes if n.capacity == "spot"])
    prices: list[Decimal | None] = []
    unknown = []
    for node in nodes:
        live = spot.get((node.instance_type, node.zone)) if node.capacity == "spot" else None
        price = live if node.capacity == "spot" else node_price(book, world.target.region, node)
        prices.append(price)
        if price is None:
            unknown.append(f"{node.name} ({node.instance_type} {node.capacity} in {node.zone})")
    return total(prices), unknown
