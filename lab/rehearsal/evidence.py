"""What the rehearsal's report says, read from the live cluster and Prometheus by the lab itself.

It shares no code with the lever that it checks: nodes and pods come from the API server, prices from the price book,
latency and errors from Prometheus.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from include.clients import kubernetes as k8s
from include.clients.prometheus import Prometheus
from include.estate import Estate
from include.prices import AwsBook
from include.quantities import cores, mebibytes
from include.rollout.gates import p95_within
from lab.machine.again import LONGEST_PAUSE_SECONDS, PROBLEMS, again

T = TypeVar("T")

NODE_GROUP, POOL = "eks.amazonaws.com/nodegroup", "karpenter.sh/nodepool"
SYSTEM_GROUP = "akidb-system"  # the small node group that day 4 makes for the system's pods
SYSTEM_NAMESPACES = ("karpenter", "kube-system")
# What comes and goes by itself: nobody's change, or a part of something that is compared itself.
PASSING = {
    *(
        "pods",
        "nodes",
        "events",
        "leases",
        "endpoints",
        "endpointslices",
        "ipaddresses",
        "csinodes",
        "componentstatuses",
    ),
    *("replicasets", "controllerrevisions", "nodeclaims", "verticalpodautoscalercheckpoints", "clusterresourceusages"),
}
AGGREGATED_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
COST_NAMESPACES = ("opencost", "kubecost")
PATIENCE_SECONDS, QUERY_SECONDS = 60.0, 10.0  # for an API server that is away, for an answer of Prometheus
# What an undo leaves on purpose: without the diary the next rollout would take a drill's notice of today for AWS's.
STAYS = {"configmaps": {"akidb/akidb-interruption-drills"}}
P95_SECONDS = 60  # time span of the P95: the state at the moment of reading


@dataclass(frozen=True)
class Node:
    """One live node: ``owner`` is its node group or pool, ``capacity`` spot or on-demand, ``vcpu`` whole CPUs."""

    name: str
    owner: str
    instance_type: str
    zone: str
    capacity: str
    vcpu: float
    in_node_group: bool


@dataclass(frozen=True)
class EvidenceFigures:
    """One region at one moment. ``pods`` are the running ones of the workloads; shares are 0..1.

    ``usd_hour`` is None when a price is not known; ``karpenter_nodes`` and ``usd_hour_karpenter`` are Karpenter's nodes
    alone. ``p95_ms`` is the slower of HTTP and gRPC over the last minute, ``error_ratio`` 5xx of all requests since the
    run began; both are None without data.
    """

    nodes: int
    pods: int
    spot_share_pods: float
    spot_share_vcpu: float
    usd_hour: float | None
    p95_ms: float | None
    error_ratio: float | None
    karpenter_nodes: int = 0
    usd_hour_karpenter: float | None = None


def node_of(raw: Mapping[str, Any]) -> Node:
    """What the report needs of a Node object."""
    labels = raw["metadata"].get("labels", {})
    capacity = labels.get("karpenter.sh/capacity-type") or labels.get("eks.amazonaws.com/capacityType", "ON_DEMAND")
    return Node(
        name=raw["metadata"]["name"],
        owner=labels.get(POOL) or labels.get(NODE_GROUP) or "nobody",
        instance_type=labels.get("node.kubernetes.io/instance-type", ""),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        capacity=capacity.lower().replace("_", "-"),
        vcpu=float(raw["status"]["capacity"]["cpu"]),
        in_node_group=NODE_GROUP in labels,
    )


def object_name(raw: Mapping[str, Any]) -> str:
    """``namespace/name`` of an object, or its name alone."""
    metadata = raw["metadata"]
    return "/".join(part for part in (metadata.get("namespace", ""), metadata["name"]) if part)


def shares(nodes: list[Node], pods_on: list[str], floor: int) -> tuple[float, float]:
    """Spot share of the pods (by the nodes they run on) and of the vCPU.

    The system's nodes do not count in the vCPU: the node group's ``floor``, and the group that day 4 makes for them.
    Pods count wherever they run.
    """
    spot = {node.name for node in nodes if node.capacity == "spot"}
    of_pods = sum(name in spot for name in pods_on) / len(pods_on) if pods_on else 0.0
    group = [node for node in nodes if node.in_node_group and node.owner != SYSTEM_GROUP]
    counted = [node for node in nodes if not node.in_node_group] + group[floor:]
    total = sum(node.vcpu for node in counted)
    of_vcpu = sum(node.vcpu for node in counted if node.name in spot) / total if total else 0.0
    return round(of_pods, 4), round(of_vcpu, 4)


def usd_hour(nodes: list[Node], book: AwsBook, region: str) -> float | None:
    """What the nodes cost an hour, None as soon as one price is not known."""
    total = Decimal(0)
    for node in nodes:
        if node.capacity == "spot":
            price = book.spot(region, node.instance_type, node.zone)
        else:
            price = book.on_demand(region, node.instance_type)
        if price is None:
            return None
        total += price
    return float(round(total, 4))


def is_running(pod: Mapping[str, Any]) -> bool:
    """Whether a pod runs and is not leaving."""
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def requests_by_app(pods: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The distinct requests of running pods, by app and container: in-place resizes show on pods and in no template."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        app = pod["metadata"].get("labels", {}).get("app", "")
        for container in pod["spec"]["containers"]:
            asked = container.get("resources", {}).get("requests", {})
            text = f"{round(cores(asked.get('cpu', 0)) * 1000)}m {float(mebibytes(asked.get('memory', 0))):g}Mi"
            found.setdefault(f"{app}/{container['name']}", set()).add(text)
    return {name: sorted(texts) for name, texts in sorted(found.items())}


def places(pods: Iterable[Mapping[str, Any]], owners: Mapping[str, str]) -> dict[str, list[str]]:
    """On whose nodes the running pods of each controller are; ``owners`` are nodes' groups or pools by their name."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        if is_running(pod):
            name = f"{pod['metadata']['namespace']}/{controller_name(pod)}"
            found.setdefault(name, set()).add(owners.get(pod["spec"].get("nodeName", ""), "nobody"))
    return {name: sorted(where) for name, where in sorted(found.items())}


def controller_name(pod: Mapping[str, Any]) -> str:
    """The name of what controls a pod, a Deployment's rather than its ReplicaSet's; its own name without one."""
    metadata = pod["metadata"]
    owned_by = [str(owner["name"]) for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    template = metadata.get("labels", {}).get("pod-template-hash", "")
    return owned_by[0].removesuffix(f"-{template}") if owned_by else str(metadata["name"])


class EvidenceError(RuntimeError):
    """A region can't be read; the message says why. What is not known is not back."""

    def __init__(self, region: str, seconds: float, why: BaseException) -> None:
        reason = f"{type(why).__name__}: {why}"
        super().__init__(f"{region} could not be read for {seconds:.0f} s ({reason}): see the log of its API server")
        self.region = region


@dataclass
class EvidenceReader:
    """Reads one region of the running lab, for up to ``patience`` seconds where nobody answers."""

    estate: Estate
    region: str
    cluster: k8s.Cluster
    prometheus: Prometheus
    book: AwsBook
    eks: Any
    served: Callable[[], list[k8s.Kind]]
    patience: float = PATIENCE_SECONDS
    longest_pause: float = LONGEST_PAUSE_SECONDS

    def figures(self, since_seconds: float) -> EvidenceFigures:
        """The region now; errors are counted over the last ``since_seconds``. Raises EvidenceError."""
        return self._patiently(partial(self._figures, since_seconds))

    def specs(self) -> dict[str, Any]:
        """What a rollback must bring back: pools, node counts by type and capacity type, templates, budgets, rules, and
        which objects there are at all. Raises EvidenceError.
        """
        return self._patiently(self._all_specs)

    def _patiently(self, read: Callable[[], T]) -> T:
        try:
            return again(self.patience, self.longest_pause)(read)
        except PROBLEMS as error:
            raise EvidenceError(self.region, self.patience, error) from error

    def _figures(self, since_seconds: float) -> EvidenceFigures:
        nodes = [node_of(raw) for raw in self.cluster.list(k8s.NODE)]
        floor = self.estate.region(self.region).node_group.floor
        pods_on = [pod["spec"]["nodeName"] for pod in self.running_pods()]
        of_pods, of_vcpu = shares(nodes, pods_on, floor)
        karpenter = [node for node in nodes if not node.in_node_group]
        return EvidenceFigures(
            nodes=len(nodes),
            pods=len(pods_on),
            spot_share_pods=of_pods,
            spot_share_vcpu=of_vcpu,
            usd_hour=usd_hour(nodes, self.book, self.region),
            p95_ms=self._p95_ms(),
            error_ratio=self._error_ratio(since_seconds),
            karpenter_nodes=len(karpenter),
            usd_hour_karpenter=usd_hour(karpenter, self.book, self.region),
        )

    def running_pods(self) -> list[dict[str, Any]]:
        """The pods of the workloads that run and are not leaving."""
        space, names = self.estate.namespace, self.estate.workloads
        found = [pod for name in names for pod in self.cluster.list(k8s.POD, space, labels=f"app={name}")]
        return [pod for pod in found if is_running(pod)]

    def _p95_ms(self) -> float | None:
        slowest: list[float] = []
        for histogram in (self.estate.metrics.http_duration, self.estate.metrics.grpc_duration):
            buckets = self.prometheus.bucket_increases(histogram, self.estate.matchers(self.region), P95_SECONDS)
            if not buckets:
                return None
            p95 = p95_within(buckets, self.estate.targets.p95_ms).p95_ms
            if p95 is None:
                return None
            slowest.append(p95)
        return round(max(slowest), 2)

    def _error_ratio(self, seconds: float) -> float | None:
        window = max(10, round(seconds))

        def increase(status: str) -> float | None:
            parts = [
                f"sum(increase({name}{{{self.estate.matchers(self.region)},{label}{status}}}[{window}s]))"
                for name, label in self.estate.metrics.requests()
            ]
            values = [self.prometheus.value(part) for part in parts]
            known = [value for value in values if value is not None]
            return sum(known) if known else None

        total = increase('!=""')
        if not total:
            return None  # no requests: there is no ratio, and it is not zero
        return round((increase('=~"5.."') or 0.0) / total, 6)

    def _all_specs(self) -> dict[str, Any]:
        namespace = self.estate.namespace
        nodes = [node_of(raw) for raw in self.cluster.list(k8s.NODE)]
        owners = {node.name: node.owner for node in nodes}
        system = [pod for space in SYSTEM_NAMESPACES for pod in self.cluster.list(k8s.POD, space)]
        return {
            "nodes": dict(sorted(Counter(f"{n.owner} {n.instance_type} {n.capacity}" for n in nodes).items())),
            "node_groups": self._node_groups(),
            "pod_requests": requests_by_app(self.running_pods()),
            "system_pods": places(system, owners),
            "node_pools": self._specs(k8s.NODE_POOL),
            "node_classes": self._specs(k8s.EC2_NODE_CLASS),
            "deployments": self._specs(k8s.DEPLOYMENT, namespace),
            "scaled_objects": self._specs(k8s.SCALED_OBJECT, namespace),
            "vertical_autoscalers": self._specs_if_served(k8s.VERTICAL_AUTOSCALER, namespace),
            "disruption_budgets": self._specs(k8s.DISRUPTION_BUDGET, namespace),
            **{f"{name}_deployments": self._specs(k8s.DEPLOYMENT, name) for name in COST_NAMESPACES},
            "monitoring": {
                item["metadata"]["name"]: item.get("data") for item in self.cluster.list(k8s.CONFIG_MAP, "monitoring")
            },
            "objects": self._objects(),
        }

    def _objects(self) -> dict[str, dict[str, str]]:
        """Every object of the cluster by resource and name, whoever made it: what a lever forgot shows here."""
        found = {}
        for kind in self.served():
            names = {object_name(item) for item in self.cluster.list(kind)} - STAYS.get(kind.plural, set())
            found[f"{kind.plural} {kind.api_version}"] = dict.fromkeys(sorted(names), "there")
        return found

    def _node_groups(self) -> dict[str, Any]:
        """The sizes of every managed node group of the cluster."""
        cluster = self.estate.region(self.region).cluster
        names = self.eks.list_nodegroups(clusterName=cluster)["nodegroups"]
        groups = [self.eks.describe_nodegroup(clusterName=cluster, nodegroupName=name) for name in sorted(names)]
        return {group["nodegroup"]["nodegroupName"]: group["nodegroup"]["scalingConfig"] for group in groups}

    def _specs_if_served(self, kind: k8s.Kind, namespace: str) -> dict[str, Any]:
        served = any(one.plural == kind.plural for one in self.served())
        return self._specs(kind, namespace) if served else {}

    def _specs(self, kind: k8s.Kind, namespace: str | None = None) -> dict[str, Any]:
        return {item["metadata"]["name"]: item["spec"] for item in self.cluster.list(kind, namespace)}


def first_figures(
    lab: Mapping[str, EvidenceReader], since_seconds: float, limit_seconds: float, pause_seconds: float = 2.0
) -> dict[str, EvidenceFigures]:
    """Each region's figures once its latency has samples; a region that has none after ``limit_seconds`` is as it is.

    A service that has just opened has too few scrapes for a P95, and "before" would say unknown.
    """
    pause, limit = threading.Event(), time.monotonic() + limit_seconds
    while True:
        found = {region: reader.figures(since_seconds) for region, reader in lab.items()}
        if all(figures.p95_ms is not None for figures in found.values()) or time.monotonic() >= limit:
            return found
        pause.wait(pause_seconds)


def readers(
    estate: Estate, state: Mapping[str, Any], book: AwsBook, client: Callable[..., Any], stretch: float = 1.0
) -> dict[str, EvidenceReader]:
    """A reader for each region of the lab; ``client`` makes boto3 clients, ``stretch`` multiplies the time-outs."""
    from lab.cluster.workloads import api_client

    prometheus = Prometheus(state["prometheus"], timeout=QUERY_SECONDS * stretch)
    found = {}
    for region, entry in state["regions"].items():
        eks = client(
            "eks",
            region_name=region,
            endpoint_url=state["aws_endpoint"],
            aws_access_key_id="lab",
            aws_secret_access_key="lab",
        )
        api = api_client(Path(entry["kubeconfig"]))
        cluster = k8s.Cluster(api, region, patience=PATIENCE_SECONDS * stretch)
        served = partial(served_kinds, api)
        patience = PATIENCE_SECONDS * stretch
        found[region] = EvidenceReader(estate, region, cluster, prometheus, book, eks, served, patience)
    return found


def served_kinds(api: Any) -> list[k8s.Kind]:
    """The resources that last of the cluster behind ``api``, a Kubernetes ``ApiClient``, in their preferred version."""
    found = []
    for root in ("/api", "/apis"):
        answer = api.call_api(
            root,
            "GET",
            header_params={"Accept": AGGREGATED_DISCOVERY},
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=k8s.TIMEOUT,
        )
        found += lasting_kinds(json.loads(answer.data))
    return found


def lasting_kinds(discovery: Mapping[str, Any]) -> list[k8s.Kind]:
    """The listable resources of an aggregated discovery document, without metrics and what comes and goes by itself."""
    found = []
    for group in discovery["items"]:
        name = group["metadata"].get("name", "")
        if name.endswith("metrics.k8s.io") or not group["versions"]:
            continue
        preferred = group["versions"][0]
        version = f"{name}/{preferred['version']}" if name else preferred["version"]
        found += [
            k8s.Kind(version, one["responseKind"]["kind"], one["resource"], one["scope"] == "Namespaced")
            for one in preferred["resources"]
            if "list" in one["verbs"] and one["resource"] not in PASSING
        ]
    return found
