"""One region's control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK for kubelets."""

from __future__ import annotations

import ssl
import string
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import pki
from lab.cluster.telemetry import ANSWER_SECONDS
from lab.machine.processes import Processes
from lab.machine.programs import find, shared_folder

MANIFESTS = Path(__file__).parents[1] / "manifests"
PORTS_NEEDED = 4  # etcd client, etcd peer, API server, KWOK
SERVICE_RANGE = "10.0.0.0/24"
READY_SECONDS = 60
NODE_GRACE_SECONDS = 50  # without a sign of life from a node, Kubernetes' default
AUTOSCALER_SYNC_SECONDS = 15.0  # how often an HPA looks at its metrics, Kubernetes' default
FRONT_PROXY = "front-proxy-client"  # as whom the API server calls the API servers behind it


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane: its API server's address and the kubeconfigs of its users."""

    region: str
    server: str
    folder: Path
    authority: bytes

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of a user of ``USERS``, such as ``admin`` (the lab) or ``akidb-rollout`` (Airflow)."""
        return self.folder / _file_of(user)


# user: groups. The controllers get the roles that Kubernetes ships for them; Airflow's user gets the
# least privilege of include/manifests, so that the rehearsal proves that those rules suffice.
USERS: dict[str, tuple[str, ...]] = {
    "admin": ("system:masters",),
    "akidb-rollout": (),
    # No tokens are issued in the lab: these show a certificate in their service account's name, so that they have the
    # rights that their manifests give them and no more.
    "system:serviceaccount:opencost:opencost": (),
    "system:serviceaccount:keda:keda-operator": (),
    "system:serviceaccount:kube-system:metrics-server": (),
    "system:serviceaccount:kube-system:vpa-recommender": (),
    "system:serviceaccount:kube-system:vpa-updater": (),
    "system:serviceaccount:kube-system:vpa-admission-controller": (),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
}


class Booting:
    """A control plane while it boots: ``start`` launches everything, ``wait_ready`` waits for the API server."""

    def __init__(self, region: str, cluster: str, folder: Path, ports: list[int], processes: Processes) -> None:
        self.region = region
        self._cluster = cluster
        self._folder = folder
        self._etcd_port, self._peer_port, self._api_port, self._kwok_port = ports
        self._processes = processes
        self.server = f"https://127.0.0.1:{self._api_port}"

    def write_files(self) -> None:
        """Write keys, certificates and kubeconfigs."""
        authority = pki.Authority(f"akidb lab {self.region}")
        self._authority = authority.certificate
        files = self._folder / "pki"
        pki.private_file(files / "ca.crt", authority.certificate)
        pki.private_file(files / "service-account.key", pki.service_account_key())
        serving = authority.issue("kube-apiserver", server=True)
        pki.private_file(files / "apiserver.crt", serving.certificate)
        pki.private_file(files / "apiserver.key", serving.key)
        # An authority of its own: whoever it vouches for may name any user to the API servers behind this one.
        front = pki.Authority(f"akidb lab front proxy {self.region}")
        proxy = front.issue(FRONT_PROXY)
        pki.private_file(files / "front-proxy-ca.crt", front.certificate)
        pki.private_file(files / "front-proxy.crt", proxy.certificate)
        pki.private_file(files / "front-proxy.key", proxy.key)
        for user, groups in USERS.items():
            pair = authority.issue(user, groups)
            config = pki.kubeconfig(self.server, authority.certificate, user, pair, self._cluster)
            pki.private_file(self._folder / _file_of(user), config)

    def start_api_server(self) -> None:
        """Start etcd and the API server."""
        files = self._folder / "pki"
        etcd = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        self._processes.start(
            f"{self.region}-etcd",
            [find("etcd"), "--data-dir", self._folder / "etcd", "--listen-client-urls", etcd]
            + ["--advertise-client-urls", etcd, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            + ["--initial-cluster", f"default={peer}", "--unsafe-no-fsync", "--log-level", "warn"],
        )
        self._processes.start(
            f"{self.region}-kube-apiserver",
            [find("kube-apiserver"), f"--etcd-servers={etcd}"]
            + ["--bind-address=127.0.0.1", f"--secure-port={self._api_port}", "--advertise-address=127.0.0.1"]
            + [f"--tls-cert-file={files}/apiserver.crt", f"--tls-private-key-file={files}/apiserver.key"]
            + [f"--client-ca-file={files}/ca.crt", "--authorization-mode=RBAC", f"--cert-dir={files}"]
            + ["--service-account-issuer=https://akidb-lab", f"--service-cluster-ip-range={SERVICE_RANGE}"]
            + [f"--service-account-key-file={files}/service-account.key"]
            + [f"--service-account-signing-key-file={files}/service-account.key"]
            # For metrics-server and KEDA's adapter. Aggregator routing stays off: their Services lead to a name.
            + [f"--requestheader-client-ca-file={files}/front-proxy-ca.crt"]
            + [f"--requestheader-allowed-names={FRONT_PROXY}", "--requestheader-username-headers=X-Remote-User"]
            + ["--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-"]
            + [f"--proxy-client-cert-file={files}/front-proxy.crt"]
            + [f"--proxy-client-key-file={files}/front-proxy.key"]
            # No pod of the lab runs code, so none needs a token; without the plugin pods don't wait for one.
            + ["--disable-admission-plugins=ServiceAccount", "--enable-priority-and-fairness=false"]
            + ["--endpoint-reconciler-type=none"],
        )

    def wait_ready(self) -> ControlPlane:
        """Wait until the API server answers its own readiness check over verified TLS."""
        context = ssl.create_default_context(cafile=str(self._folder / "pki" / "ca.crt"))

        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"{self.server}/readyz", timeout=ANSWER_SECONDS, context=context) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        self._processes.wait_until(ready, f"the API server of {self.region} being ready", READY_SECONDS)
        return ControlPlane(self.region, self.server, self._folder, self._authority)

    def start_controllers(self, autoscaler_sync_seconds: float = AUTOSCALER_SYNC_SECONDS) -> None:
        """Start controller-manager and scheduler."""
        manager = self._folder / _file_of("system:kube-controller-manager")
        scheduler = self._folder / _file_of("system:kube-scheduler")
        self._processes.start(
            f"{self.region}-kube-controller-manager",
            [find("kube-controller-manager"), f"--kubeconfig={manager}", f"--authentication-kubeconfig={manager}"]
            + [f"--authorization-kubeconfig={manager}", "--use-service-account-credentials=true"]
            + [f"--service-account-private-key-file={self._folder}/pki/service-account.key"]
            + ["--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]
            # A node whose lease stops is given up as late as in production, or later where one process that stands in
            # for all kubelets is slow; the pods' default toleration of 300 s stays as it is.
            + [f"--node-monitor-grace-period={NODE_GRACE_SECONDS * self._processes.stretch:.0f}s"]
            + ["--kube-api-qps=100", "--kube-api-burst=200"]
            + [f"--horizontal-pod-autoscaler-sync-period={round(autoscaler_sync_seconds * 1000)}ms"],
        )
        self._processes.start(
            f"{self.region}-kube-scheduler",
            [find("kube-scheduler"), f"--kubeconfig={scheduler}", f"--authentication-kubeconfig={scheduler}"]
            + [f"--authorization-kubeconfig={scheduler}", "--leader-elect=false"]
            + ["--bind-address=127.0.0.1", "--secure-port=0"],
        )

    def start_kubelets(self, pod_start_ms: int, pod_stop_ms: int) -> None:
        """Start KWOK, once its definition of use is there (``workloads.install_definitions``)."""
        stages = self._folder / "stages.yaml"
        stages.write_text(_stages(pod_start_ms, pod_stop_ms))
        self._processes.start(
            f"{self.region}-kwok",
            [find("kwok"), "--kubeconfig", self._folder / "admin.kubeconfig", "--manage-all-nodes"]
            + ["--node-lease-duration-seconds", "40", "--config", stages]
            + ["--server-address", f"127.0.0.1:{self._kwok_port}", "--node-ip", "127.0.0.1"]
            + ["--node-port", str(self._kwok_port), "--enable-crds", "ClusterResourceUsage"],
        )


def _file_of(user: str) -> str:
    # $KUBECONFIG is a list of files with colons between them.
    return user.replace(":", "-") + ".kubeconfig"


def _stages(pod_start_ms: int, pod_stop_ms: int) -> str:
    """Our pod Stages; KWOK's own for nodes, and what it serves of use, from the module that KWOK was built from."""
    own = string.Template((MANIFESTS / "stages.yaml").read_text())
    nodes = shared_folder("kwok-stages") / "node"
    parts = [
        own.safe_substitute(POD_START_MS=pod_start_ms, POD_STOP_MS=pod_stop_ms),
        (nodes / "fast" / "node-initialize.yaml").read_text(),
        (nodes / "heartbeat-with-lease" / "node-heartbeat-with-lease.yaml").read_text(),
        (shared_folder("kwok-metrics") / "resource" / "metrics-resource.yaml").read_text(),
    ]
    return "\n---\n".join(parts)
