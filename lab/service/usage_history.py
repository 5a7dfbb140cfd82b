"""What the estate's start replicas used in the week before the rehearsal: the plant's series, for pods long gone.

The same demand, queue and model of use as the plant's, whose pods share the load evenly, so that all pods of a
Deployment have the same figures. CPU has a sample every two minutes, for a rate over five needs two of them; memory
one every four, since Prometheus shows a sample for five; CFS periods, OOM kills and the pods' labels one an hour.
Counters begin at zero with the first sample. The last sample lies five minutes before the end, or the first queries of
the rehearsal would count these pods beside the living.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from include.estate import Estate, Workload
from lab.service import cadvisor
from lab.service.queueing import load_of
from lab.service.traffic import Demand
from lab.service.usage import MAIN_CONTAINER, PERIODS_PER_SECOND, PROTOCOLS, Use, serving_use

HOURS = 7 * 24 + 1  # one more, for the time until somebody asks for seven days
CPU_MINUTES, MEMORY_MINUTES, SLOW_MINUTES = 2, 4, 60
GAP_MINUTES = 5  # how far back Prometheus looks for a sample
JOB = "kubernetes-cadvisor"
# What the API server makes names of: no vowels and nothing that looks like one.
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True)
class PastPod:
    """A pod of before the rehearsal."""

    name: str
    template: str
    node: str


def samples(estate: Estate, demand: Demand, region: str, times: range, shift: float) -> Iterator[str]:
    """OpenMetrics lines of one region; ``times`` are full minutes, ``shift`` is plant time less clock time in seconds.

    Of ``times`` only the last week counts.
    """
    times = times[-HOURS * 60 : -GAP_MINUTES]
    workloads = {name: w for name, w in estate.workloads.items() if name in PROTOCOLS}
    replicas = sum(workload.replicas for workload in workloads.values())
    offered = [demand.qps(region, moment - 30 + shift) for moment in times]
    for app, workload in workloads.items():
        uses = [_use(estate, workload, qps * workload.replicas / replicas) for qps in offered]
        columns = list(_columns(times, uses, limited=True))
        for pod in past_pods(estate, region, app, workload):
            yield from _lines(estate, region, app, pod, columns)


def past_pods(estate: Estate, region: str, app: str, workload: Workload) -> list[PastPod]:
    """The start replicas of a Deployment, named as a ReplicaSet names pods, spread over the nodes of the node group."""
    template, nodes = _name(region, app, length=10), estate.region(region).node_group.size
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return [
        PastPod(f"{app}-{template}-{_name(region, app, n, length=5)}", template, f"ip-10-0-9-{n % nodes}.{domain}")
        for n in range(workload.replicas)
    ]


def _name(*parts: object, length: int) -> str:
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=length).digest()
    return "".join(LETTERS[byte % len(LETTERS)] for byte in digest)


def _use(estate: Estate, workload: Workload, qps: float) -> Use:
    load = load_of(qps, workload.replicas, estate.traffic.replica_qps)
    return serving_use(estate.traffic, workload.use_at_peak, load.utilisation)


def _columns(times: range, uses: Sequence[Use], limited: bool) -> Iterator[tuple[str, list[str]]]:
    """Metric, and what follows the labels on each of its lines: the same for every pod."""
    total, cpu = 0.0, []
    for use in uses:
        cpu.append(total)
        total += use.cores * 60
    yield cadvisor.CPU, [f" {cpu[n]:.3f} {times[n]}\n" for n in range(0, len(times), CPU_MINUTES)]
    steps = range(0, len(times), MEMORY_MINUTES)
    yield cadvisor.MEMORY, [f" {uses[n].memory_bytes:.0f} {times[n]}\n" for n in steps]
    slow = range(0, len(times), SLOW_MINUTES)
    if limited:
        yield cadvisor.PERIODS, [f" {n * 60 * PERIODS_PER_SECOND} {times[n]}\n" for n in slow]
        yield cadvisor.THROTTLED, [f" 0 {times[n]}\n" for n in slow]
    yield cadvisor.OOM, [f" 0 {times[n]}\n" for n in slow]
    yield cadvisor.POD_LABELS, [f" 1 {times[n]}\n" for n in slow]


def _lines(
    estate: Estate, region: str, app: str, pod: PastPod, columns: Sequence[tuple[str, list[str]]]
) -> Iterator[str]:
    own = cadvisor.container_labels(region, estate.namespace, pod.name, MAIN_CONTAINER, pod.node)
    known = cadvisor.pod_labels(region, estate.namespace, pod.name, (("app", app), ("pod-template-hash", pod.template)))
    for metric, rest in columns:
        start = f'{metric}{{{known if metric == cadvisor.POD_LABELS else own},job="{JOB}"}}'
        yield "".join([start + line for line in rest])
