"""Use and OOM kills as everybody sees them, on one region: the plant, kubectl top, Prometheus, status and events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from include.clients.prometheus import Prometheus
from include.quantities import quantity
from lab import world as worlds
from lab.cluster.workloads import api_client
from lab.service.usage import MIB
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = [pytest.mark.lab, pytest.mark.long]
APP = "akidb-grpc"


def eventually(condition: Callable[[], Any], seconds: float) -> Any:
    """The first true answer within ``seconds``, else the last one."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not (answer := condition()) and time.monotonic() < end:
        pause.wait(0.5)
    return answer


def top(world: worlds.LabWorld) -> dict[str, tuple[float, float]]:
    """Cores and bytes of each AkiDB pod as metrics-server has them."""
    api = client.CustomObjectsApi(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))
    items = api.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", "akidb", "pods")["items"]
    uses = {item["metadata"]["name"]: item["containers"][0]["usage"] for item in items if item["containers"]}
    return {name: (float(quantity(use["cpu"])), float(quantity(use["memory"]))) for name, use in uses.items()}


def test_metrics_server_and_prometheus_have_the_plants_figures(world: worlds.LabWorld) -> None:
    # Two looks of metrics-server, which a slow machine stretches.
    seen = eventually(lambda: found if len(found := top(world)) >= 30 else {}, 200)
    assert len(seen) >= 30
    prometheus = Prometheus(world.state["prometheus"])
    mine = f'region="{REGION}",namespace="akidb"'
    # A rate over a minute is too low until there are samples of a whole one.
    assert eventually(lambda: len(prometheus.query(f"container_cpu_usage_seconds_total{{{mine}}} offset 1m")) >= 30, 90)
    seen = top(world)
    series = prometheus.query(f"rate(container_cpu_usage_seconds_total{{{mine}}}[1m])")
    cores = {one.labels["pod"]: one.value for one in series}
    held = {s.labels["pod"]: s.value for s in prometheus.query(f"container_memory_working_set_bytes{{{mine}}}")}
    for name, (cpu, memory) in seen.items():
        # The demand's noise moves within a minute, and metrics-server looks at another one.
        assert cpu == pytest.approx(cores[name], rel=0.15)
        assert memory == pytest.approx(held[name], rel=0.03)


def test_a_leak_is_killed_and_all_see_it(world: worlds.LabWorld, core: client.CoreV1Api) -> None:
    first = min(pod.metadata.name for pod in core.list_namespaced_pod("akidb", label_selector=f"app={APP}").items)
    before = core.read_namespaced_pod(first, "akidb").status.container_statuses[0]
    faults = world.options.folder / "plant_faults.json"
    faults.write_text(json.dumps({REGION: {"leak": {"app": APP, "mib": 4000}}}))
    try:

        def killed() -> Any:
            status = core.read_namespaced_pod(first, "akidb").status.container_statuses[0]
            return status if status.restart_count >= before.restart_count + 2 else None

        status = eventually(killed, 60)
    finally:
        faults.unlink()
    assert status is not None
    ended = status.last_state.terminated
    assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)
    assert ended.started_at < ended.finished_at
    assert status.state.running.started_at == ended.finished_at
    # Neither the kill nor the restart takes away what the kubelet gave.
    assert (status.resources.limits, status.image) == (before.resources.limits, before.image)
    events = core.list_namespaced_event("akidb", field_selector=f"reason=OOMKilling,involvedObject.name={first}").items
    assert len(events) >= 2
    assert "its limit is 4096 MiB" in events[0].message
    query = f'container_oom_events_total{{region="{REGION}",pod="{first}"}} >= 2'
    assert eventually(lambda: Prometheus(world.state["prometheus"]).query(query), 30)

    def ready_again() -> bool:
        now = core.read_namespaced_pod(first, "akidb").status
        return now.container_statuses[0].ready and any(c.type == "Ready" and c.status == "True" for c in now.conditions)

    assert eventually(ready_again, 10)
    assert eventually(lambda: top(world).get(first, (0, 0))[1] < 1400 * MIB, 200)
