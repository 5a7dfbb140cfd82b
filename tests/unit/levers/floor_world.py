"""A world for the floor: node groups of an EKS of a few lines, a scheduler that follows nodeSelectors, rolling updates.

Every write is recorded in ``writes``, in order; the world settles whenever somebody waits for it.
"""

# ruff: noqa: N803 - AWS names its parameters so

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

from include.clients.aws import AwsRefusedError
from include.estate import load_estate
from include.levers.consolidation.settings import ConsolidationSettings
from include.levers.nodes.scheduling import NODE_GROUP, wants
from include.prices import load_aws_book
from include.rollout.lever import Target
from tests.unit.levers import fake_cluster
from tests.unit.levers.spot_world import NOW, STAMP, condition

REGION = "ap-northeast-1"
OLD, SMALL = "akidb-on-demand", "akidb-system"
Object = dict[str, Any]


class FakeAws:
    """EKS with its Auto Scaling groups, whose instances follow a size at once."""

    def __init__(self, writes: list[str]) -> None:
        self.writes, self.made = writes, 0
        self.asked: set[tuple[str, str]] = set()
        self.groups: dict[str, Object] = {}
        self.instances: dict[str, list[str]] = {}
        self.slow = 0  # so many looks at a group that comes or goes say that it does
        self.put(
            nodegroupName=OLD,
            scalingConfig={"minSize": 2, "maxSize": 8, "desiredSize": 2},
            instanceTypes=["c7g.2xlarge"],
            subnets=["subnet-a", "subnet-c"],
            nodeRole="arn:aws:iam::123456789012:role/akidb",
            amiType="AL2023_ARM_64_STANDARD",
            version="1.36",
            releaseVersion="1.36.3-20261101",
            capacityType="ON_DEMAND",
            labels={"team": "search"},
            tags={"CostCenter": "akidb", "aws:cloudformation:stack-name": "x"},
            diskSize=20,
            status="ACTIVE",
        )

    def put(self, **group: Any) -> None:
        name = group["nodegroupName"]
        resources = {"autoScalingGroups": [{"name": f"eks-{name}"}]}
        self.groups[name] = {"resources": resources, "health": {"issues": []}, "taints": []} | group
        self._scale(name)

    def _scale(self, name: str) -> None:
        found, wanted = self.instances.setdefault(name, []), self.groups[name]["scalingConfig"]["desiredSize"]
        while len(found) < wanted:
            self.made += 1
            found.append(f"i-{self.made}")
        del found[wanted:]

    def call(self, service: str, operation: str, **p: Any) -> Any:
        self.asked.add((service, operation))
        return getattr(self, f"_{operation}")(**p)

    def _known(self, name: str) -> Object:
        if name not in self.groups:
            raise AwsRefusedError(f"No node group found for name: {name}.", "ResourceNotFoundException")
        return self.groups[name]

    def _describe_nodegroup(self, clusterName: str, nodegroupName: str) -> Object:
        found = self._known(nodegroupName)
        if found["status"] in ("CREATING", "DELETING"):
            self.slow -= 1
            if self.slow < 0 and found["status"] == "DELETING":
                del self.groups[nodegroupName]
                return {"nodegroup": copy.deepcopy(self._known(nodegroupName))}
            found["status"] = "ACTIVE" if self.slow < 0 else found["status"]
        return {"nodegroup": copy.deepcopy(found)}

    def _create_nodegroup(self, clusterName: str, nodegroupName: str, **asked: Any) -> Object:
        if nodegroupName in self.groups:
            raise AwsRefusedError("NodeGroup already exists", "ResourceInUseException")
        self.put(nodegroupName=nodegroupName, status="CREATING", **asked)
        self.writes.append(f"create {nodegroupName} {len(self.instances[nodegroupName])} {asked['instanceTypes'][0]}")
        return {"nodegroup": copy.deepcopy(self.groups[nodegroupName])}

    def _delete_nodegroup(self, clusterName: str, nodegroupName: str) -> Object:
        if self._known(nodegroupName)["status"] in ("CREATING", "DELETING"):
            raise AwsRefusedError("in use", "ResourceInUseException")
        self.groups[nodegroupName]["status"] = "DELETING"
        self.instances[nodegroupName] = []
        self.writes.append(f"delete {nodegroupName}")
        return {"nodegroup": copy.deepcopy(self.groups[nodegroupName])}

    def _update_nodegroup_config(self, clusterName: str, nodegroupName: str, scalingConfig: dict[str, int]) -> Object:
        sizes = {**self._known(nodegroupName)["scalingConfig"], **scalingConfig}
        assert sizes["minSize"] <= sizes["desiredSize"] <= sizes["maxSize"]
        self.groups[nodegroupName]["scalingConfig"] = sizes
        self._scale(nodegroupName)
        self.writes.append(f"size {nodegroupName} {json.dumps(scalingConfig, sort_keys=True)}")
        return {}

    def _describe_auto_scaling_groups(self, AutoScalingGroupNames: list[str]) -> Object:
        found = self.instances[AutoScalingGroupNames[0].removeprefix("eks-")]
        return {"AutoScalingGroups": [{"Instances": [{"InstanceId": i} for i in found]}]}

    def _terminate_instance_in_auto_scaling_group(
        self, InstanceId: str, ShouldDecrementDesiredCapacity: bool
    ) -> Object:
        name = next(name for name, found in self.instances.items() if InstanceId in found)
        sizes = self.groups[name]["scalingConfig"]
        assert sizes["desiredSize"] > sizes["minSize"]
        sizes["desiredSize"] -= 1
        self.instances[name].remove(InstanceId)
        self.writes.append(f"terminate {InstanceId}")
        return {}


class FakeCluster(fake_cluster.FakeCluster):
    """Nodes of the groups; Deployments whose pods are replaced, one after the other, when their template changes."""

    def __init__(self, writes: list[str], cloud: FakeAws) -> None:
        super().__init__(writes)
        self.cloud, self.book = cloud, load_aws_book()
        self.moved: list[tuple[str, bool]] = []  # each rolled pod, and whether all the others were ready
        self.api.may_evict = lambda key: key in self.objects  # type: ignore[method-assign]
        tied = {NODE_GROUP: OLD}
        self.put(deployment("coredns", "kube-system", 2, "100m", "70Mi", tied))
        self.put(deployment("karpenter", "karpenter", 2, "250m", "256Mi"))
        self.put(deployment("traffic-predictor", "akidb", 2, "500m", "1Gi"))
        for name, cpu in (("aws-node", "50m"), ("kube-proxy", "100m")):
            self.put(daemon_set(name, cpu))
        self.settle()
        self.settle()

    def nodes(self, name: str) -> list[Object]:
        found = [o for (kind, *_), o in self.objects.items() if kind == "Node"]
        return [node for node in found if node["metadata"]["labels"][NODE_GROUP] == name]

    def pods(self, app: str) -> list[str]:
        """The group of each pod's node, empty for one that waits."""
        found = [o for (kind, _, name), o in self.objects.items() if kind == "Pod" and name.startswith(f"{app}-")]
        where = [self.objects.get(("Node", "", pod["spec"].get("nodeName", ""))) for pod in found]
        return sorted(node["metadata"]["labels"][NODE_GROUP] if node else "" for node in where)

    def settle(self) -> None:
        super().settle()
        self._follow_cloud()
        for key in [k for k in self.objects if k[0] == "Deployment"]:
            self._roll(self.objects[key])

    def _follow_cloud(self) -> None:
        wanted = {i: name for name, found in self.cloud.instances.items() for i in found}
        for key in [k for k in self.objects if k[0] == "Node" and k[2] not in wanted]:
            del self.objects[key]
            for pod in [k for k, o in self.objects.items() if o.get("spec", {}).get("nodeName") == key[2]]:
                del self.objects[pod]
        for number, (instance, name) in enumerate(wanted.items()):
            if ("Node", "", instance) not in self.objects:
                labels = self.cloud.groups[name].get("labels", {})
                kind = self.cloud.groups[name]["instanceTypes"][0]
                self.put(node(instance, name, "ac"[number % 2], labels, self.book.details(kind)))

    def _roll(self, live: Object) -> None:
        space, name, spec = live["metadata"]["namespace"], live["metadata"]["name"], live["spec"]["template"]["spec"]
        mine = {
            k: o for k, o in self.objects.items() if k[0] == "Pod" and k[1] == space and k[2].startswith(f"{name}-")
        }
        selector = spec.get("nodeSelector") or {}
        for pod in mine.values():
            if not pod["spec"].get("nodeName"):
                self._bind(pod)
        old = [k for k, o in mine.items() if o["spec"].get("nodeSelector", {}) != selector]
        new = {k: o for k, o in mine.items() if k not in old}
        ready = [k for k, o in new.items() if o["spec"].get("nodeName")]
        replicas = live["spec"]["replicas"]
        if old and len(ready) == len(new) and len(mine) > replicas:
            self.moved.append((old[0][2], len(mine) - 1 >= replicas))
            del self.objects[old[0]]
        elif len(new) < replicas and len(ready) == len(new):
            made = self.put(
                pod_of(live, next(n for n in range(99) if ("Pod", space, f"{name}-{n}") not in self.objects))
            )
            self._bind(made)
        status = dict.fromkeys(("updatedReplicas", "readyReplicas", "availableReplicas"), len(ready))
        live["status"] |= {"replicas": len(mine)} | status

    def _bind(self, pod: Object) -> None:
        nodes = [o for (kind, *_), o in self.objects.items() if kind == "Node"]
        free = [n for n in nodes if not n["spec"].get("unschedulable") and wants(pod["spec"], n["metadata"]["labels"])]
        if free:
            counts = {n["metadata"]["name"]: 0 for n in free}
            for (kind, *_), thing in self.objects.items():
                if kind == "Pod" and thing["spec"].get("nodeName") in counts:
                    counts[thing["spec"]["nodeName"]] += 1
            pod["spec"]["nodeName"] = min(counts, key=lambda name: (counts[name], name))
            pod["status"] = {"phase": "Running", "conditions": [condition("PodScheduled"), condition("Ready")]}


def node(name: str, group: str, zone: str, labels: Object, kind: Any) -> Object:
    allocatable = {"cpu": str(kind.allocatable_cpu), "memory": f"{kind.allocatable_memory_mib}Mi", "pods": "29"}
    known = {
        **labels,
        NODE_GROUP: group,
        "eks.amazonaws.com/capacityType": "ON_DEMAND",
        "node.kubernetes.io/instance-type": kind.name,
        "topology.kubernetes.io/zone": f"{REGION}{zone}",
        "kubernetes.io/arch": kind.arch,
        "kubernetes.io/os": "linux",
    }
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": known},
        "spec": {"providerID": f"aws:///{REGION}{zone}/{name}"},
        "status": {
            "capacity": {"cpu": str(kind.vcpu)},
            "allocatable": allocatable,
            "conditions": [condition("Ready")],
        },
    }


def deployment(name: str, space: str, replicas: int, cpu: str, memory: str, selector: Object | None = None) -> Object:
    containers = [{"name": name, "image": name, "resources": {"requests": {"cpu": cpu, "memory": memory}}}]
    spec: Object = {"containers": containers} | ({"nodeSelector": selector} if selector else {})
    fields: Object = {"f:spec": {"f:template": {"f:spec": {"f:nodeSelector": {}}}}}
    owner = {"manager": "eks", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1"}
    return {
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": space,
            "generation": 1,
            "managedFields": [owner | {"fieldsV1": fields}] if selector else [],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
        "status": {"observedGeneration": 1},
    }


def daemon_set(name: str, cpu: str) -> Object:
    template = {"spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": cpu}}}]}}
    return {"kind": "DaemonSet", "metadata": {"name": name, "namespace": "kube-system"}, "spec": {"template": template}}


def pod_of(live: Object, number: int) -> Object:
    name, space = live["metadata"]["name"], live["metadata"]["namespace"]
    owner = {"kind": "ReplicaSet", "name": f"{name}-5d7b9", "controller": True}
    metadata = {"name": f"{name}-{number}", "namespace": space, "labels": {"app": name}, "creationTimestamp": STAMP}
    waits = condition("PodScheduled", "False") | {"message": "0/2 nodes are available"}
    return {
        "kind": "Pod",
        "metadata": metadata | {"ownerReferences": [owner]},
        "spec": copy.deepcopy(live["spec"]["template"]["spec"]),
        "status": {"phase": "Pending", "conditions": [waits]},
    }


class World:
    """Everything of one region, and the target that the lever is given."""

    def __init__(self, **settings: Any) -> None:
        self.estate, self.writes = load_estate(), fake_cluster.Writes()
        self.aws = FakeAws(self.writes)
        self.cluster = FakeCluster(self.writes, self.aws)
        self.settings = {"converge_timeout_seconds": 60, "right_size_floor": True} | settings

    @property
    def target(self) -> Target:
        """The region as a task sees it."""
        clients = SimpleNamespace(kubernetes=self.cluster, aws=self.aws, prometheus=None)
        return Target(REGION, self.estate, "run", ConsolidationSettings.model_validate(self.settings), clients)

    def now(self) -> float:
        """Unix seconds: the cluster's time."""
        return NOW + self.cluster.seconds
