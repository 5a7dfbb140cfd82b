"""The use of pods in Prometheus' text format: the names of cAdvisor, and of kube-state-metrics for their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from lab.service.consumption import Consumption, Meter, PodUsage

CPU = "container_cpu_usage_seconds_total"
MEMORY = "container_memory_working_set_bytes"
PERIODS = "container_cpu_cfs_periods_total"
THROTTLED = "container_cpu_cfs_throttled_periods_total"
OOM = "container_oom_events_total"
POD_LABELS = "kube_pod_labels"
# Metric: its type, its value, and whether only containers with a CPU limit have it.
SERIES: Mapping[str, tuple[str, Callable[[Meter], str], bool]] = {
    CPU: ("counter", lambda meter: f"{meter.cpu_seconds:.3f}", False),
    MEMORY: ("gauge", lambda meter: f"{meter.memory_bytes:.0f}", False),
    PERIODS: ("counter", lambda meter: f"{meter.periods:.1f}", True),
    THROTTLED: ("counter", lambda meter: f"{meter.throttled:.3f}", True),
    OOM: ("counter", lambda meter: f"{meter.oom_kills}", False),
}
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def container_labels(region: str, namespace: str, pod: str, container: str, node: str) -> str:
    """The labels of a container's series."""
    own = f'region="{region}",namespace="{namespace}",pod="{pod}",container="{container}"'
    return f'{own},node="{node}",instance="{node}"'


def pod_labels(region: str, namespace: str, pod: str, labels: Iterable[tuple[str, str]]) -> str:
    """The labels of a pod's ``kube_pod_labels``."""
    each = "".join(f',label_{_NOT_IN_A_NAME.sub("_", name)}="{value}"' for name, value in labels)
    return f'region="{region}",namespace="{namespace}",pod="{pod}"{each}'


def page(regions: Mapping[str, Consumption]) -> str:
    """All series of all regions."""
    usages = [(region, usage) for region, found in regions.items() for usage in found.pods.values()]
    lines = [line for metric in SERIES for line in _series(metric, usages)]
    lines.append(f"# TYPE {POD_LABELS} gauge")
    for region, usage in usages:
        pod = usage.pod
        lines.append(f"{POD_LABELS}{{{pod_labels(region, pod.namespace, pod.name, pod.labels)}}} 1")
    return "\n".join(lines) + "\n"


def _series(metric: str, usages: Iterable[tuple[str, PodUsage]]) -> Iterable[str]:
    kind, value, limited = SERIES[metric]
    yield f"# TYPE {metric} {kind}"
    for region, usage in usages:
        pod = usage.pod
        for container in pod.containers:
            if limited and not container.cpu_limit:
                continue
            labels = container_labels(region, pod.namespace, pod.name, container.name, pod.node)
            yield f"{metric}{{{labels}}} {value(usage.meters[container.name])}"
