"""The real KEDA of a region: its definitions and rights from the module it was built from, operator and adapter.

Both programs show one certificate to each other and to the API server, from an authority of their own. The API server
reaches the adapter through a Service that leads to this machine, and checks its certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.dynamic import DynamicClient

from lab.cluster import api_services, pki, workloads
from lab.cluster.control_plane import ControlPlane
from lab.machine.processes import Processes
from lab.machine.programs import find, shared_folder

NAMESPACE = "keda"
USER = "system:serviceaccount:keda:keda-operator"
SERVICE = "keda-metrics-apiserver"
API_SERVICE = "v1beta1.external.metrics.k8s.io"
READY_SECONDS = 60
HTTP_MILLISECONDS = 3000  # KEDA's default
# The same for both: all namespaces, and where secrets and definitions for all of them would be.
ENVIRONMENT = {
    "POD_NAMESPACE": NAMESPACE,
    "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
    "WATCH_NAMESPACE": "",
    "POD_NAME": "lab",
    "GOMEMLIMIT": "200MiB",
}
PORTS_NEEDED = 4


@dataclass(frozen=True)
class Ports:
    """Ports of one region: the operator's health and its service for the adapter, the adapter's API and metrics."""

    health: int
    service: int
    adapter: int
    metrics: int


def start(processes: Processes, plane: ControlPlane, ports: Ports) -> None:
    """Install KEDA and start it; afterwards the API server only has to see that the adapter answers."""
    dynamic = DynamicClient(workloads.api_client(plane.kubeconfig("admin")))
    workloads.apply_definitions(dynamic, shared_folder("keda-crds"))
    workloads.apply_all(dynamic, rights())
    files = plane.folder / "keda"
    authority = write_certificates(files, plane.region)
    for name, arguments in commands(plane.kubeconfig(USER), files, ports).items():
        processes.start(f"{plane.region}-{name}", [find(name), *arguments], env=environment(processes.stretch))
    processes.wait_until(lambda: _ready(ports, files), f"KEDA of {plane.region} being ready", READY_SECONDS)
    # Only now: the API server asks an adapter that does not answer less and less often.
    workloads.apply_all(dynamic, registration(authority, ports.adapter))


def environment(stretch: float) -> dict[str, str]:
    """The environment of both programs; ``stretch`` multiplies how long KEDA waits for an answer of Prometheus."""
    return {**ENVIRONMENT, "KEDA_HTTP_DEFAULT_TIMEOUT": str(round(HTTP_MILLISECONDS * stretch))}


def available(plane: ControlPlane) -> bool:
    """Whether the API server says that KEDA's metrics adapter answers."""
    return api_services.available(plane, API_SERVICE)


def rights() -> list[dict[str, Any]]:
    """Namespace and service account, and the roles that KEDA's own manifests bind to it."""
    account = {"name": USER.rpartition(":")[2], "namespace": NAMESPACE}
    own = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
    ]
    rbac, server = shared_folder("keda-rbac"), shared_folder("keda-metrics-server")
    names = [rbac / f"{name}.yaml" for name in ("role", "role_binding", "aggregate_cluster_roles")]
    return [*own, *api_services.documents([*names, server / "role.yaml", server / "role_binding.yaml"])]


def registration(authority: bytes, port: int) -> list[dict[str, Any]]:
    """KEDA's APIService, and a Service in place of its own that leads to ``port`` of this machine."""
    path = shared_folder("keda-metrics-server") / "api_service.yaml"
    return api_services.registration(path, SERVICE, NAMESPACE, authority, port)


def write_certificates(folder: Path, region: str) -> bytes:
    """Write authority, certificate and key under the names that KEDA looks for; returns the authority."""
    return pki.write_service(folder, f"keda lab {region}", "keda", (f"{SERVICE}.{NAMESPACE}.svc",))


def commands(kubeconfig: Path, files: Path, ports: Ports) -> dict[str, list[str]]:
    """The arguments of each program."""
    operator = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--enable-cert-rotation=false"]
    operator += [f"--cert-dir={files}", f"--metrics-service-bind-address=127.0.0.1:{ports.service}"]
    operator += [f"--health-probe-bind-address=127.0.0.1:{ports.health}", "--enable-prometheus-metrics=false"]
    operator += ["--enable-webhook-patching=false", "--enable-apiservice-patching=false"]
    adapter = [f"--{use}kubeconfig={kubeconfig}" for use in ("", "lister-", "authentication-", "authorization-")]
    adapter += [f"--secure-port={ports.adapter}", "--bind-address=127.0.0.1", f"--cert-dir={files}"]
    adapter += [f"--tls-cert-file={files}/tls.crt", f"--tls-private-key-file={files}/tls.key"]
    adapter += [f"--metrics-service-address=localhost:{ports.service}", "--zap-log-level=error"]
    adapter += [f"--port={ports.metrics}"]  # of its metrics, on all addresses: it has no setting for one
    return {"keda-operator": operator, "keda-adapter": adapter}


def _ready(ports: Ports, files: Path) -> bool:
    return api_services.answers(f"http://127.0.0.1:{ports.health}/readyz") and api_services.answers(
        f"https://127.0.0.1:{ports.adapter}/readyz", files / "ca.crt"
    )
