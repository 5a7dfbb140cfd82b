"""The bridge from the fake cloud to Kubernetes: running instances become Node objects, dead instances take them away.

    python -m lab.cluster.instances --state .lab [--boot-seconds 8]

One process, two threads a region: one stands for the kubelet that registers itself and for the cloud's node lifecycle
controller, one for the kubelet that is asked to resize a pod (``resizes.py``). Reads ``state.json`` of the lab's
folder. Outages of an API server or of the emulator are survived: one line when a region is lost, one when it is back,
and nothing is removed meanwhile.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from include.prices import AwsBook, load_aws_book
from lab.cluster.polling import Part, ask, run
from lab.cluster.resizes import BoundPods, RegionResizes
from lab.machine.again import UnavailableError

Object = Mapping[str, Any]  # a Kubernetes object or an EC2 instance as JSON

BOOT_SECONDS = 8.0
KUBELET = "v1.36.3"
NODE_GROUP_TAG = "eks:nodegroup-name"
# What lab/cluster/containers.py gives OpenCost a price for; a real node has no such annotation.
PRICE_ANNOTATION = "lab.akidb.io/price"
# Where metrics-server finds the use of a node's pods: KWOK answers for all nodes at one address.
METRICS_PATH_ANNOTATION = "metrics.k8s.io/resource-metrics-path"
# An instance in another state is dead; so is one that EC2 no longer lists.
ALIVE = ("pending", "running", "stopping", "stopped")
# Pods that the VPC CNI has addresses for; the price book has every other figure of an instance type.
MAX_PODS = {"t4g.medium": 17, "t4g.large": 35, "medium": 8, "large": 29, "xlarge": 58, "2xlarge": 58, "4xlarge": 234}
log = logging.getLogger("instances")


class NodeCluster(Protocol):
    """The Kubernetes calls that the bridge makes. All raise UnavailableError."""

    def nodes(self) -> list[Object]: ...
    def node_claims(self) -> list[Object]: ...
    def create_node(self, node: Object) -> None: ...
    def delete_node(self, name: str) -> None: ...
    def remove_pods_of(self, node: str) -> int: ...


def node_name(address: str, region: str) -> str:
    """The name that EKS gives a node: its private address in the region's internal domain."""
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-{address.replace('.', '-')}.{domain}"


def provider_id(instance: Object) -> str:
    """The node's ``spec.providerID`` for an EC2 instance."""
    return f"aws:///{instance['Placement']['AvailabilityZone']}/{instance['InstanceId']}"


def instance_id(node: Object) -> str:
    """The EC2 instance of a node (or NodeClaim's provider id holder); empty when it has none."""
    found = str(node.get("spec", {}).get("providerID", ""))
    return found.rsplit("/", 1)[-1] if found.startswith("aws:///") else ""


def price_key(labels: Mapping[str, str]) -> str:
    """What a node's hour costs, by name: ``on-demand.<type>`` or ``spot.<type>.<zone>``."""
    capacity = labels.get("karpenter.sh/capacity-type", "on-demand")
    parts = [capacity, labels.get("node.kubernetes.io/instance-type", "")]
    if capacity == "spot":
        parts.append(labels.get("topology.kubernetes.io/zone", ""))
    return ".".join(parts).lower()


def _node(
    instance: Object, region: str, labels: Mapping[str, str], taints: list[Object], resources: Mapping[str, Object]
) -> dict[str, Any]:
    address = str(instance["PrivateIpAddress"])
    name = node_name(address, region)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**labels, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
            "annotations": {
                "kwok.x-k8s.io/node": "fake",
                PRICE_ANNOTATION: price_key(labels),
                METRICS_PATH_ANNOTATION: f"/metrics/nodes/{name}/metrics/resource",
            },
        },
        "spec": {"providerID": provider_id(instance), "taints": taints},
        "status": {
            **resources,
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
                {"type": "ExternalDNS", "address": "localhost"},  # where metrics-server finds KWOK
            ],
            "nodeInfo": {
                "architecture": labels["kubernetes.io/arch"],
                "operatingSystem": "linux",
                "kubeletVersion": KUBELET,
                "osImage": "Amazon Linux 2023 (lab)",
                "kernelVersion": "lab",
                "containerRuntimeVersion": "containerd://lab",
                "kubeProxyVersion": "",
                "bootID": "",
                "machineID": "",
                "systemUUID": instance["InstanceId"],
            },
        },
    }


def node_of_claim(claim: Object, instance: Object, region: str) -> dict[str, Any]:
    """The Node that a Karpenter instance registers: the NodeClaim's labels, capacity and taints, not yet registered."""
    spec, status = claim["spec"], claim["status"]
    unregistered = {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}
    taints = [unregistered, *spec.get("startupTaints", []), *spec.get("taints", [])]
    resources = {"capacity": status["capacity"], "allocatable": status["allocatable"]}
    return _node(instance, region, claim["metadata"]["labels"], taints, resources)


def node_of_group(instance: Object, region: str, group: str, resources: Mapping[str, Object]) -> dict[str, Any]:
    """The Node of a managed node group's on-demand instance."""
    labels = {
        "eks.amazonaws.com/nodegroup": group,
        "eks.amazonaws.com/capacityType": "ON_DEMAND",
        "node.kubernetes.io/instance-type": str(instance["InstanceType"]),
        "topology.kubernetes.io/zone": str(instance["Placement"]["AvailabilityZone"]),
        "topology.kubernetes.io/region": region,
        "kubernetes.io/arch": str(instance["Architecture"]),
    }
    return _node(instance, region, labels, [], resources)


def group_resources(book: AwsBook, instance_type: str) -> dict[str, Object]:
    """Capacity and allocatable of a node group's node. Raises PriceBookError for a type that the book doesn't have."""
    offered = book.details(instance_type)
    pods = MAX_PODS.get(instance_type, MAX_PODS.get(offered.size))
    if pods is None:
        raise ValueError(
            f"node_group.instance_type {instance_type!r}: add its size to MAX_PODS of lab/cluster/instances.py"
        )
    common = {"pods": str(pods), "ephemeral-storage": "50Gi"}
    return {
        "capacity": {"cpu": str(offered.vcpu), "memory": f"{offered.memory_mib}Mi", **common},
        "allocatable": {
            "cpu": f"{round(offered.allocatable_cpu * 1000)}m",
            "memory": f"{offered.allocatable_memory_mib}Mi",
            **common,
        },
    }


def tag(instance: Object, key: str) -> str | None:
    """The value of an instance's tag, or None."""
    return next((str(t["Value"]) for t in instance.get("Tags", []) if t["Key"] == key), None)


@dataclass
class RegionBridge:
    """The bridge of one region. ``instances`` lists EC2 instances as EC2 describes them; raises UnavailableError."""

    region: str
    cluster: NodeCluster
    instances: Callable[[], Iterable[Object]]
    resources: Callable[[str], Mapping[str, Object]]
    boot_seconds: float = BOOT_SECONDS
    clock: Callable[[], float] = time.monotonic
    _first_seen: dict[str, float] = field(default_factory=dict)
    _first_step: bool = True
    _emptying: set[str] = field(default_factory=set)

    def step(self) -> list[str]:
        """Bring Nodes and instances into agreement once; returns what was done. Raises UnavailableError."""
        # Instances first: a Node is only made from an instance, so none can be newer than this list.
        alive = {str(i["InstanceId"]): i for i in self.instances() if i["State"]["Name"] in ALIVE}
        nodes = self.cluster.nodes()
        done = self._remove_dead(nodes, alive)
        known = {instance_id(node) for node in nodes}
        booted = [i for i in alive.values() if self._has_booted(i) and i["InstanceId"] not in known]
        self._first_step = False
        if booted:
            done += self._register(booted, {str(node["metadata"]["name"]) for node in nodes})
        return done

    def _has_booted(self, instance: Object) -> bool:
        if instance["State"]["Name"] != "running":
            return False
        # What runs before the bridge starts has booted long ago.
        seen = self.clock() - (self.boot_seconds if self._first_step else 0)
        return self.clock() - self._first_seen.setdefault(str(instance["InstanceId"]), seen) >= self.boot_seconds

    def _register(self, booted: list[Object], taken: set[str]) -> list[str]:
        grouped = [(i, tag(i, NODE_GROUP_TAG)) for i in booted]
        made = [node_of_group(i, self.region, g, self.resources(str(i["InstanceType"]))) for i, g in grouped if g]
        others = {str(i["InstanceId"]): i for i, group in grouped if not group}
        for claim in self.cluster.node_claims() if others else []:
            instance = others.get(str(claim.get("status", {}).get("providerID", "")).rsplit("/", 1)[-1])
            if instance and claim["status"].get("capacity") and not claim["metadata"].get("deletionTimestamp"):
                made.append(node_of_claim(claim, instance, self.region))
        # An address is given out again while the Node of its last owner still drains: the new one has to wait.
        made = [node for node in made if node["metadata"]["name"] not in taken]
        for node in made:
            self.cluster.create_node(node)
        return [f"registered {n['metadata']['name']} ({_kind(n)})" for n in made]

    def _remove_dead(self, nodes: list[Object], alive: Mapping[str, Object]) -> list[str]:
        done = []
        for node in nodes:
            found, name = instance_id(node), str(node["metadata"]["name"])
            if not found or found in alive:
                continue
            self._first_seen.pop(found, None)
            self._emptying.add(name)
            if not node["metadata"].get("deletionTimestamp"):
                self.cluster.delete_node(name)
                done.append(f"removed {name}: instance {found} is gone")
        # The pod garbage collector waits 40 to 60 s before it removes pods of a node that is gone, and the plant
        # would count them as ready. A dead machine runs no pods.
        for name in sorted(self._emptying):
            removed = self.cluster.remove_pods_of(name)
            if removed:
                done.append(f"removed {removed} pods of {name}")
        self._emptying &= {str(node["metadata"]["name"]) for node in nodes}
        return done


def _kind(node: Object) -> str:
    labels = node["metadata"]["labels"]
    owner = labels.get("karpenter.sh/nodepool") or labels.get("eks.amazonaws.com/nodegroup")
    capacity = labels.get("karpenter.sh/capacity-type", "on-demand")
    return f"{owner} {labels.get('node.kubernetes.io/instance-type')} {capacity}"


class KubernetesNodes:
    """:class:`NodeCluster` on a real API server."""

    def __init__(self, kubeconfig: str) -> None:
        from kubernetes import client, config

        settings = client.Configuration()
        config.load_kube_config(kubeconfig, client_configuration=settings)
        settings.retries = 0  # the next step is the retry
        api = client.ApiClient(settings)
        self._core, self._custom = client.CoreV1Api(api), client.CustomObjectsApi(api)

    def nodes(self) -> list[Object]:
        """All nodes."""
        return list(ask(self._core.list_node, passing=())["items"])

    def node_claims(self) -> list[Object]:
        """All NodeClaims; none while Karpenter's CRDs are not there."""
        return list(ask(self._custom.list_cluster_custom_object, "karpenter.sh", "v1", "nodeclaims").get("items", []))

    def create_node(self, node: Object) -> None:
        """Create the Node with its status, as a kubelet does."""
        ask(self._core.create_node, node, passing=())

    def delete_node(self, name: str) -> None:
        """Delete the Node; one that is gone is fine."""
        ask(self._core.delete_node, name)

    def remove_pods_of(self, node: str) -> int:
        """Delete the pods bound to ``node`` without waiting for them; returns how many."""
        found = ask(self._core.list_pod_for_all_namespaces, field_selector=f"spec.nodeName={node}")
        for pod in found["items"]:
            metadata = pod["metadata"]
            ask(self._core.delete_namespaced_pod, metadata["name"], metadata["namespace"], grace_period_seconds=0)
        return len(found["items"])


def instance_lister(endpoint: str, region: str) -> Callable[[], list[Object]]:
    """A function that lists the region's living instances with one DescribeInstances."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    from lab.cloud.seed import lab_session

    ec2 = lab_session().client(
        "ec2",
        region_name=region,
        endpoint_url=endpoint,
        config=Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 1}),
    )

    def living() -> list[Object]:
        try:
            answer = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": list(ALIVE)}])
        except (BotoCoreError, ClientError) as error:
            raise UnavailableError(f"the emulator can't be asked ({type(error).__name__})") from error
        return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]

    return living


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / "state.json" if folder.is_dir() else folder
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        sys.exit(f"bridge: {path} can't be read ({error}): start the lab with `make lab-up`")


def main() -> None:
    """Bridge every region of the lab until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder, which holds state.json")
    parser.add_argument("--boot-seconds", type=float, default=float(os.environ.get("BOOT_SECONDS", BOOT_SECONDS)))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    state, book, stop = _read_state(arguments.state), load_aws_book(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = []
    for region, where in state["regions"].items():
        bridge = RegionBridge(
            region,
            KubernetesNodes(where["kubeconfig"]),
            instance_lister(state["aws_endpoint"], region),
            lambda instance_type: group_resources(book, instance_type),
            arguments.boot_seconds,
        )
        resizes = RegionResizes(f"{region} resizes", BoundPods(where["kubeconfig"]))
        threads += [
            threading.Thread(target=_run_or_end, args=(part, stop), name=part.region) for part in (bridge, resizes)
        ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if _failed:
        sys.exit(1)


_failed: list[str] = []


def _run_or_end(part: Part, stop: threading.Event) -> None:
    """A defect in one region ends the whole bridge, so that the lab names it as crashed instead of going on lame."""
    try:
        run(part, stop)
    except Exception:
        log.exception("%s: the bridge has failed", part.region)
        _failed.append(part.region)
        stop.set()


if __name__ == "__main__":
    main()
