"""A staging namespace for the lab: a workload of each kind that sleeps, and the rights that the lever needs there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kubernetes.dynamic import DynamicClient

from lab.cluster.workloads import api_client, apply_all

STAGING = "akidb-staging"


def build_staging(kubeconfig: Path) -> None:
    """Make it as the lab's admin; safe to run again."""
    apply_all(DynamicClient(api_client(kubeconfig)), [*_rights(), *_workloads()])


def _rights() -> list[dict[str, Any]]:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "akidb-rollout-nonprod-namespace"}
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "akidb-rollout"}
    binding = _named("rbac.authorization.k8s.io/v1", "RoleBinding", "akidb-rollout-nonprod-hours")
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STAGING}}
    return [space, binding | {"roleRef": role, "subjects": [user]}]


def _workloads() -> list[dict[str, Any]]:
    cron = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 0 * * *", "end": "59 23 * * *"}}
    cron["metadata"] |= {"desiredReplicas": "3"}  # type: ignore[dict-item]
    scaled = {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 2, "maxReplicaCount": 4, "triggers": [cron]}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    metrics = [{"type": "Resource", "resource": resource}]
    hpa = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4, "metrics": metrics}
    job = {"template": {"spec": {**_pod("nightly"), "restartPolicy": "Never"}}}
    return [
        _named("apps/v1", "Deployment", "web") | {"spec": _spec("web", 3)},  # as KEDA wants it: nothing moves by itself
        _named("apps/v1", "Deployment", "api") | {"spec": _spec("api", 2)},
        _named("apps/v1", "StatefulSet", "store") | {"spec": _spec("store", 2) | {"serviceName": "store"}},
        _named("batch/v1", "CronJob", "nightly")
        | {"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}, "startingDeadlineSeconds": 60}},
        _named("keda.sh/v1alpha1", "ScaledObject", "web") | {"spec": scaled},
        _named("autoscaling/v2", "HorizontalPodAutoscaler", "api") | {"spec": hpa},
    ]


def _named(api: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": STAGING}}


def _spec(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": _pod(name)}
    return {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}


def _pod(name: str) -> dict[str, Any]:
    requests = {"cpu": "100m", "memory": "128Mi"}
    return {"containers": [{"name": name, "image": "akidb/staging:1", "resources": {"requests": requests}}]}
