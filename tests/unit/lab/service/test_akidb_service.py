"""The plant: counters from demand and ready pods, faults, and its two pages."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, cast

import pytest

from include.estate import load_estate
from lab.service.akidb_service import (
    EDGES,
    AkidbService,
    Plant,
    run_clock,
    server,
    start_mode,
)
from lab.service.consumption import Consumption, Kill
from lab.service.endpoints import Census, Endpoints
from lab.service.faults import FaultError, ServiceFaults, parse_faults
from lab.service.kubelet import Kubelet
from lab.service.queueing import load_of
from lab.service.usage import MIB

ESTATE = load_estate()
REGION = "us-east-1"
PEAK_QPS = 5880.0
LIMITS = {"cpu": "2", "memory": "4Gi"}


class Steady:
    """The weekday peak without noise."""

    def qps(self, region: str, plant_time: float) -> float:
        return PEAK_QPS


def pods(app: str, count: int) -> list[Any]:
    return [
        {
            "metadata": {"uid": f"{app}-{n}", "name": f"{app}-{n}", "namespace": "akidb", "labels": {"app": app}},
            "spec": {"nodeName": "n1", "containers": [{"name": "akidb", "resources": {"limits": LIMITS}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        for n in range(count)
    ]


def region(rest: int, grpc: int) -> Endpoints:
    endpoints = Endpoints()
    endpoints.replace_nodes([{"metadata": {"name": "n1"}}])
    endpoints.replace_pods([*pods("akidb-rest", rest), *pods("akidb-grpc", grpc)])
    return endpoints


def plant_with(endpoints: Endpoints, folder: Path, edge_30ms: bool = False) -> Plant:
    """A plant whose region has opened; the census of ``endpoints`` was taken once."""
    regions = {REGION: endpoints}
    plant = Plant(ESTATE, regions, Steady(), ServiceFaults(folder / "plant_faults.json", regions), edge_30ms)
    plant.tick(1, 0)
    return plant


def leave(endpoints: Endpoints, rest: int, grpc: int) -> None:
    endpoints.replace_pods([*pods("akidb-rest", rest), *pods("akidb-grpc", grpc)])


def values(text: str) -> dict[str, float]:
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def share_within(found: dict[str, float], protocol: str, edge: str) -> float:
    name = f'akidb_{protocol}_request_duration_seconds_bucket{{region="{REGION}",namespace="akidb",le="%s"}}'
    return found[name % edge] / found[name % "+Inf"]


def requests(found: dict[str, float], protocol: str) -> dict[str, float]:
    name = f'akidb_{protocol}_requests_total{{region="{REGION}",namespace="akidb",status="%s"}}'
    return {status: found[name % status] for status in ("200", "500", "502", "503")}


def test_the_start_replicas_carry_the_peak(tmp_path: Path) -> None:
    plant = plant_with(region(15, 15), tmp_path)
    plant.tick(0.5, 0)
    plant.tick(0.5, 0.5)
    found = values(plant.metrics())
    for protocol in ("http", "grpc"):
        assert requests(found, protocol) == {"200": 2940, "500": 0, "502": 0, "503": 0}
        assert share_within(found, protocol, "0.025") == pytest.approx(0.98741, abs=1e-5)
        assert found[f'akidb_{protocol}_request_duration_seconds_count{{region="{REGION}",namespace="akidb"}}'] == 2940
        mean = found[f'akidb_{protocol}_request_duration_seconds_sum{{region="{REGION}",namespace="akidb"}}'] / 2940
        assert mean == pytest.approx(load_of(2940, 15, 350).mean_seconds)
    assert found[f'akidb_memory_usage_bytes{{region="{REGION}",namespace="akidb"}}'] == 30 * 1229 * 1024 * 1024


def test_half_of_the_pods_break_the_gate(tmp_path: Path) -> None:
    endpoints = region(15, 15)
    plant = plant_with(endpoints, tmp_path)
    leave(endpoints, 7, 7)
    plant.tick(1, 0)
    found = values(plant.metrics())
    for protocol in ("http", "grpc"):
        assert share_within(found, protocol, "0.025") < 0.95
        assert share_within(found, protocol, "0.05") < 0.95
        # 7 x 350 less one request for each mean wait of 0.25 s
        assert requests(found, protocol) == {"200": 2446, "500": 0, "502": 0, "503": 494}


def test_clients_do_not_switch_protocol(tmp_path: Path) -> None:
    endpoints = region(15, 15)
    plant = plant_with(endpoints, tmp_path)
    leave(endpoints, 15, 0)
    plant.tick(1, 0)
    found = values(plant.metrics())
    assert requests(found, "http") == {"200": 2940, "500": 0, "502": 0, "503": 0}
    assert requests(found, "grpc") == {"200": 0, "500": 0, "502": 0, "503": 2940}
    assert found[f'akidb_grpc_request_duration_seconds_count{{region="{REGION}",namespace="akidb"}}'] == 0


def test_a_vanished_node_loses_requests_in_flight_and_those_still_sent_to_it(tmp_path: Path) -> None:
    endpoints = region(15, 15)
    lost = {"metadata": {"uid": "x", "labels": {"app": "akidb-rest"}}, "spec": {"nodeName": "n2"}}
    lost["status"] = pods("akidb-rest", 1)[0]["status"]
    endpoints.node_event("ADDED", {"metadata": {"name": "n2"}})
    endpoints.pod_event("ADDED", lost)
    plant = plant_with(endpoints, tmp_path)
    plant.tick(1, 0)
    endpoints.node_event("DELETED", {"metadata": {"name": "n2"}})
    plant.tick(1, 1)
    in_flight = 2940 * load_of(2940, 16, 350).mean_seconds / 16
    found = requests(values(plant.metrics()), "http")
    assert found["502"] == pytest.approx(2940 / 16 + in_flight, abs=1e-5)
    assert sum(found.values()) == pytest.approx(2 * 2940, abs=1e-5)


def test_a_killed_pod_loses_what_was_in_flight_once() -> None:
    service = AkidbService("http", EDGES["http"])
    fault = parse_faults("{}", {})
    assert fault == {}
    no_fault = ServiceFaults(Path("absent"), {}).of(REGION)
    service.advance(1, 2940, Census(serving=15), 350, no_fault)
    service.advance(1, 2940, Census(serving=14, killed=1), 350, no_fault)
    service.advance(1, 2940, Census(serving=14), 350, no_fault)
    # 196 requests a second and pod, 5.715 ms each
    assert service.requests["502"] == pytest.approx(1.1202, abs=1e-4)
    assert service.requests["200"] == pytest.approx(3 * 2940 - 1.1202, abs=1e-4)


def test_faults_follow_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant = plant_with(region(15, 15), tmp_path)
    file = tmp_path / "plant_faults.json"
    file.write_text(json.dumps({REGION: {"extra_latency_ms": 80, "error_ratio": 0.25}}))
    plant.tick(1, 0)
    found = values(plant.metrics())
    assert share_within(found, "http", "0.05") == 0
    assert requests(found, "http") == {"200": 2205, "500": 735, "502": 0, "503": 0}
    file.write_text("{broken")
    plant.tick(1, 1)
    plant.tick(1, 2)
    assert requests(values(plant.metrics()), "http")["500"] == 3 * 735
    assert capsys.readouterr().out.count("the faults stay as they were") == 1
    file.unlink()
    plant.tick(1, 3)
    assert requests(values(plant.metrics()), "http")["500"] == 3 * 735


def test_a_load_factor_multiplies_the_demand(tmp_path: Path) -> None:
    plant = plant_with(region(15, 15), tmp_path)
    (tmp_path / "plant_faults.json").write_text(json.dumps({REGION: {"load_factor": 1.1}}))
    plant.tick(1, 0)
    assert requests(values(plant.metrics()), "http")["200"] == pytest.approx(1.1 * 2940)
    assert plant.health()[1]["regions"][REGION]["offered_qps"] == pytest.approx(1.1 * PEAK_QPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"us-east-1": {"latency": 1}}', "unexpected keyword argument 'latency'"),
        ('{"mars": {}}', "region 'mars' is not running; use one of us-east-1"),
        ('{"us-east-1": {"error_ratio": 2}}', "error_ratio from 0 to 1"),
        ('{"us-east-1": {"extra_latency_ms": -1}}', "extra_latency_ms must be 0 or more"),
        ('{"us-east-1": {"load_factor": 11}}', "load_factor must be from 0 to 10"),
        ('{"us-east-1": {"leak": {"app": "akidb-grpc", "mib": 0}}}', "leak needs the name of an app, and mib above 0"),
        ('{"us-east-1": {"leak": {"app": "akidb-grpc"}}}', "missing 1 required positional argument: 'mib'"),
        ("[]", "write"),
    ],
)
def test_faults_that_cannot_be_meant_are_refused(text: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        parse_faults(text, {REGION: None})


def test_akidbs_own_edges_and_30_ms_as_an_option(tmp_path: Path) -> None:
    plain = values(plant_with(region(15, 15), tmp_path).metrics())
    assert sum(name.startswith("akidb_http_request_duration_seconds_bucket") for name in plain) == 13
    assert not any('le="0.03"' in name for name in plain)
    plant = plant_with(region(15, 15), tmp_path, edge_30ms=True)
    plant.tick(1, 0)
    found = values(plant.metrics())
    assert share_within(found, "http", "0.03") == pytest.approx(load_of(2940, 15, 350).share_within(0.03), abs=1e-9)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_usage_of_each_pod_under_the_names_of_kubelets(tmp_path: Path) -> None:
    endpoints = region(15, 15)
    plant = plant_with(endpoints, tmp_path)
    plant.tick(10, 1)
    labels = 'region="us-east-1",namespace="akidb",pod="akidb-rest-0",container="akidb",node="n1",instance="n1"'
    found = values(plant.cadvisor())
    assert len(found) == 30 * 6
    # 0.6 CPU and 1,229 MiB a pod at the weekday peak.
    assert found[f"container_cpu_usage_seconds_total{{{labels}}}"] == pytest.approx(6.0)
    assert found[f"container_memory_working_set_bytes{{{labels}}}"] == 1229 * 1024 * 1024
    assert found[f"container_cpu_cfs_periods_total{{{labels}}}"] == 100
    assert found[f"container_cpu_cfs_throttled_periods_total{{{labels}}}"] == 0
    assert found[f"container_oom_events_total{{{labels}}}"] == 0
    leave(endpoints, 14, 15)
    plant.tick(10, 2)
    rest = [name for name in values(plant.cadvisor()) if "akidb-rest" in name]
    assert len(rest) == 14 * 6  # a pod that is gone has no series
    assert values(plant.cadvisor())[f"container_cpu_usage_seconds_total{{{labels}}}"] > 12.0  # less pods, more each


class Reported:
    """A kubelet that keeps the kills it was told of."""

    def __init__(self) -> None:
        self.kills: list[Kill] = []

    def killed(self, kills: list[Kill]) -> None:
        self.kills += kills

    def show(self, consumption: Consumption) -> None:
        self.shown = consumption


def test_a_pod_that_leaks_is_killed_again_and_again_and_loses_its_requests(tmp_path: Path) -> None:
    endpoints, reported = region(15, 15), Reported()
    faults = ServiceFaults(tmp_path / "plant_faults.json", {REGION: endpoints})
    kubelets = {REGION: cast(Kubelet, reported)}
    plant = Plant(ESTATE, {REGION: endpoints}, Steady(), faults, kubelets=kubelets)
    plant.tick(1, 0)
    (tmp_path / "plant_faults.json").write_text(json.dumps({REGION: {"leak": {"app": "akidb-grpc", "mib": 4000}}}))
    for second in range(1, 8):
        plant.tick(1, second)
    # 1,229 MiB and 400 more each second: 4,029 after 7 s.
    assert reported.kills == []
    plant.tick(1, 8)
    (kill,) = reported.kills
    assert (kill.pod.name, kill.container, kill.restarts) == ("akidb-grpc-0", "akidb", 1)
    assert (kill.memory_bytes, kill.limit) == (4429 * MIB, 4096 * MIB)
    assert endpoints.take_census()["akidb-grpc"] == Census(serving=14, killed=1)
    labels = 'region="us-east-1",namespace="akidb",pod="akidb-grpc-0",container="akidb",node="n1",instance="n1"'
    assert values(plant.cadvisor())[f"container_oom_events_total{{{labels}}}"] == 1
    leave(endpoints, 15, 15)
    for second in range(9, 18):
        plant.tick(1, second)
    # It grows again, idle memory and leak: after 8 s 0.8 x 1,229 and 3,200 MiB.
    assert [kill.restarts for kill in reported.kills] == [1, 2]
    assert reported.kills[1].memory_bytes == pytest.approx((0.8 * 1229 + 3200) * MIB, rel=0.001)
    (tmp_path / "plant_faults.json").unlink()
    for second in range(18, 60):
        plant.tick(1, second)
    assert len(reported.kills) == 2


def test_what_runs_in_other_namespaces_uses_something_and_serves_nothing(tmp_path: Path) -> None:
    endpoints = Endpoints("akidb")
    endpoints.replace_nodes([{"metadata": {"name": "n1"}}])
    staging, karpenter = pods("akidb-rest", 2)
    staging["metadata"] |= {"uid": "s", "namespace": "akidb-staging"}
    labels = {"app.kubernetes.io/name": "karpenter"}
    karpenter["metadata"] |= {"uid": "k", "name": "karpenter-0", "namespace": "karpenter", "labels": labels}
    endpoints.replace_pods([*pods("akidb-rest", 15), *pods("akidb-grpc", 15), staging, karpenter])
    plant = plant_with(endpoints, tmp_path)
    plant.tick(10, 1)
    assert plant.health()[1]["regions"][REGION]["services"]["akidb-rest"]["serving"] == 15
    found = values(plant.cadvisor())
    memory = 'container_memory_working_set_bytes{region="us-east-1",namespace="%s",pod="%s",container="akidb",'
    memory += 'node="n1",instance="n1"}'
    assert found[memory % ("karpenter", "karpenter-0")] == 290 * MIB
    assert found[memory % ("akidb-staging", "akidb-rest-0")] == 50 * MIB
    name = 'kube_pod_labels{region="us-east-1",namespace="karpenter",pod="karpenter-0",label_%s="karpenter"}'
    assert found[name % "app_kubernetes_io_name"] == 1


class Ticks:
    """Keeps what the clock says, and ends it after two ticks."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []
        self.stop = threading.Event()

    def tick(self, seconds: float, plant_time: float) -> None:
        self.seen.append((seconds, plant_time - 1000))
        if len(self.seen) == 2:
            self.stop.set()


def test_nothing_is_served_before_plant_time_begins_and_then_it_is_faster() -> None:
    ticks = Ticks()
    run_clock(cast(Plant, ticks), 1000, 12, ticks.stop, wait=0.7)
    (first, begun), (second, later) = ticks.seen
    assert 0 < first < 2  # the seconds since the beginning, not since the process started
    assert begun == pytest.approx(first * 12)
    assert later == pytest.approx((first + second) * 12)


def test_where_plant_time_starts_is_a_name_or_a_number() -> None:
    assert [start_mode(text) for text in ("peak", "now", "1764061200")] == ["peak", "now", 1_764_061_200]
    with pytest.raises(ValueError, match="noon"):
        start_mode("noon")


def test_a_region_may_open_with_fewer_replicas_than_the_estates(tmp_path: Path) -> None:
    endpoints = region(3, 4)
    regions = {REGION: endpoints}
    plant = Plant(ESTATE, regions, Steady(), ServiceFaults(tmp_path / "plant_faults.json", regions), open_at=4)
    plant.tick(1, 0)
    assert not plant.health()[0]
    leave(endpoints, 4, 4)
    plant.tick(1, 1)
    assert plant.health()[0]


def test_pages(tmp_path: Path) -> None:
    endpoints = Endpoints()
    plant = plant_with(endpoints, tmp_path)
    http = server(plant, 0)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        plant.tick(1, 0)
        assert get(f"{url}/health")[0] == 503
        endpoints.replace_nodes([{"metadata": {"name": "n1"}}])
        leave(endpoints, 15, 14)
        plant.tick(1, 1)
        # A region that is still being set up has no series: no data, not zero.
        assert get(f"{url}/health")[0] == 503
        assert not [name for name in values(get(f"{url}/metrics")[1]) if name.startswith("akidb")]
        assert values(get(f"{url}/cadvisor")[1]) == {}
        leave(endpoints, 15, 15)
        plant.tick(1, 2)
        plant.tick(1, 3)
        status, body = get(f"{url}/health")
        assert status == 200
        assert json.loads(body)["regions"][REGION] == {
            "open": True,
            "offered_qps": 5880.0,
            "services": {
                app: {"serving": 15, "dead": 0, "utilisation": 0.56, "p95_ms": 17.1}
                for app in ("akidb-rest", "akidb-grpc")
            },
        }
        assert requests(values(get(f"{url}/metrics")[1]), "http")["200"] == 2940
        assert get(f"{url}/other")[0] == 404
    finally:
        http.shutdown()
        http.server_close()
