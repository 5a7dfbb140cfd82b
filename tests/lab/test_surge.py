"""What the surge drill reads from a real cluster and a real Prometheus; the drill itself is ``python -m lab.surge``."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from include.clients import kubernetes as k8s
from include.clients.kubernetes import Cluster
from include.clients.prometheus import Prometheus
from include.prices import load_aws_book
from lab import world as worlds
from lab.cluster.workloads import api_client
from lab.surge.measures import latency
from lab.surge.samples import Sampler, counters
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = pytest.mark.lab
STEP = 5.0  # seconds of a plant minute at time_scale 12
MINUTES = 3


def test_the_sampler_sees_replicas_and_every_paid_node(world: worlds.LabWorld) -> None:
    cluster = Cluster(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))
    sampler = Sampler(world.estate, REGION, cluster, load_aws_book(world.estate), lambda: 0.5)
    sampler.start()
    try:
        world.processes.wait_until(lambda: len(sampler.samples) > 1, "two looks", 30)
    finally:
        seen = sampler.stop()[-1]
    for name, workload in world.estate.workloads.items():
        assert (seen.wanted[name], seen.ready[name]) == (workload.replicas, workload.replicas)
    assert seen.nodes == len(cluster.list(k8s.NODE))
    assert seen.vcpu >= 4 * seen.nodes
    assert seen.usd_hour is not None
    assert sampler.problems == 0


def test_counters_rise_and_give_a_latency(world: worlds.LabWorld) -> None:
    prometheus = Prometheus(world.state["prometheus"])

    def read() -> bool:
        begins = time.time() - MINUTES * STEP - 2
        seen = counters(prometheus, world.estate, REGION, begins, MINUTES, STEP)
        return all(not math.isnan(value) and value > 0 for one in seen for value in one.requests)

    world.processes.wait_until(read, "scrapes over three plant minutes", 60)
    begins = time.time() - MINUTES * STEP - 2
    for one in counters(prometheus, world.estate, REGION, begins, MINUTES, STEP):
        found = latency(one, 0, MINUTES, world.estate.targets.p95_ms)
        assert found.surge_ms is not None
        assert 5 < found.surge_ms < 50
        assert one.failed[-1] == pytest.approx(one.failed[0], abs=one.requests[-1] * 0.01)
