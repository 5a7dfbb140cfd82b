"""What the levers share: a target with typed clients, who owns an object, and what the live nodes cost."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from include.clients.aws import Aws
from include.clients.kubernetes import (
    DEPLOYMENT,
    NODE,
    POD,
    Cluster,
    ConflictError,
    CredentialsError,
    ForbiddenError,
    InvalidError,
    NotServedError,
    TimedOutError,
)
from include.clients.prometheus import Prometheus
from include.estate import Estate, Region
from include.prices import AwsBook, load_aws_book
from include.quantities import cores
from include.rollout.lever import NotConverged, Refused, Target

Object = dict[str, Any]
SPREAD = "akidb.io/capacity-spread"  # label: the capacity domain of a node
NODE_GROUP_LABEL = "eks.amazonaws.com/nodegroup"
OWNER_LABELS = {
    "argocd.argoproj.io/instance": "argocd",
    "kustomize.toolkit.fluxcd.io/name": "flux",
    "helm.toolkit.fluxcd.io/name": "flux",
}
OWNER_ANNOTATIONS = {"argocd.argoproj.io/tracking-id": "argocd", "meta.helm.sh/release-name": "helm"}
OWNER_MANAGERS = {
    "argocd-controller": "argocd",
    "argocd-application-controller": "argocd",
    "kustomize-controller": "flux",
    "helm-controller": "flux",
    "helm": "helm",
    "terraform": "terraform",
    "hashicorp": "terraform",
}


@dataclass(frozen=True)
class World:
    """A target with its clients typed and its region looked up. ``now`` gives Unix seconds."""

    target: Target
    now: Callable[[], float] = time.time

    @property
    def cluster(self) -> Cluster:
        """The region's Kubernetes cluster."""
        cluster: Cluster = self.target.clients.kubernetes
        return cluster

    @property
    def aws(self) -> Aws:
        """The region's AWS clients."""
        aws: Aws = self.target.clients.aws
        return aws

    @property
    def prometheus(self) -> Prometheus:
        """The region's Prometheus."""
        prometheus: Prometheus = self.target.clients.prometheus
        return prometheus

    @property
    def settings(self) -> Any:
        """The lever's settings of this run; each lever's own World has them typed."""
        return self.target.settings

    @property
    def estate(self) -> Estate:
        """The estate."""
        return self.target.estate

    @property
    def region(self) -> Region:
        """The target's region in the estate."""
        return self.estate.region(self.target.region)

    @property
    def timeout(self) -> float:
        """Longest wait for a step to converge, in seconds."""
        return float(self.settings.converge_timeout_seconds)

    def wait_for(self, missing: Callable[[], Sequence[str]], what: str, timeout: float | None = None) -> float:
        """Wait for the cluster; returns seconds. Raises NotConverged with ``what`` and what is missing."""
        try:
            return self.cluster.wait_for(missing, timeout or self.timeout, POD, self.estate.namespace)
        except TimedOutError as error:
            raise NotConverged(f"{self.target.region}: {what}: {error}") from error

    def await_all(self, missing: Callable[[], Sequence[str]], what: str, namespace: str | None = None) -> float:
        """Like ``wait_for``, for what pods don't show (Prometheus): looked at every second."""
        try:
            return self.cluster.wait_for(missing, self.timeout, POD, namespace, recheck=1.0)
        except TimedOutError as error:
            raise NotConverged(f"{self.target.region}: {what}: {error}") from error


@contextlib.contextmanager
def refusals(world: World) -> Iterator[None]:
    """Errors that no second attempt cures become Refused."""
    try:
        yield
    except (ConflictError, CredentialsError, ForbiddenError, InvalidError, NotServedError) as error:
        raise Refused(f"{world.target.region}: {error}") from error


def name_of(thing: Mapping[str, Any]) -> str:
    """The name in an object's metadata."""
    return str(thing["metadata"]["name"])


def condition(thing: Mapping[str, Any], kind: str) -> str:
    """``True``, ``False`` or ``Unknown`` of a status condition; ``Unknown`` when it is absent."""
    conditions = thing.get("status", {}).get("conditions") or []
    return next((str(c["status"]) for c in conditions if c["type"] == kind), "Unknown")


# Who owns what -------------------------------------------------------------------------------------------------------


def owner_of(thing: Mapping[str, Any]) -> str | None:
    """``argocd``, ``flux``, ``helm`` or ``terraform`` when one of them manages the object, else None."""
    metadata = thing["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    for key, owner in OWNER_LABELS.items():
        if key in labels:
            return owner
    for key, owner in OWNER_ANNOTATIONS.items():
        if key in annotations:
            return owner
    managed_by = str(labels.get("app.kubernetes.io/managed-by", "")).lower()
    if managed_by in ("helm", "terraform"):
        return managed_by
    managers = [str(entry["manager"]).lower() for entry in metadata.get("managedFields") or []]
    return next((OWNER_MANAGERS[manager] for manager in managers if manager in OWNER_MANAGERS), None)


# Workloads -----------------------------------------------------------------------------------------------------------


def deployments(world: World) -> dict[str, Object]:
    """The Deployments of the estate's workloads, by name. Raises Refused naming one that doesn't exist."""
    found = {}
    for name in world.estate.workloads:
        deployment = world.cluster.get(DEPLOYMENT, name, world.estate.namespace)
        if deployment is None:
            raise Refused(
                f"{world.target.region}: Deployment {world.estate.namespace}/{name} does not exist: correct "
                "namespace or workloads in estate.yaml, or deploy it"
            )
        found[name] = deployment
    return found


def workload_pods(world: World) -> list[Object]:
    """AkiDB's pods, those that are ending included."""
    names = ",".join(world.estate.workloads)
    return world.cluster.list(POD, world.estate.namespace, labels=f"app in ({names})")


# Nodes and money -----------------------------------------------------------------------------------------------------


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
