"""The objects of a cluster as they stand before the rollout, from ``include/estate.yaml``."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from include.estate import Estate
from lab.cluster.control_plane import MANIFESTS, ControlPlane
from lab.machine.again import LONGEST_PAUSE_SECONDS, again
from lab.machine.programs import shared_folder
from lab.machine.speed import LONGEST_STRETCH

FIELD_MANAGER = "akidb-lab"
GATEWAY_CRDS = "gateway.networking.k8s.io_[gh]*.yaml"  # classes, Gateways, gRPC and HTTP routes; no policy for upgrades
ESTABLISHED_SECONDS = round(30 * LONGEST_STRETCH)
USAGE_CRD = "clusterresourceusages"  # of KWOK: by it the plant says what the pods use
APPLY_SECONDS = 15 * LONGEST_STRETCH
# What production applies before the first rollout: the rights of Airflow's user, a file per lever.
ROLES = Path(__file__).parents[2] / "include" / "manifests"


def api_client(kubeconfig: Path) -> client.ApiClient:
    """A client for the given kubeconfig; its certificates are checked."""
    from kubernetes import config

    return config.new_client_from_config(config_file=str(kubeconfig))


def apply_all(
    dynamic: DynamicClient, documents: list[dict[str, Any]], longest_pause: float = LONGEST_PAUSE_SECONDS
) -> None:
    """Server-side apply of each document, in order; again where that may help, since applying twice changes nothing."""
    for document in documents:
        again(APPLY_SECONDS, longest_pause)(_apply, dynamic, document)


def _apply(dynamic: DynamicClient, document: dict[str, Any]) -> None:
    resource = dynamic.resources.get(api_version=document["apiVersion"], kind=document["kind"])
    resource.server_side_apply(
        body=document,
        name=document["metadata"]["name"],
        namespace=document["metadata"].get("namespace"),
        field_manager=FIELD_MANAGER,
        force_conflicts=True,
    )


def install_definitions(control_plane: ControlPlane) -> None:
    """Apply the CRDs of Karpenter and Gateway API and the one that KWOK watches, and wait until they are served."""
    dynamic = DynamicClient(api_client(control_plane.kubeconfig("admin")))
    apply_definitions(dynamic, shared_folder("karpenter-crds"))
    apply_definitions(dynamic, shared_folder("kwok-crds"), f"*_{USAGE_CRD}.yaml")
    apply_definitions(dynamic, shared_folder("gateway-crds"), GATEWAY_CRDS)


def apply_definitions(dynamic: DynamicClient, folder: Path, files: str = "*.yaml") -> None:
    """Apply every CRD in those ``files`` of ``folder`` and wait until they are served."""
    found = (d for path in sorted(folder.glob(files)) for d in yaml.safe_load_all(path.read_text()))
    documents = [document for document in found if document]
    apply_all(dynamic, documents)
    extensions = client.ApiextensionsV1Api(dynamic.client)
    for document in documents:
        _wait_established(extensions, document["metadata"]["name"])


def _wait_established(extensions: client.ApiextensionsV1Api, name: str) -> None:
    from kubernetes import watch

    stream = watch.Watch().stream(
        extensions.list_custom_resource_definition,
        field_selector=f"metadata.name={name}",
        timeout_seconds=ESTABLISHED_SECONDS,
    )
    for event in stream:
        conditions = event["object"].status.conditions or []
        if any(c.type == "Established" and c.status == "True" for c in conditions):
            return
    raise TimeoutError(f"the CRD {name} was not established within {ESTABLISHED_SECONDS} s")


def create_objects(control_plane: ControlPlane, estate: Estate) -> None:
    """Create namespaces, roles, the system workload and AkiDB's Deployments, PodDisruptionBudgets and Services."""
    dynamic = DynamicClient(api_client(control_plane.kubeconfig("admin")))
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in (estate.namespace, "karpenter")
    ]
    roles = [d for path in sorted(ROLES.glob("*/rbac.yaml")) for d in yaml.safe_load_all(path.read_text())]
    region = estate.region(control_plane.region)
    apply_all(
        dynamic,
        [*namespaces, *roles, *_render("system.yaml", {"NODE_GROUP": region.node_group.name, "QUEUE": region.queue})],
    )
    for name, workload in estate.workloads.items():
        values = {
            "NAME": name,
            "NAMESPACE": estate.namespace,
            "REPLICAS": workload.replicas,
            "PORT": workload.port,
            "CPU_REQUEST": workload.requests.cpu,
            "MEMORY_REQUEST": workload.requests.memory,
            "CPU_LIMIT": workload.limits.cpu,
            "MEMORY_LIMIT": workload.limits.memory,
            "MAX_UNAVAILABLE": estate.disruption_budget_max_unavailable,
        }
        apply_all(dynamic, _render("service.yaml", values))
    apply_all(dynamic, _routing(estate))


def _routing(estate: Estate) -> list[dict[str, Any]]:
    """The Gateway, and Services for the backends outside the cluster."""
    routing = estate.edge.routing
    names = {name: backend.service for name, backend in routing.backends.items()}
    values = {"GATEWAY": routing.gateway, "NAMESPACE": estate.namespace, "PORT": routing.backends["on_demand"].port}
    return _render("routing.yaml", {**values, "JETSON": names["jetson"], "LAMBDA": names["lambda"]})


def _render(name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    text = string.Template((MANIFESTS / name).read_text()).substitute({k: str(v) for k, v in values.items()})
    return [document for document in yaml.safe_load_all(text) if document]


def waiting_workloads(control_plane: ControlPlane) -> list[str]:
    """The Deployments and DaemonSets of the cluster that lack ready replicas, as ``namespace/name``."""
    apps = client.AppsV1Api(api_client(control_plane.kubeconfig("admin")))
    lacking = [
        item
        for item in apps.list_deployment_for_all_namespaces(resource_version="0").items
        if (item.status.ready_replicas or 0) < item.spec.replicas
    ]
    lacking += [
        item
        for item in apps.list_daemon_set_for_all_namespaces(resource_version="0").items
        # One that its controller has not looked at wants nothing yet.
        if item.status.observed_generation != item.metadata.generation
        or (item.status.number_ready or 0) < item.status.desired_number_scheduled
    ]
    return [f"{item.metadata.namespace}/{item.metadata.name}" for item in lacking]
