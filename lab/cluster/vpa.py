"""The real VPA of a region: definitions and rights from its module, recommender, updater and admission controller.

Every flag that is passed stands here and nowhere else; `include/levers/right_sizing` computes the recommendation that
the recommender arrives at, so a new flag of the recommender is a change of both.

Recommender:

- `--storage=prometheus`: use from before its start; checkpoints are neither read nor written.
- `--history-length` 8d: its default. `--history-resolution` 5m, the step and the rate window: 2,304 points a series.
  1m would be 11,520, and Prometheus refuses more than 11,000; at 1h, its default, an hour's peak is lost and
  confidence, which counts samples, stays low.
- `--prometheus-cadvisor-job-name` as `own_series` says, and `--metric-for-pod-labels` with the region: three regions
  share one Prometheus. The latter has a range, since a matrix is expected.
- the names of labels: those of cAdvisor and kube-state-metrics; its defaults are older ones.
- `--recommender-interval` 10 s: its default is a minute, and a rehearsed day has eight. Not longer on a slow machine:
  each look is a sample, and the twin counts them.
- `--leader-elect`: its lease tells whether it is alive.

Left at their defaults, production's: half-lives and confidence intervals of 24 h, one memory peak a day over 8 days,
percentiles 0.5, 0.9 and 0.95, margin 15 %, at least 25 millicores and 250 MiB a pod, no rounding but to whole
millicores and bytes. It reads Prometheus at its start and never again; without an answer it logs one error and goes on
with no history. So the boot waits until it has read it (`has_read_history`).

Updater:

- `--updater-interval` 4 s: its default is a minute. It changes a quarter of a workload's pods a loop, at least one.
- `--leader-elect`: a second updater waits for the lease.
- `--eviction-rate-limit` 0.5 a second and `--eviction-rate-burst` 1: its default is no limit. They also space resizes
  in place: 22 pods in 44 s.
- `--eviction-tolerance` 0.25 of a workload's pods a loop, as the PodDisruptionBudgets say; its default is 0.5.
- `--in-recommendation-bounds-eviction-lifetime-threshold` 1 min: its default of 12 h is longer than a rehearsal; a
  pod older than this gets the target though its request lies within the bounds.

The admission controller registers itself 10 s after its start under a URL on loopback, failure policy Ignore.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from kubernetes import client
from kubernetes.dynamic import DynamicClient

from lab.cluster import api_services, pki, telemetry, workloads
from lab.cluster.control_plane import ControlPlane
from lab.machine.processes import Processes
from lab.machine.programs import find, shared_folder

NAMESPACE = "kube-system"
RECOMMENDER, UPDATER, ADMISSION = PROGRAMS = telemetry.VPA
WEBHOOK = "vpa-webhook-config"
HISTORY_LENGTH, HISTORY_RESOLUTION = "8d", "5m"
INTERVAL_SECONDS = 10  # of the recommender
UPDATER_INTERVAL_SECONDS = 4
EVICTIONS_PER_SECOND, EVICTION_BURST, EVICTION_TOLERANCE = 0.5, 1, 0.25
SETTLED_SECONDS = 60  # after which a pod's request is changed though it lies within the bounds
WEBHOOK_SECONDS = 10  # the API server's default; the VPA's is 30, and every pod of a cluster would wait for it
READY_SECONDS = 60
PORTS_NEEDED = 4
_HISTORY_QUERIES = 3  # CPU, memory, labels
_ANSWERED = re.compile(r'^vpa_recommender_prometheus_client_api_requests_count\{code="200".*\} (\d+)$', re.MULTILINE)


@dataclass(frozen=True)
class Ports:
    """Ports of one region: metrics and health of each program, and the webhook."""

    recommender: int
    updater: int
    admission: int
    webhook: int

    @property
    def metrics(self) -> dict[str, int]:
        """Where each program serves its metrics, by its name."""
        return dict(zip(PROGRAMS, (self.recommender, self.updater, self.admission), strict=True))


def user(program: str) -> str:
    """As whom a program calls the API server."""
    return f"system:serviceaccount:{NAMESPACE}:{program}"


def start(processes: Processes, plane: ControlPlane, ports: Ports) -> None:
    """Install the VPA and start updater and admission controller; the recommender comes when Prometheus stands."""
    dynamic = DynamicClient(workloads.api_client(plane.kubeconfig("admin")))
    workloads.apply_definitions(dynamic, shared_folder("vpa"), "vpa-v1-crd-gen.yaml")
    workloads.apply_all(dynamic, api_services.documents([shared_folder("vpa") / "vpa-rbac.yaml"]))
    files = plane.folder / "vpa"
    pki.write_service(files, f"vpa lab {plane.region}", ADMISSION)
    _start(processes, plane, ADMISSION, admission_arguments(files, ports))
    _start(processes, plane, UPDATER, updater_arguments(ports))


def start_recommender(processes: Processes, plane: ControlPlane, ports: Ports, prometheus: str) -> None:
    """Start the recommender and wait until it has read the history of the Prometheus at that base URL."""
    _start(processes, plane, RECOMMENDER, recommender_arguments(plane.region, ports, prometheus))
    what = f"the recommender of {plane.region} having read its history from Prometheus"
    processes.wait_until(lambda: has_read_history(ports.recommender), what, READY_SECONDS)


def _start(processes: Processes, plane: ControlPlane, program: str, arguments: list[str]) -> None:
    common = [f"--kubeconfig={plane.kubeconfig(user(program))}", "--v=2"]
    processes.start(f"{plane.region}-{program}", [find(program), *common, *arguments])


def own_series(region: str) -> str:
    """The job name that confines the recommender to one region.

    It has no setting for a selector, and puts the name between quotation marks as it is: ``job="<name>", pod=~...``.
    """
    return f'kubernetes-cadvisor", region="{region}'


def recommender_arguments(region: str, ports: Ports, prometheus: str) -> list[str]:
    """The recommender's flags."""
    return [
        f"--address=127.0.0.1:{ports.recommender}",
        "--storage=prometheus",
        f"--prometheus-address={prometheus}",
        f"--history-length={HISTORY_LENGTH}",
        f"--history-resolution={HISTORY_RESOLUTION}",
        f"--prometheus-cadvisor-job-name={own_series(region)}",
        f'--metric-for-pod-labels=kube_pod_labels{{region="{region}"}}[{HISTORY_LENGTH}]',
        "--pod-label-prefix=label_",
        "--pod-namespace-label=namespace",
        "--pod-name-label=pod",
        "--container-namespace-label=namespace",
        "--container-pod-name-label=pod",
        "--container-name-label=container",
        f"--recommender-interval={INTERVAL_SECONDS}s",
        "--leader-elect=true",
    ]


def updater_arguments(ports: Ports) -> list[str]:
    """The updater's flags."""
    return [
        f"--address=127.0.0.1:{ports.updater}",
        f"--updater-interval={UPDATER_INTERVAL_SECONDS}s",
        f"--eviction-rate-limit={EVICTIONS_PER_SECOND}",
        f"--eviction-rate-burst={EVICTION_BURST}",
        f"--eviction-tolerance={EVICTION_TOLERANCE}",
        f"--in-recommendation-bounds-eviction-lifetime-threshold={SETTLED_SECONDS}s",
        "--leader-elect=true",
    ]


def admission_arguments(files: Path, ports: Ports) -> list[str]:
    """The admission controller's flags; ``files`` holds ca.crt, tls.crt and tls.key."""
    return [
        f"--address=127.0.0.1:{ports.admission}",
        f"--port={ports.webhook}",  # on all addresses: it has no setting for one
        f"--client-ca-file={files}/ca.crt",
        f"--tls-cert-file={files}/tls.crt",
        f"--tls-private-key={files}/tls.key",
        "--register-by-url=true",
        "--webhook-address=https://127.0.0.1",
        f"--webhook-port={ports.webhook}",
        f"--webhook-timeout-seconds={WEBHOOK_SECONDS}",
    ]


def has_read_history(port: int) -> bool:
    """Whether Prometheus has answered all questions of the recommender whose metrics are served at ``port``."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=telemetry.ANSWER_SECONDS) as answer:
            return sum(map(int, _ANSWERED.findall(answer.read().decode()))) >= _HISTORY_QUERIES
    except (urllib.error.URLError, OSError):
        return False


def registered(plane: ControlPlane) -> bool:
    """Whether the API server asks the admission controller about new pods."""
    hooks = client.AdmissionregistrationV1Api(workloads.api_client(plane.kubeconfig("admin")))
    return WEBHOOK in {hook.metadata.name for hook in hooks.list_mutating_webhook_configuration().items}
