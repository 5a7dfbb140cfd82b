"""The real metrics-server of a region: what `kubectl top`, HPAs and the VPA's recommender know of use.

It asks KWOK, in place of every kubelet, over plain HTTP: KWOK serves nothing else. The API server reaches it as it
reaches KEDA's adapter, and checks its certificate.

- `--metric-resolution` 10 s: the least that it accepts; its manifest has 15 s.
- `--kubelet-request-timeout` 9 s: the most that goes with this resolution; KWOK answers in tenths of a second.
- `--kubelet-preferred-address-types` ExternalDNS: `localhost`; a node's other addresses are its instance's.
- `--deprecated-kubelet-completely-insecure`: plain HTTP and no credentials.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kubernetes.dynamic import DynamicClient

from lab.cluster import api_services, pki, workloads
from lab.cluster.control_plane import ControlPlane
from lab.machine.processes import Processes
from lab.machine.programs import find, shared_folder

NAME, NAMESPACE = "metrics-server", "kube-system"
USER = f"system:serviceaccount:{NAMESPACE}:{NAME}"
API_SERVICE = "v1beta1.metrics.k8s.io"
RESOLUTION_SECONDS, REQUEST_SECONDS = 10, 9
READY_SECONDS = 60
PORTS_NEEDED = 1


def start(processes: Processes, plane: ControlPlane, port: int) -> None:
    """Install metrics-server and start it; it knows a pod's use after two looks at its node."""
    dynamic = DynamicClient(workloads.api_client(plane.kubeconfig("admin")))
    workloads.apply_all(dynamic, api_services.documents([shared_folder(NAME) / "rbac.yaml"]))
    files = plane.folder / NAME
    authority = write_certificates(files, plane.region)
    given = arguments(plane.kubeconfig(USER), files, port)
    processes.start(f"{plane.region}-{NAME}", [find(NAME), *given])
    # Not /readyz: that needs nodes, which come later than this.
    alive = f"https://127.0.0.1:{port}/livez"
    processes.wait_until(
        lambda: api_services.answers(alive, files / "ca.crt"), f"{NAME} of {plane.region} being up", READY_SECONDS
    )
    workloads.apply_all(dynamic, registration(authority, port))


def registration(authority: bytes, port: int) -> list[dict[str, Any]]:
    """metrics-server's APIService, and a Service in place of its own that leads to ``port`` of this machine."""
    return api_services.registration(shared_folder(NAME) / "apiservice.yaml", NAME, NAMESPACE, authority, port)


def available(plane: ControlPlane) -> bool:
    """Whether the API server says that metrics-server answers."""
    return api_services.available(plane, API_SERVICE)


def write_certificates(folder: Path, region: str) -> bytes:
    """Write authority, certificate and key; returns the authority."""
    return pki.write_service(folder, f"{NAME} lab {region}", NAME, (f"{NAME}.{NAMESPACE}.svc",))


def arguments(kubeconfig: Path, files: Path, port: int) -> list[str]:
    """The command line without the program."""
    found = [f"--{use}kubeconfig={kubeconfig}" for use in ("", "authentication-", "authorization-")]
    found += [f"--secure-port={port}", "--bind-address=127.0.0.1", f"--cert-dir={files}"]
    found += [f"--tls-cert-file={files}/tls.crt", f"--tls-private-key-file={files}/tls.key"]
    found += ["--deprecated-kubelet-completely-insecure", "--kubelet-use-node-status-port"]
    found += ["--kubelet-preferred-address-types=ExternalDNS"]
    found += [f"--metric-resolution={RESOLUTION_SECONDS}s"]
    return [*found, f"--kubelet-request-timeout={REQUEST_SECONDS}s"]
