"""What pods use as it adds up, throttling at the CPU limit, and whom the kernel kills: exact values."""

from __future__ import annotations

from typing import Any

import pytest

from include.estate import load_estate
from lab.service.consumption import Consumption, Kill
from lab.service.pods import OWN_USE, Container, Pod, pod_of
from lab.service.usage import MIB, Use, constant_use, serving_use, throttled_share

ESTATE = load_estate()
PEAK = ESTATE.workloads["akidb-rest"].use_at_peak


def pod(name: str, *containers: Container, node: str = "n1") -> Pod:
    return Pod("app", node, True, False, False, name=name, uid=name, running=True, containers=containers)


def run(
    found: Consumption, pods: list[Pod], use: Use, leaks: dict[str, float] | None = None, room: int | None = None
) -> list[Kill]:
    return found.advance(1, pods, lambda _: use, leaks or {}, {} if room is None else {"n1": room})


@pytest.mark.parametrize(
    ("utilisation", "cores", "mib"),
    [(0.0, 0.03, 921.75), (0.28, 0.3, 1075.375), (0.56, 0.6, 1229), (1.12, 1.2, 1229)],
)
def test_use_follows_the_load_and_is_never_nothing(utilisation: float, cores: float, mib: float) -> None:
    use = serving_use(ESTATE.traffic, PEAK, utilisation)
    assert use.cores == pytest.approx(cores)
    assert use.memory_bytes == pytest.approx(mib * MIB)


def test_pods_of_others_use_a_constant() -> None:
    assert constant_use("karpenter") == Use(0.04, 290 * MIB)
    assert constant_use("unheard-of") == Use(0.01, 50 * MIB)


@pytest.mark.parametrize(("cores", "share"), [(0.0, 0.0), (1.8, 0.0), (1.9, 0.25), (2.0, 0.5), (2.2, 1.0), (4.0, 1.0)])
def test_throttling_begins_below_the_limit_and_is_complete_above_it(cores: float, share: float) -> None:
    assert throttled_share(cores, limit=2) == pytest.approx(share)


def test_cpu_beyond_the_limit_is_not_had() -> None:
    found = Consumption()
    limited, free = pod("a", Container("c", cpu_limit=2)), pod("b", Container("c"))
    for _ in range(10):
        run(found, [limited, free], Use(3, 0))
    meter, other = found.pods["a"].meters["c"], found.pods["b"].meters["c"]
    assert (meter.cpu_seconds, meter.periods, meter.throttled) == (20, 100, 100)
    assert (other.cpu_seconds, other.periods, other.throttled) == (30, 0, 0)


def test_containers_share_evenly_and_a_pod_that_is_gone_is_forgotten() -> None:
    found = Consumption()
    run(found, [pod("a", Container("c"), Container("d"))], Use(1, 100))
    assert [meter.cpu_seconds for meter in found.pods["a"].meters.values()] == [0.5, 0.5]
    assert found.memory_bytes({"a"}) == 100
    run(found, [], Use(1, 100))
    assert found.pods == {}


def test_a_limit_below_use_kills_until_it_fits() -> None:
    found, roomy = Consumption(), pod("a", Container("c", memory_limit=2000))
    assert run(found, [roomy], Use(1, 1000)) == []
    tight = pod("a", Container("c", memory_limit=450, restarts=3, started="2026-11-24T10:00:00Z"))
    assert run(found, [tight], Use(1, 1000)) == [Kill(tight, "c", 1000, 450, 4, "2026-11-24T10:00:00Z")]
    # It holds a tenth more each second.
    assert [len(run(found, [tight], Use(1, 1000))) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert found.pods["a"].meters["c"].oom_kills == 2
    assert found.pods["a"].meters["c"].restarts == 5


def test_a_full_node_kills_the_pod_furthest_above_its_request_and_one_at_a_time() -> None:
    found = Consumption()
    pods = [pod("a", Container("c", memory_request=900)), pod("b", Container("c", memory_request=500))]
    away = pod("z", Container("c"), node="n2")
    assert run(found, [*pods, away], Use(1, 1000), room=2000) == []
    (kill,) = run(found, [*pods, away], Use(1, 1000), room=1999)
    assert (kill.pod.name, kill.limit, kill.memory_bytes) == ("b", None, 1000)
    assert run(found, [*pods, away], Use(1, 1000), room=1999) == []


def test_limits_are_those_that_a_container_was_last_given() -> None:
    item: dict[str, Any] = {
        "metadata": {"uid": "u", "name": "p", "namespace": "akidb", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "1Gi", "cpu": "500m"}}}]},
        "status": {"phase": "Running"},
    }
    assert pod_of(item).containers == (Container("c", 0, 1024 * MIB, 0.5),)
    assert (pod_of(item).workload, pod_of(item).running) == ("kube-dns", True)
    item["metadata"]["labels"] |= OWN_USE
    assert not pod_of(item).running
    given = {"limits": {"memory": "2Gi"}, "requests": {"memory": "1Gi"}}
    running = {"running": {"startedAt": "2026-11-24T10:00:00Z"}}
    item["status"]["containerStatuses"] = [{"name": "c", "resources": given, "restartCount": 2, "state": running}]
    assert pod_of(item).containers == (Container("c", 1024 * MIB, 2048 * MIB, None, 2, "2026-11-24T10:00:00Z"),)
