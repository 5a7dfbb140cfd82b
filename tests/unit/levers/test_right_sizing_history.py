"""What is asked of Prometheus for the use of workloads, and what becomes of the answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from include.clients.prometheus import Sample, Series
from include.estate import load_estate
from include.levers.right_sizing.history import HistoryError, OomKill, Reading, oom_kills, read_use, throttled_share

NOW, REGION = 1_764_417_600.0, "ap-northeast-1"
WHERE = f'region="{REGION}",namespace="akidb"'
CONTAINERS = f'{WHERE},pod=~".+",container!="POD",container!=""'
Points = Sequence[tuple[float, float]]


def series(pod: str, container: str, points: Points, **labels: str) -> Series:
    return Series({"pod": pod, "container": container, **labels}, tuple(points))


class Server:
    """Answers a range query by the metric in it, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, Sequence[Series]], owners: Mapping[str, str]) -> None:
        self.answers, self.owners = answers, owners
        self.asked: list[tuple[str, float, float, float]] = []
        self.instant: list[str] = []

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        self.instant.append(expression)
        return [Sample({"pod": pod, "label_app": app}, NOW, 1.0) for pod, app in self.owners.items()]

    def value(self, expression: str, at: float | None = None) -> float | None:
        self.instant.append(expression)
        return 0.02

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        self.asked.append((expression, start, end, step))
        return [one for metric, found in self.answers.items() if metric in expression for one in found]


def server(**changes: Sequence[Series]) -> Server:
    answers: dict[str, Sequence[Series]] = {
        "cpu_usage": [series("rest-a", "main", [(NOW - 300, 0.4), (NOW, 0.5)]), series("other", "main", [(NOW, 9.0)])],
        "working_set": [series("rest-a", "main", [(NOW, 1e9)])],
    }
    return Server(answers | changes, {"rest-a": "akidb-rest"})


def use_of(prometheus: Server, reading: Reading | None = None) -> object:
    return read_use(prometheus, load_estate(), REGION, ["akidb-rest"], NOW, reading)["akidb-rest"]  # type: ignore[arg-type]


def test_the_queries_are_the_recommenders_own_on_a_grid_that_ends_now() -> None:
    prometheus = server()
    use_of(prometheus)
    start = NOW - 8 * 86_400
    assert prometheus.asked == [
        (f"rate(container_cpu_usage_seconds_total{{{CONTAINERS}}}[300s])", start, NOW, 300),
        (f"container_memory_working_set_bytes{{{CONTAINERS}}}", start, NOW, 300),
    ]
    assert prometheus.instant == [
        f'max by (pod, label_app) (last_over_time(kube_pod_labels{{{WHERE},label_app=~"akidb-rest"}}[691200s]))'
    ]


def test_after_the_recommenders_start_it_reads_on_at_the_recommenders_pace() -> None:
    prometheus = server()
    use_of(prometheus, Reading(live_since=NOW - 600, live_step=10))
    assert [asked[1:] for asked in prometheus.asked[:2]] == [
        (NOW - 600 - 8 * 86_400, NOW - 600, 300),
        (NOW - 590, NOW, 10),
    ]
    # Between the two newest scrapes, as metrics-server has it, and of pods that are there: no climb and no fall.
    cpu = f"container_cpu_usage_seconds_total{{{CONTAINERS}}}"
    assert prometheus.asked[1][0] == f"irate({cpu}[5m]) and present_over_time({cpu}[20s])"


def test_only_pods_of_the_app_count_and_each_is_a_use_of_its_own() -> None:
    prometheus = server(cpu_usage=[series(pod, "main", [(NOW, 0.5)]) for pod in ("rest-a", "rest-b", "other")])
    prometheus.owners = {"rest-a": "akidb-rest", "rest-b": "akidb-rest"}
    (uses,) = use_of(prometheus).values()  # type: ignore[attr-defined]
    assert [one.cpu_cores.values.tolist() for one in uses] == [[0.5], [0.5]]
    assert [len(one.memory_bytes.values) for one in uses] == [1, 0]


def test_two_series_of_one_container_are_one_and_nan_is_no_sample() -> None:
    moved = [
        series("rest-a", "main", [(NOW, 0.5)], node="n2"),
        series("rest-a", "main", [(NOW - 600, 0.1), (NOW - 300, math.nan), (NOW, 0.2)], node="n1"),
    ]
    (use,) = use_of(server(cpu_usage=moved))["main"]  # type: ignore[index]
    assert use.cpu_cores.times.tolist() == [NOW - 600, NOW]
    assert use.cpu_cores.values.tolist() == [0.1, 0.5]


@pytest.mark.parametrize(
    ("changes", "owners", "message"),
    [
        (
            {"cpu_usage": []},
            {"rest-a": "akidb-rest"},
            "container_cpu_usage_seconds_total.* has had no series for 8 days",
        ),
        (
            {},
            {},
            'kube_pod_labels.*label_app="akidb-rest".* has had no series for 8 days: start kube-state-metrics with',
        ),
        (
            {},
            {"gone": "akidb-rest"},
            "has no series of the pods of akidb-rest in ap-northeast-1: check that Prometheus",
        ),
    ],
)
def test_a_missing_series_is_named_with_its_remedy(
    changes: Mapping[str, Sequence[Series]], owners: Mapping[str, str], message: str
) -> None:
    prometheus = server(**changes)
    prometheus.owners = owners
    with pytest.raises(HistoryError, match=message):
        use_of(prometheus)


def kills_of(points: Points) -> list[OomKill]:
    found = Server({"oom_events": [series("rest-a", "main", points)]}, {})
    return oom_kills(found, load_estate(), REGION, "akidb-rest", NOW, 3600)  # type: ignore[arg-type]


def test_each_step_of_the_counter_is_a_kill_at_its_time() -> None:
    assert kills_of([(NOW - 3600, 2), (NOW - 120, 3), (NOW - 60, 3), (NOW, 5)]) == [
        OomKill("rest-a", "main", NOW - 120),
        OomKill("rest-a", "main", NOW),
        OomKill("rest-a", "main", NOW),
    ]


def test_a_counter_that_begins_inside_the_window_began_at_zero_and_one_that_falls_was_reset() -> None:
    assert [kill.at for kill in kills_of([(NOW - 600, 1), (NOW - 300, 0), (NOW, 1)])] == [NOW - 600, NOW]
    assert kills_of([(NOW - 3600, 7), (NOW, 7)]) == []


def test_the_throttled_share_is_of_the_apps_own_periods() -> None:
    prometheus = server()
    assert throttled_share(prometheus, load_estate(), REGION, "akidb-rest", NOW, 3600) == 0.02  # type: ignore[arg-type]
    mine = f'max by (pod, label_app) (last_over_time(kube_pod_labels{{{WHERE},label_app=~"akidb-rest"}}[3600s]))'
    assert prometheus.instant[-1] == " / ".join(
        f'sum(increase(container_cpu_cfs_{name}_total{{{WHERE},container!=""}}[3600s]) and on (pod) {mine})'
        for name in ("throttled_periods", "periods")
    )
