"""Use of requests and kills for memory, from plain pods and series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from include.clients.prometheus import Sample
from include.estate import load_estate
from lab.rehearsal import occupancy
from lab.rehearsal.evidence import EvidenceFigures
from lab.rehearsal.occupancy import Amount, Occupancy, Use

GIB = 2.0**30
FIGURES = EvidenceFigures(5, 30, 0.0, 0.0, 1.45, 11.5, 0.0)
BEGUN = dt.datetime(2026, 11, 29, 10, 0, tzinfo=dt.UTC)


def pod(name: str, cpu: str = "1", memory: str = "2Gi", **status: Any) -> dict[str, Any]:
    container = {"name": "akidb", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}, "status": status}


class Server:
    """A Prometheus that answers each query by the first name in it that it knows."""

    def __init__(self, **answers: Mapping[str, float] | float | None) -> None:
        self.answers, self.asked = answers, [""]

    def _of(self, expression: str) -> Any:
        self.asked.append(expression)
        return next((answer for name, answer in self.answers.items() if name in expression), None)

    def query(self, expression: str) -> list[Sample]:
        return [Sample({"pod": name}, 0.0, value) for name, value in (self._of(expression) or {}).items()]

    def value(self, expression: str) -> float | None:
        found: float | None = self._of(expression)
        return found


def test_the_larger_of_cpu_and_memory_by_request_is_the_utilisation() -> None:
    used = {"a": Amount(0.8, 1.2 * GIB), "b": Amount(0.6, 1.0 * GIB), "other": Amount(9.0, 9 * GIB)}
    found = occupancy.use_of([pod("a"), pod("b", "500m", "1Gi")], used)
    assert found is not None
    assert (found.cpu, found.memory, found.utilisation) == (0.9333, 0.7333, 0.9333)


def test_a_part_of_the_pods_is_no_figure_of_all_of_them() -> None:
    assert occupancy.use_of([pod("a"), pod("b")], {"a": Amount(0.8, GIB)}) is None
    assert occupancy.use_of([], {}) is None


def test_without_requests_nothing_is_known() -> None:
    found = occupancy.use_of([pod("a", "0", "2Gi")], {"a": Amount(0.8, GIB)})
    assert found == Use(Amount(0.8, GIB), Amount(0.0, 2 * GIB))
    assert found.utilisation is None


def test_use_is_the_mean_of_the_last_soak_by_pod_and_only_where_both_are_known() -> None:
    cpu = {"a": 0.8, "b": 0.6, "c": float("nan")}
    server = Server(container_cpu_usage_seconds_total=cpu, container_memory_working_set_bytes={"a": GIB, "c": GIB})
    assert occupancy.used_by_pod(cast("Any", server), "akidb", "us-east-1") == {"a": Amount(0.8, GIB)}
    assert server.asked[1:] == [
        'sum by (pod) (rate(container_cpu_usage_seconds_total{region="us-east-1",namespace="akidb",container!="",'
        'container!="POD"}[30s]))',
        'sum by (pod) (avg_over_time(container_memory_working_set_bytes{region="us-east-1",namespace="akidb",'
        'container!="",container!="POD"}[30s]))',
        'sum by (pod) (container_cpu_usage_seconds_total{region="us-east-1",namespace="akidb",container!="",'
        'container!="POD"} offset 30s)',
    ]


def test_a_pod_that_has_just_started_has_no_mean_yet() -> None:
    both = {"a": 0.8, "b": 0.8}
    server = Server(offset={"a": 9.0}, container_cpu_usage_seconds_total=both, container_memory_working_set_bytes=both)
    assert list(occupancy.used_by_pod(cast("Any", server), "akidb", "us-east-1")) == ["a"]


@pytest.mark.parametrize(("grpc", "qps"), [(3000.04, 7200.1), (None, None)])
def test_the_traffic_is_that_of_both_protocols_or_unknown(grpc: float | None, qps: float | None) -> None:
    server = Server(akidb_http_requests_total=4200.02, akidb_grpc_requests_total=grpc)
    assert occupancy.qps(cast("Any", server), load_estate(), "us-east-1") == qps


def killed(at: str, reason: str = "OOMKilled", state: str = "lastState") -> dict[str, Any]:
    return {state: {"terminated": {"reason": reason, "exitCode": 137, "finishedAt": at}}}


def test_a_container_counts_as_killed_when_its_last_end_was_for_memory_and_since_then() -> None:
    pods = [
        pod("a", containerStatuses=[killed("2026-11-29T10:00:00Z"), killed("2026-11-29T09:59:59Z")]),
        pod("b", containerStatuses=[killed("2026-11-29T10:05:00Z", "Error")]),
        pod("c", containerStatuses=[killed("2026-11-29T10:05:00Z", state="state"), {"state": {"running": {}}}]),
        pod("d"),
    ]
    assert occupancy.killed_containers(pods, BEGUN) == 2


@pytest.mark.parametrize(("counted", "kills"), [(0.0, 1), (3.02, 3), (None, None)])
def test_kills_are_the_larger_of_both_counts_and_unknown_without_the_counter(
    counted: float | None, kills: int | None
) -> None:
    server = Server(container_oom_events_total=counted)
    cluster = SimpleNamespace(list=lambda *_: [pod("a", containerStatuses=[killed("2026-11-29T10:01:00Z")])])
    parts = {"estate": load_estate(), "region": "us-east-1", "prometheus": server, "cluster": cluster}
    found = occupancy.oom_kills(cast("Any", SimpleNamespace(**parts)), BEGUN, BEGUN + dt.timedelta(seconds=480))
    assert found == kills
    assert server.asked[-1] == ('sum(increase(container_oom_events_total{region="us-east-1",namespace="akidb"}[480s]))')


def test_regions_are_read_until_every_pod_has_series_or_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    use = Use(Amount(0.8, GIB), Amount(1.0, 2 * GIB))
    answers = iter([None, use])
    read = lambda *_: Occupancy(FIGURES, next(answers), 7200.0)  # noqa: E731
    found = occupancy.occupancies({"us-east-1": cast("Any", None)}, 60, read=read, pause_seconds=0)
    assert found["us-east-1"].utilisation == 0.8
    monkeypatch.setattr(occupancy, "FIRST_SAMPLES_SECONDS", 0)
    unknown = occupancy.occupancies(
        {"us-east-1": cast("Any", None)}, 60, read=lambda *_: Occupancy(FIGURES, None, None), pause_seconds=0
    )
    assert unknown["us-east-1"].utilisation is None
