"""What workloads have used, read from Prometheus as the recommender reads its history, and what they suffered.

The queries are those of ``pkg/recommender/input/history`` of k8s.io/autoscaler/vertical-pod-autoscaler v1.8.1: CPU as
a rate over the resolution, memory as it stands at each step, both on one grid that ends now; a container belongs to
the workload that its pod's labels name. After its start the recommender asks Prometheus no more, but takes a sample an
interval from metrics-server: ``Reading.live_since`` reads on at that pace. There CPU is what was used between the two
newest scrapes, so that a young pod shows its whole use from the second on, where a rate over a minute still climbs; and
a pod that is gone has none, where a rate still falls. With many new pods that decides where a percentile lies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from include.levers.right_sizing.recommendation import DAY, ContainerUse, Samples

if TYPE_CHECKING:
    from include.clients.prometheus import Prometheus, Series
    from include.estate import Estate

CPU = "container_cpu_usage_seconds_total"
MEMORY = "container_memory_working_set_bytes"
PERIODS, THROTTLED = "container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total"
OOM = "container_oom_events_total"
POD_LABELS = "kube_pod_labels"
CADVISOR_REMEDY = "check that Prometheus scrapes the kubelets' cAdvisor and that the series carry region and namespace"
LABEL_PREFIX = "label_"  # the recommender's --pod-label-prefix
LABELS_REMEDY = "start kube-state-metrics with --metric-labels-allowlist=pods=[app]"

ByContainer = Mapping[str, tuple[ContainerUse, ...]]


class HistoryError(ValueError):
    """Prometheus lacks a series; the message names it and the remedy."""


@dataclass(frozen=True)
class Reading:
    """How far back and how finely to read; all in seconds but ``days``.

    ``days`` is --history-length (default 8d) and ``resolution`` --history-resolution, whose default of 1 h smooths
    peaks away. ``live_since`` is when the recommender started (Unix seconds; None: it is read as history up to now),
    ``live_step`` its --recommender-interval.
    """

    days: float = 8.0
    resolution: int = 300
    live_since: float | None = None
    live_step: int = 60


@dataclass(frozen=True)
class OomKill:
    """One container killed for its memory; ``at`` (Unix seconds) is the step at which it was first counted."""

    pod: str
    container: str
    at: float


def read_use(
    prometheus: Prometheus, estate: Estate, region: str, apps: Sequence[str], now: float, reading: Reading | None = None
) -> dict[str, ByContainer]:
    """The use of each app's containers up to Unix time ``now``: app, container, one entry for each pod.

    One read serves all apps. Raises HistoryError naming the series that is missing, and PrometheusError.
    """
    reading = reading or Reading()
    selector = f'{where(estate, region)},pod=~".+",container!="POD",container!=""'
    owners = pods_of(prometheus, estate, region, apps, now, reading.days)
    cpu = _collected(prometheus, CPU, selector, now, reading)
    memory = _collected(prometheus, MEMORY, selector, now, reading)
    found: dict[str, dict[str, list[ContainerUse]]] = {app: {} for app in apps}
    for pod, container in sorted({*cpu, *memory}):
        if pod in owners:
            use = ContainerUse(_joined(cpu.get((pod, container), [])), _joined(memory.get((pod, container), [])))
            found[owners[pod]].setdefault(container, []).append(use)
    for app, containers in found.items():
        if not containers:
            raise HistoryError(f"{CPU} has no series of the pods of {app} in {region}: {CADVISOR_REMEDY}")
    return {app: {name: tuple(uses) for name, uses in containers.items()} for app, containers in found.items()}


def pods_of(
    prometheus: Prometheus, estate: Estate, region: str, apps: Sequence[str], now: float, days: float
) -> dict[str, str]:
    """The app of each pod that had one of the ``apps`` as its label ``app`` in the last ``days``.

    Raises HistoryError when an app has no pod at all.
    """
    samples = prometheus.query(_labelled(estate, region, apps, days * DAY), now)
    owners = {sample.labels["pod"]: sample.labels["label_app"] for sample in samples}
    for app in apps:
        if app not in owners.values():
            raise HistoryError(
                f'{POD_LABELS}{{{where(estate, region)},label_app="{app}"}} has had no series for {days:g} days: '
                f"{LABELS_REMEDY}, or correct the name of the workload"
            )
    return owners


def labels_of_pods(
    prometheus: Prometheus, estate: Estate, region: str, app: str, now: float
) -> dict[str, dict[str, str]]:
    """The labels of each pod of the app as the recommender reads them: those in Prometheus, not those of the API."""
    samples = prometheus.query(f'{POD_LABELS}{{{where(estate, region)},label_app="{app}"}}', now)
    return {sample.labels["pod"]: _without_prefix(sample.labels) for sample in samples}


def _without_prefix(labels: Mapping[str, str]) -> dict[str, str]:
    return {k.removeprefix(LABEL_PREFIX): value for k, value in labels.items() if k.startswith(LABEL_PREFIX)}


def throttled_share(
    prometheus: Prometheus, estate: Estate, region: str, app: str, now: float, seconds: float
) -> float | None:
    """The share (0 to 1) of CPU periods in which the app's containers were throttled; None without a period."""
    grown = (f"sum({_increase(estate, region, metric, app, seconds)})" for metric in (THROTTLED, PERIODS))
    return prometheus.value(" / ".join(grown), now)


def oom_kills(
    prometheus: Prometheus, estate: Estate, region: str, app: str, now: float, seconds: float, step: float = 60.0
) -> list[OomKill]:
    """The OOM kills of the app's containers in the last ``seconds``, oldest first, found on a grid of ``step``.

    No kill and no series are the same answer: cAdvisor begins a series at 0.
    """
    start = now - seconds
    expression = f"{OOM}{{{where(estate, region)}}} and on (pod) {_labelled(estate, region, [app], seconds)}"
    series = prometheus.query_range(expression, start, now, step)
    return sorted((kill for one in series for kill in _kills(one, start + 2 * step)), key=lambda kill: kill.at)


def where(estate: Estate, region: str) -> str:
    """The label matchers of the containers' series in a region."""
    return f'region="{region}",namespace="{estate.namespace}"'


def _labelled(estate: Estate, region: str, apps: Sequence[str], seconds: float) -> str:
    """PromQL: one element for each pod of the apps that was seen in the last ``seconds``."""
    matchers = f'{where(estate, region)},label_app=~"{"|".join(apps)}"'
    return f"max by (pod, label_app) (last_over_time({POD_LABELS}{{{matchers}}}[{round(seconds)}s]))"


def _increase(estate: Estate, region: str, metric: str, app: str, seconds: float) -> str:
    grown = f'increase({metric}{{{where(estate, region)},container!=""}}[{round(seconds)}s])'
    return f"{grown} and on (pod) {_labelled(estate, region, [app], seconds)}"


def _collected(
    prometheus: Prometheus, metric: str, selector: str, now: float, reading: Reading
) -> dict[tuple[str, str], list[Series]]:
    """The series of each (pod, container). Raises HistoryError when there are none."""
    found: dict[tuple[str, str], list[Series]] = {}
    for expression, start, end, step in _queries(metric, selector, now, reading):
        for series in prometheus.query_range(expression, start, end, step):
            found.setdefault((series.labels["pod"], series.labels["container"]), []).append(series)
    if not found:
        raise HistoryError(f"{metric}{{{selector}}} has had no series for {reading.days:g} days: {CADVISOR_REMEDY}")
    return found


def _queries(metric: str, selector: str, now: float, reading: Reading) -> Iterator[tuple[str, float, float, float]]:
    """Expression, start, end and step: of the history, and of what the recommender has seen live since."""
    started = now if reading.live_since is None else reading.live_since
    selected = f"{metric}{{{selector}}}"
    past = f"rate({selected}[{reading.resolution}s])" if metric == CPU else selected
    yield past, started - reading.days * DAY, started, reading.resolution
    if now - started >= reading.live_step:
        begin = started + reading.live_step
        # Two scrapes lie within 5 minutes also where Prometheus scrapes once a minute.
        live = f"irate({selected}[5m]) and {_present(selected, reading)}" if metric == CPU else selected
        yield live, begin, now, reading.live_step


def _present(selected: str, reading: Reading) -> str:
    """PromQL: whether a container was scraped lately, though one scrape was lost. Series whose samples bring their own
    timestamps, as cAdvisor's do, get no mark where they end: without this they would stand for five minutes more.
    """
    return f"present_over_time({selected}[{2 * reading.live_step}s])"


def _joined(series: Iterable[Series]) -> Samples:
    """All series of one container in the order of time, one sample a moment: the largest. NaN is left out."""
    best: dict[float, float] = {}
    for at, value in itertools.chain.from_iterable(one.points for one in series):
        if not math.isnan(value):
            best[at] = max(value, best.get(at, value))
    times = np.array(sorted(best), dtype=float)
    return Samples(times, np.array([best[at] for at in times.tolist()], dtype=float))


def _kills(series: Series, born_after: float) -> Iterator[OomKill]:
    """A kill for each step by which the counter grew; one that begins inside the window began at 0."""
    points = [point for point in series.points if not math.isnan(point[1])]
    begins = bool(points) and points[0][0] > born_after
    for (_, before), (at, after) in itertools.pairwise([(0.0, 0.0), *points] if begins else points):
        grown = after - before if after >= before else after
        for _ in range(round(grown)):
            yield OomKill(series.labels["pod"], series.labels["container"], at)
