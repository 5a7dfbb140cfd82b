"""A small world for the spot lever: one cluster with a scheduler and a Karpenter of a few lines, AWS and Prometheus.

Every write is recorded in ``writes``, in order. Nothing waits: the world settles whenever somebody waits for it.
"""

# ruff: noqa: N803 - AWS names its parameters so

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from include.clients.access import Access
from include.clients.aws import AwsRefusedError
from include.clients.kubernetes import KINDS, ConflictError, Kind
from include.clients.prometheus import Series
from include.estate import Estate, load_estate
from include.levers.node_costs import SPREAD
from include.levers.spot_capacity.settings import SpotSettings
from include.rollout.lever import Target
from tests.unit.levers import fake_cluster

REGION = "ap-northeast-1"
ZONE = "ap-northeast-1a"
NOW = 1_800_000_000.0  # 2027-01-15 08:00 UTC
STAMP = "2027-01-15T07:59:50Z"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:123456789012:akidb-{REGION}"
PODS_PER_NODE = 6
Object = dict[str, Any]


def condition(kind: str, status: str = "True") -> Object:
    return {"type": kind, "status": status, "lastTransitionTime": STAMP}


class FakeCluster(fake_cluster.FakeCluster):
    """A cluster with AkiDB on the nodes of the cloud; ``settle`` does the work of scheduler and Karpenter."""

    def __init__(self, estate: Estate, writes: list[str], cloud: FakeAws) -> None:
        super().__init__(writes)
        self.estate, self.cloud = estate, cloud
        self.capacity = "spot"  # what the spot pool gets; "on-demand" while the market is empty
        self.budgets_without_room = 0  # so many evictions are refused
        self.conflict: ConflictError | None = None
        self.reacts = True  # to an interruption notice
        self.launched: dict[tuple[str, str], int] = {}
        self.hosted = list(estate.workloads)
        self.api.may_evict, self.api.evicted = self._may_evict, self._evicted  # type: ignore[method-assign]
        for name, workload in estate.workloads.items():
            self.put(deployment(name, estate.namespace, workload.replicas))
            self.put(replica_set(name, estate.namespace))
            self.put(budget(name, estate.namespace))
        for instance in cloud.instances:
            self.put(group_node(instance))
        self.put(system_pod("coredns-a", "i-1"))
        self.put(system_pod("coredns-b", "i-2"))
        self.settle()

    # What a test decides -----------------------------------------------------------------------------------------

    def apply(self, body: Object, manager: str, dry_run: bool = False, force: bool = False) -> Object:
        if self.conflict:
            raise self.conflict
        return super().apply(body, manager, dry_run, force)

    def _may_evict(self, key: fake_cluster.Key) -> bool:
        self.budgets_without_room -= 1
        return self.budgets_without_room < 0

    def _evicted(self, key: fake_cluster.Key) -> None:
        free = [n for n in self.group_nodes() if not n["spec"].get("unschedulable")]
        self.objects[key]["spec"]["nodeName"] = free[0]["metadata"]["name"]

    def watch(self, kind: Kind, timeout: float, fields: str = "", **_: Any) -> Iterator[tuple[str, Object]]:  # type: ignore[override]
        node = self.objects["Node", "", fields.removeprefix("metadata.name=")]
        yield "ADDED", node
        if self.cloud.notices and self.reacts:
            yield "MODIFIED", node
            node["spec"]["taints"] = [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]
            yield "MODIFIED", node

    # The controllers ---------------------------------------------------------------------------------------------

    def group_nodes(self) -> list[Object]:
        every = [o for (k, *_), o in self.objects.items() if k == "Node"]
        nodes = [node for node in every if "karpenter.sh/nodepool" not in labels_of(node)]
        return [node for node in nodes if labels_of(node).get("eks.amazonaws.com/nodegroup") != "akidb-system"]

    def settle(self) -> None:
        """Nodes follow the cloud and the pools, pods follow their constraint."""
        super().settle()
        self._follow_cloud()
        for kind, _, name in [*self.objects]:
            if kind in ("NodePool", "EC2NodeClass"):
                self.objects[kind, "", name]["status"] = {"conditions": [condition("Ready")]}
        pools = {name: o for (k, _, name), o in self.objects.items() if k == "NodePool"}
        domains = {d: name for name, pool in pools.items() for d in domains_of(pool)}
        if not self._spread():
            domains = {}
        for name in [n["metadata"]["name"] for n in self._karpenter_nodes()]:
            node = self.objects["Node", "", name]
            interrupted = any(t["key"] == "karpenter.sh/disrupted" for t in node["spec"].get("taints", []))
            if interrupted or domains.get(labels_of(node)[SPREAD]) != labels_of(node)["karpenter.sh/nodepool"]:
                del self.objects["Node", "", name], self.objects["NodeClaim", "", name]
        for domain, pool in sorted(domains.items()):
            self._launch(domain, pool)
        self._schedule(domains)

    def _karpenter_nodes(self, domain: str = "") -> list[Object]:
        found = [o for (k, *_), o in self.objects.items() if k == "Node" and "karpenter.sh/nodepool" in labels_of(o)]
        return [node for node in found if domain in ("", labels_of(node)[SPREAD])]

    def _spread(self) -> bool:
        return any(is_spread(o) for (k, *_), o in self.objects.items() if k == "Deployment")

    def _follow_cloud(self) -> None:
        for node in self.group_nodes():
            if node["metadata"]["name"] not in self.cloud.instances:
                del self.objects["Node", "", node["metadata"]["name"]]
        for instance in self.cloud.instances:
            if ("Node", "", instance) not in self.objects:
                self.put(group_node(instance))

    def _launch(self, domain: str, pool: str) -> None:
        capacity = self.capacity if pool == "akidb-spot" else "on-demand"
        while len(self._karpenter_nodes(domain)) < 2:
            self.launched[domain, pool] = self.launched.get((domain, pool), 0) + 1
            name = f"{domain}-{pool}-{self.launched[domain, pool]}"
            self.put(karpenter_node(name, domain, pool, capacity))
            metadata = {"name": name, "labels": {"karpenter.sh/nodepool": pool, SPREAD: domain}}
            status = {"nodeName": name, "conditions": [condition("Ready")]}
            self.put({"kind": "NodeClaim", "metadata": metadata, "spec": {}, "status": status})

    def _schedule(self, domains: Mapping[str, str]) -> None:
        """Each Deployment's pods to the nodes of its constraint, or to the group's; what finds no place waits."""
        group = sorted(n["metadata"]["name"] for n in self.group_nodes() if not n["spec"].get("unschedulable"))
        slots = [name for name in group for _ in range(PODS_PER_NODE)]
        for name in self.hosted:
            live = self.objects.get(("Deployment", self.estate.namespace, name))
            spread = live is not None and is_spread(live)
            if not live:
                self._remove_beyond(name, 0)
            if live and not (spread and not domains):
                self._place(live, sorted(domains) if spread else [], slots)

    def _place(self, live: Object, domains: list[str], slots: list[str]) -> None:
        name, replicas = live["metadata"]["name"], live["spec"]["replicas"]
        self._remove_beyond(name, replicas)
        placed = 0
        for n in range(replicas):
            where = ""
            if domains:
                pair = self._karpenter_nodes(domains[n % len(domains)])
                where = pair[(n // len(domains)) % 2]["metadata"]["name"]
            elif slots:
                where = slots.pop(0)
            placed += bool(where)
            self.put(own_pod(f"{name}-{n}", name, self.estate.namespace, where))
        ready = dict.fromkeys(("readyReplicas", "availableReplicas"), placed)
        live["status"] |= {"replicas": replicas, "updatedReplicas": replicas} | ready

    def _remove_beyond(self, name: str, replicas: int) -> None:
        mine = [k for k, o in self.objects.items() if k[0] == "Pod" and is_numbered(k[2], name) and labels_of(o)]
        for key in mine:
            if int(key[2].rpartition("-")[2]) >= replicas:
                del self.objects[key]


def is_spread(live: Object) -> bool:
    """Whether a Deployment's pods run on nodes with a capacity domain only."""
    constraints = live["spec"]["template"]["spec"].get("topologySpreadConstraints") or []
    return any(c["topologyKey"] == SPREAD and c["whenUnsatisfiable"] == "DoNotSchedule" for c in constraints)


def is_numbered(pod: str, name: str) -> bool:
    base, _, number = pod.rpartition("-")
    return base == name and number.isdigit()


def labels_of(thing: Object) -> Object:
    return thing["metadata"].get("labels", {})


def domains_of(pool: Object) -> list[str]:
    requirements = pool["spec"]["template"]["spec"]["requirements"]
    return next(r["values"] for r in requirements if r["key"] == SPREAD)


def deployment(name: str, namespace: str, replicas: int) -> Object:
    status = {"observedGeneration": 1} | dict.fromkeys(
        ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas
    )
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "generation": 1, "managedFields": []},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container()]}},
        },
        "status": status,
    }


def container(cpu: str = "1", memory: str = "2Gi") -> Object:
    return {"name": "akidb", "image": "akidb/akidb:1", "resources": {"requests": {"cpu": cpu, "memory": memory}}}


def hashed(name: str) -> str:
    """The name of a Deployment's ReplicaSet."""
    return f"{name}-5d7b9"


def replica_set(name: str, namespace: str) -> Object:
    metadata = {"name": hashed(name), "namespace": namespace, "ownerReferences": [owner(name, "Deployment")]}
    return {"kind": "ReplicaSet", "metadata": metadata, "spec": {}}


def owner(name: str, kind: str = "ReplicaSet") -> Object:
    return {"kind": kind, "name": name, "controller": True}


def budget(name: str, namespace: str, **spec: Any) -> Object:
    return {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": name}}, **(spec or {"maxUnavailable": "25%"})},
        "status": {"disruptionsAllowed": 4, "currentHealthy": 15, "expectedPods": 15},
    }


def workload_pod(name: str, app: str, namespace: str, node: str, created: str = STAMP) -> Object:
    placed = "True" if node else "False"
    metadata = {"name": name, "namespace": namespace, "labels": {"app": app}, "creationTimestamp": created}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": "Running", "conditions": [condition("PodScheduled", placed), condition("Ready", placed)]},
    }


def made_pod(name: str, app: str, namespace: str, node: str, created: str = STAMP) -> Object:
    """A pod that a ReplicaSet has made, and would make again."""
    pod = workload_pod(name, app, namespace, node, created)
    pod["metadata"]["ownerReferences"] = [owner(hashed(app))]
    return pod


def own_pod(name: str, app: str, namespace: str, node: str) -> Object:
    """A workload's pod, waiting where no node takes it."""
    pod = made_pod(name, app, namespace, node)
    if not node:
        pod["status"]["phase"] = "Pending"
        pod["status"]["conditions"][0]["message"] = "0/5 nodes are available: 5 Insufficient memory."
    return pod


def system_pod(name: str, node: str) -> Object:
    return made_pod(name, "coredns", "kube-system", node)


def node(name: str, labels: Object, cpu: str = "8") -> Object:
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": ZONE, **labels}},
        "spec": {"providerID": f"aws:///{ZONE}/{name}"},
        "status": {
            "capacity": {"cpu": cpu},
            "allocatable": {"cpu": "7910m", "memory": "14103Mi"},
            "conditions": [condition("Ready")],
        },
    }


def group_node(instance: str) -> Object:
    labels = {
        "eks.amazonaws.com/nodegroup": "akidb-on-demand",
        "eks.amazonaws.com/capacityType": "ON_DEMAND",
        "node.kubernetes.io/instance-type": "c7g.2xlarge",
    }
    return node(instance, labels)


def karpenter_node(name: str, domain: str, pool: str, capacity: str) -> Object:
    labels = {
        "karpenter.sh/nodepool": pool,
        "karpenter.sh/capacity-type": capacity,
        "node.kubernetes.io/instance-type": "c6g.xlarge",
        SPREAD: domain,
    }
    return node(name, labels, "4")


class FakeAws:
    """Answers of the services that the lever calls."""

    def __init__(self, writes: list[str]) -> None:
        self.writes = writes
        self.asked: set[tuple[str, str]] = set()  # service and operation
        self.instances = [f"i-{n}" for n in range(1, 6)]
        self.scaling = {"minSize": 5, "maxSize": 8, "desiredSize": 5}
        self.queue: dict[str, str] | None = {
            "MessageRetentionPeriod": "345600",
            "VisibilityTimeout": "30",
            "SqsManagedSseEnabled": "true",
        }
        self.rules: dict[str, Object] = {}
        self.notices: list[Object] = []
        self.reserved: list[Object] = []
        self.savings_plans: list[Object] = []
        self.spot_price = "0.1"
        self.busy = 0  # so many updates of the node group are refused

    def call(self, service: str, operation: str, **p: Any) -> Any:
        self.asked.add((service, operation))
        return getattr(self, f"_{service}_{operation}")(**p)

    def pages(self, service: str, operation: str, key: str, **p: Any) -> Iterator[Any]:
        yield from self.call(service, operation, **p)[key]

    def _sts_get_caller_identity(self) -> Object:
        return {"Arn": "arn:aws:iam::123456789012:user/x", "Account": "123456789012"}

    def _sqs_get_queue_url(self, QueueName: str) -> Object:
        if self.queue is None:
            raise AwsRefusedError("no queue", "QueueDoesNotExist")
        return {"QueueUrl": f"http://sqs/{QueueName}"}

    def _sqs_get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> Object:
        return {"Attributes": {"QueueArn": QUEUE_ARN, **(self.queue or {})}}

    def _sqs_create_queue(self, QueueName: str, Attributes: dict[str, str], tags: dict[str, str]) -> Object:
        self.writes.append("create queue")
        self.queue = dict(Attributes)
        return {}

    def _sqs_set_queue_attributes(self, QueueUrl: str, Attributes: dict[str, str]) -> Object:
        self.writes.append(f"set queue {','.join(sorted(Attributes))}")
        assert self.queue is not None
        self.queue = {k: v for k, v in {**self.queue, **Attributes}.items() if v}
        return {}

    def _sqs_delete_queue(self, QueueUrl: str) -> Object:
        self.writes.append("delete queue")
        self.queue = None
        return {}

    def _sqs_send_message(self, QueueUrl: str, MessageBody: str) -> Object:
        self.writes.append("send notice")
        self.notices.append(json.loads(MessageBody))
        return {}

    def _events_describe_rule(self, Name: str) -> Object:
        if Name not in self.rules:
            raise AwsRefusedError("no rule", "ResourceNotFoundException")
        return {"EventPattern": self.rules[Name]["pattern"]}

    def _events_list_targets_by_rule(self, Rule: str) -> Object:
        return {"Targets": self.rules[Rule]["targets"]}

    def _events_put_rule(self, Name: str, EventPattern: str, State: str) -> Object:
        self.writes.append(f"put rule {Name}")
        self.rules[Name] = {"pattern": EventPattern, "targets": []}
        return {}

    def _events_put_targets(self, Rule: str, Targets: list[Object]) -> Object:
        self.rules[Rule]["targets"] = Targets
        return {"FailedEntryCount": 0}

    def _events_remove_targets(self, Rule: str, Ids: list[str]) -> Object:
        self.rules[Rule]["targets"] = [t for t in self.rules[Rule]["targets"] if t["Id"] not in Ids]
        return {}

    def _events_delete_rule(self, Name: str) -> Object:
        assert not self.rules[Name]["targets"]
        self.writes.append(f"delete rule {Name}")
        del self.rules[Name]
        return {}

    def _eks_describe_nodegroup(self, clusterName: str, nodegroupName: str) -> Object:
        groups = [{"name": "asg"}]
        return {
            "nodegroup": {
                "scalingConfig": dict(self.scaling),
                "status": "ACTIVE",
                "resources": {"autoScalingGroups": groups},
            }
        }

    def _eks_update_nodegroup_config(
        self, clusterName: str, nodegroupName: str, scalingConfig: dict[str, int]
    ) -> Object:
        if self.busy:
            self.busy -= 1
            raise AwsRefusedError("busy", "ResourceInUseException")
        self.writes.append(f"resize {json.dumps(scalingConfig, sort_keys=True)}")
        self.scaling |= scalingConfig
        while len(self.instances) < self.scaling["desiredSize"]:
            self.instances.append(f"i-new-{len(self.instances)}")
        return {}

    def _autoscaling_describe_auto_scaling_groups(self, AutoScalingGroupNames: list[str]) -> Object:
        return {"AutoScalingGroups": [{"Instances": [{"InstanceId": i} for i in self.instances]}]}

    def _autoscaling_terminate_instance_in_auto_scaling_group(
        self, InstanceId: str, ShouldDecrementDesiredCapacity: bool
    ) -> Object:
        assert ShouldDecrementDesiredCapacity
        assert self.scaling["desiredSize"] > self.scaling["minSize"]
        self.writes.append(f"terminate {InstanceId}")
        self.instances.remove(InstanceId)
        self.scaling["desiredSize"] -= 1
        return {}

    def _ec2_describe_reserved_instances(self, Filters: list[Object]) -> Object:
        return {"ReservedInstances": self.reserved}

    def _savingsplans_describe_savings_plans(self, states: list[str]) -> Object:
        return {"savingsPlans": self.savings_plans}

    def _ec2_describe_spot_price_history(self, InstanceTypes: list[str], **_: Any) -> Object:
        entry = {"AvailabilityZone": ZONE, "SpotPrice": self.spot_price, "Timestamp": 1}
        return {
            "SpotPriceHistory": [{"InstanceType": name, **entry} for name in InstanceTypes] if self.spot_price else []
        }


class FakePrometheus:
    """A healthy service by default; each attribute can be set to something else."""

    url = "http://prom"
    access = Access("http://prom")

    def __init__(self) -> None:
        self.requests: float | None = 1000.0
        self.errors = 0.0
        self.failing_slots: dict[float, float] = {}
        self.buckets: dict[float, float] | None = {0.01: 500.0, 0.025: 990.0, 0.05: 1000.0, math.inf: 1000.0}
        self.up: tuple[tuple[float, float], ...] = ((NOW - 20, 1.0), (NOW - 10, 1.0), (NOW, 1.0))
        self.notices: tuple[tuple[float, float], ...] = ()
        self.spot_nodes_of_the_day: tuple[str, ...] = ()
        self.missing: set[str] = set()
        self.labelled = True  # whether requests carry the status label of the estate

    def series_exists(self, selector: str) -> bool:
        if not self.labelled and '!=""' in selector:
            return False
        return selector.split("{", 1)[0] not in self.missing

    def value(self, expression: str) -> float | None:
        if expression.startswith("max(up"):
            return self.up[-1][1] if self.up else None
        if "unless" in expression or (not self.labelled and "status" in expression):
            return None  # every series is an old one
        return self.errors if "status=~" in expression else self.requests

    def raw(self, selector: str, seconds: float) -> list[Series]:
        points = self.up if selector.startswith("up{") else self.notices
        kept = tuple(p for p in points if p[0] >= NOW - seconds)
        return [Series({}, kept)] if kept else []

    def query(self, expression: str) -> list[Any]:
        return [SimpleNamespace(labels={"node_name": name}) for name in self.spot_nodes_of_the_day]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        count = round((end - start) / step) + 1
        slots = [start + n * step for n in range(count)]
        if "status=~" in expression:
            return [Series({}, tuple(self.failing_slots.items()))] if self.failing_slots else []
        return [Series({}, tuple((at, 100.0) for at in slots))] if self.requests else []

    def bucket_increases(self, histogram: str, matchers: str, seconds: float) -> dict[float, float] | None:
        return self.buckets


class World:
    """Everything of one region, and the target that a lever is given."""

    def __init__(self, **settings: Any) -> None:
        self.estate = load_estate()
        self.writes = fake_cluster.Writes()
        self.aws = FakeAws(self.writes)
        self.cluster = FakeCluster(self.estate, self.writes, self.aws)
        self.prometheus = FakePrometheus()
        chosen = {"steps_percent": (30, 50, 70), "domains": 4, "converge_timeout_seconds": 60} | settings
        clients = SimpleNamespace(kubernetes=self.cluster, aws=self.aws, prometheus=self.prometheus)
        self.target = Target(REGION, self.estate, "run", SpotSettings.model_validate(chosen), clients)

    def with_estate(self, **changes: Any) -> None:
        """Replace parts of the estate."""
        self.estate = self.estate.model_copy(update=changes)
        clients = self.target.clients
        self.target = Target(REGION, self.estate, "run", self.target.settings, clients)


__all__ = ["KINDS", "NOW", "QUEUE_ARN", "REGION", "World"]
