"""A staging namespace for the lab: a workload of each kind that sleeps, and the rights that the lever needs there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes.dynamic import DynamicClient

from include.clients.kubernetes import DEPLOYMENT, STATEFUL_SET, Cluster
from include.estate import Estate
from include.levers.spot_capacity.wanted import node_class
from lab.cluster.workloads import ROLES, api_client, apply_all

STAGING = "akidb-staging"
POOL = "of-staging"
PODS = {"web": 3, "api": 2, "store": 2}  # KEDA's cron trigger asks for three of web
RBAC = "rbac.authorization.k8s.io"


def build_staging(kubeconfig: Path) -> None:
    """Make it as the lab's admin, wherever its pods find room; safe to run again."""
    rights = [_namespace(), binding("akidb-rollout")]
    apply_all(DynamicClient(api_client(kubeconfig)), [*rights, *_workloads("100m", {})])


def build_on_own_nodes(kubeconfig: Path, estate: Estate, region: str, user: str) -> None:
    """The same on nodes of a NodePool of its own, with a budget that allows no eviction.

    ``user`` gets the rights of the lever's file and no other.
    """
    rights = [_namespace(), binding(user), *_rights_of(user)]
    selector = {"nodeSelector": {"karpenter.sh/nodepool": POOL}, "tolerations": [{"key": POOL, "operator": "Exists"}]}
    workloads = _workloads("700m", selector)
    apply_all(DynamicClient(api_client(kubeconfig)), [*rights, *_pool(estate, region), *workloads, _budget()])


def ready(cluster: Cluster) -> dict[str, int]:
    """Ready pods of each workload."""
    things = [*cluster.list(DEPLOYMENT, STAGING), *cluster.list(STATEFUL_SET, STAGING)]
    return {thing["metadata"]["name"]: thing.get("status", {}).get("readyReplicas", 0) for thing in things}


def behind(cluster: Cluster, wanted: Mapping[str, int]) -> list[str]:
    """Workloads without as many ready pods as wanted."""
    return [f"{name}: {n} of {wanted[name]} ready" for name, n in ready(cluster).items() if n != wanted[name]]


def _namespace() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STAGING}}


def binding(user: str) -> dict[str, Any]:
    """What docs/how-to/nonprod_hours.md has a person make in each namespace."""
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "akidb-rollout-nonprod-namespace"}
    subject = {"apiGroup": RBAC, "kind": "User", "name": user}
    return _named(f"{RBAC}/v1", "RoleBinding", f"{user}-nonprod-hours") | {"roleRef": role, "subjects": [subject]}


def _rights_of(user: str) -> list[dict[str, Any]]:
    """The bindings of the lever's file, for another user."""
    text = (ROLES / "nonprod_hours" / "rbac.yaml").read_text(encoding="utf-8")
    bindings = [each for each in yaml.safe_load_all(text) if each["kind"].endswith("Binding")]
    for each in bindings:
        each["metadata"]["name"] = f"{user}-nonprod-hours"
        each["subjects"] = [subject | {"name": user} for subject in each["subjects"]]
    return bindings


def _pool(estate: Estate, region: str) -> list[dict[str, Any]]:
    """Small nodes on demand that go half a minute after their last pod."""
    made = node_class(estate, region)
    requirements = {
        "karpenter.sh/capacity-type": ["on-demand"],
        "kubernetes.io/arch": [estate.spot.architecture],
        "node.kubernetes.io/instance-type": ["c7g.xlarge"],
    }
    template = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": POOL},
        "expireAfter": "Never",
        "taints": [{"key": POOL, "effect": "NoSchedule"}],
        "requirements": [{"key": k, "operator": "In", "values": v} for k, v in requirements.items()],
    }
    disruption = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s", "budgets": [{"nodes": "100%"}]}
    pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": POOL}}
    return [
        made | {"metadata": {"name": POOL}},
        pool | {"spec": {"disruption": disruption, "template": {"spec": template}}},
    ]


def _budget() -> dict[str, Any]:
    spec = {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "store"}}}
    return _named("policy/v1", "PodDisruptionBudget", "store") | {"spec": spec}


def _workloads(cpu: str, where: dict[str, Any]) -> list[dict[str, Any]]:
    cron = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 0 * * *", "end": "59 23 * * *"}}
    cron["metadata"] |= {"desiredReplicas": "3"}  # type: ignore[dict-item]
    scaled = {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 2, "maxReplicaCount": 4, "triggers": [cron]}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    metrics = [{"type": "Resource", "resource": resource}]
    hpa = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4, "metrics": metrics}
    pod = {**_pod(cpu), **where}
    job = {"template": {"spec": {**pod, "restartPolicy": "Never"}}}
    return [
        _named("apps/v1", "Deployment", "web") | {"spec": _spec("web", 3, pod)},  # as many as KEDA wants
        _named("apps/v1", "Deployment", "api") | {"spec": _spec("api", 2, pod)},
        _named("apps/v1", "StatefulSet", "store") | {"spec": _spec("store", 2, pod) | {"serviceName": "store"}},
        _named("batch/v1", "CronJob", "nightly")
        | {"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}, "startingDeadlineSeconds": 60}},
        _named("keda.sh/v1alpha1", "ScaledObject", "web") | {"spec": scaled},
        _named("autoscaling/v2", "HorizontalPodAutoscaler", "api") | {"spec": hpa},
    ]


def _named(api: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": STAGING}}


def _spec(name: str, replicas: int, pod: dict[str, Any]) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}


def _pod(cpu: str) -> dict[str, Any]:
    requests = {"cpu": cpu, "memory": "128Mi"}
    return {"containers": [{"name": "main", "image": "akidb/staging:1", "resources": {"requests": requests}}]}
