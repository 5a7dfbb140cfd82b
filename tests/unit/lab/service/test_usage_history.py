"""The week of use before the rehearsal: pods, samples and figures, exactly."""

from __future__ import annotations

import re

import pytest

from include.estate import load_estate
from lab.service.history import minutes
from lab.service.usage_history import past_pods, samples

ESTATE = load_estate()
REGION = "us-east-1"
NOW = 1_764_000_090.0
MINUTE = 1_764_000_060  # the last full one


class Steady:
    """The weekday peak without noise."""

    def qps(self, region: str, plant_time: float) -> float:
        return 5880.0


def found(days: int) -> dict[str, list[tuple[float, int]]]:
    text = "".join(samples(ESTATE, Steady(), REGION, minutes(NOW, days), shift=0))
    series: dict[str, list[tuple[float, int]]] = {}
    for line in text.splitlines():
        name, value, moment = line.rsplit(" ", 2)
        series.setdefault(name, []).append((float(value), int(moment)))
    return series


def test_pods_are_named_as_those_of_a_replicaset_and_no_two_alike() -> None:
    pods = [p for app, w in ESTATE.workloads.items() for p in past_pods(ESTATE, REGION, app, w)]
    assert len({pod.name for pod in pods}) == 30
    assert all(re.fullmatch(r"akidb-(rest|grpc)-[b-z2-9]{10}-[b-z2-9]{5}", pod.name) for pod in pods)
    assert len({pod.template for pod in pods}) == 2
    assert len({pod.node for pod in pods}) == 5


def test_a_week_and_an_hour_that_end_five_minutes_before_now() -> None:
    series = found(days=30)
    assert len(series) == 30 * 6
    times = {name.partition("{")[0]: [at for _, at in points] for name, points in series.items()}
    begin = MINUTE - (169 * 60 - 1) * 60
    assert {name: (at[0], at[-1], at[1] - at[0]) for name, at in times.items()} == {
        "container_cpu_usage_seconds_total": (begin, MINUTE - 5 * 60, 120),
        "container_memory_working_set_bytes": (begin, MINUTE - 7 * 60, 240),
        "container_cpu_cfs_periods_total": (begin, MINUTE - 59 * 60, 3600),
        "container_cpu_cfs_throttled_periods_total": (begin, MINUTE - 59 * 60, 3600),
        "container_oom_events_total": (begin, MINUTE - 59 * 60, 3600),
        "kube_pod_labels": (begin, MINUTE - 59 * 60, 3600),
    }


def test_figures_are_the_plants_at_that_demand() -> None:
    series = found(days=1)
    pod = past_pods(ESTATE, REGION, "akidb-rest", ESTATE.workloads["akidb-rest"])[0]
    labels = f'region="us-east-1",namespace="akidb",pod="{pod.name}",container="akidb",node="{pod.node}"'
    labels += f',instance="{pod.node}",job="kubernetes-cadvisor"'
    cpu = [value for value, _ in series[f"container_cpu_usage_seconds_total{{{labels}}}"]]
    # 0.6 CPU at the weekday peak: 72 s in two minutes.
    assert (cpu[0], cpu[1], len(cpu)) == (0, 72, 718)
    assert cpu[-1] == pytest.approx(717 * 72)
    memory = series[f"container_memory_working_set_bytes{{{labels}}}"]
    assert {value for value, _ in memory} == {1229 * 1024 * 1024}
    periods = [value for value, _ in series[f"container_cpu_cfs_periods_total{{{labels}}}"]]
    assert periods[:2] == [0, 36_000]  # ten a second
    assert {value for value, _ in series[f"container_oom_events_total{{{labels}}}"]} == {0}
    known = f'region="us-east-1",namespace="akidb",pod="{pod.name}",label_app="akidb-rest"'
    known += f',label_pod_template_hash="{pod.template}",job="kubernetes-cadvisor"'
    assert {value for value, _ in series[f"kube_pod_labels{{{known}}}"]} == {1}
