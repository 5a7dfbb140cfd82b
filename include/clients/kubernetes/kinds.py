"""The resources of the API that the rollout reads and writes, and who owns a field of an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A resource of the API: ``Kind("apps/v1", "Deployment", "deployments")``."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, an object or its subresource."""
        root = "/apis" if "/" in self.api_version else "/api"
        parts = [root, self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *(part for part in (name, subresource) if part)])


POD = Kind("v1", "Pod", "pods")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
EVENT = Kind("v1", "Event", "events")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
DAEMON_SET = Kind("apps/v1", "DaemonSet", "daemonsets")
JOB = Kind("batch/v1", "Job", "jobs")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs")
VOLUME = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
RESOURCE_QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
NODE_POOL = Kind("karpenter.sh/v1", "NodePool", "nodepools", namespaced=False)
NODE_CLAIM = Kind("karpenter.sh/v1", "NodeClaim", "nodeclaims", namespaced=False)
EC2_NODE_CLASS = Kind("karpenter.k8s.aws/v1", "EC2NodeClass", "ec2nodeclasses", namespaced=False)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
SERVICE = Kind("v1", "Service", "services")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
RBAC = "rbac.authorization.k8s.io/v1"
CLUSTER_ROLE = Kind(RBAC, "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING = Kind(RBAC, "ClusterRoleBinding", "clusterrolebindings", namespaced=False)
PROMETHEUS_RULE = Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
VERTICAL_AUTOSCALER = Kind("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", "verticalpodautoscalers")
WEBHOOK = Kind(
    "admissionregistration.k8s.io/v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)
API_SERVICE = Kind("apiregistration.k8s.io/v1", "APIService", "apiservices", namespaced=False)
KINDS = {
    kind.name: kind
    for kind in (
        POD,
        NODE,
        CONFIG_MAP,
        DEPLOYMENT,
        REPLICA_SET,
        STATEFUL_SET,
        DAEMON_SET,
        JOB,
        CRON_JOB,
        VOLUME,
        VOLUME_CLAIM,
        RESOURCE_QUOTA,
        DISRUPTION_BUDGET,
        LEASE,
        NODE_POOL,
        NODE_CLAIM,
        EC2_NODE_CLASS,
        NAMESPACE,
        SERVICE,
        ENDPOINT_SLICE,
        GATEWAY,
        HTTP_ROUTE,
        SERVICE_ACCOUNT,
        CLUSTER_ROLE,
        CLUSTER_ROLE_BINDING,
        PROMETHEUS_RULE,
        SCALED_OBJECT,
        AUTOSCALER,
        VERTICAL_AUTOSCALER,
        WEBHOOK,
        API_SERVICE,
    )
}


def identity(body: Object) -> tuple[Kind, str | None, str]:
    """Kind, namespace and name of an object."""
    kind = KINDS[body["kind"]]
    return kind, body["metadata"].get("namespace"), body["metadata"]["name"]


def owns(entry: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether an entry of managedFields has the field at ``path``, such as ``("f:spec", "f:limits", "f:cpu")``."""
    fields: Any = entry.get("fieldsV1") or {}
    for step in path:
        if step not in fields:
            return False
        fields = fields[step]
    return True
