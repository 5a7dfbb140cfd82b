"""The cost guard's cap: applied only as it was approved, never below what the pool needs, and handed back."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.kubernetes import NODE_POOL
from include.cost.guard.decisions import MANAGER
from include.estate import load_estate
from include.levers.cost_cap import CapSettings, CostCap, handed_back
from include.rollout.lever import Refused, Target
from tests.unit.levers.fake_cluster import FakeCluster

ROLLOUT = "akidb-rollout"
LEVER = CostCap(now=lambda: 0.0)


class Region:
    """A pool of 40 vCPU that the spot lever built, and 30 pods of 1 CPU on it."""

    def __init__(self, limit: str | None = "200") -> None:
        self.estate = load_estate()
        self.writes: list[str] = []
        self.cluster = FakeCluster(self.writes)
        limits = {"cpu": limit, "memory": "400Gi"} if limit else {"memory": "400Gi"}
        self.apply({"limits": limits, "weight": 10}, ROLLOUT)
        self.pool["status"] = {"resources": {"cpu": "40"}}
        for n in range(5):
            self.cluster.put(node(f"n{n}"))
        for name in self.estate.workloads:
            self.cluster.put(deployment(name, 15))
            for n in range(15):
                self.cluster.put(pod(f"{name}-{n}", name))
        self.writes.clear()

    @property
    def pool(self) -> dict[str, Any]:
        return self.cluster.objects["NodePool", "", "spot"]

    def apply(self, spec: dict[str, Any], manager: str, force: bool = False) -> None:
        body = {"apiVersion": NODE_POOL.api_version, "kind": "NodePool", "metadata": {"name": "spot"}, "spec": spec}
        self.cluster.apply(body, manager, force=force)

    def target(self, new_cpu: str = "48", old_cpu: str | None = "200") -> Target:
        clients = SimpleNamespace(kubernetes=self.cluster)
        settings = CapSettings(pool="spot", new_cpu=new_cpu, old_cpu=old_cpu)
        return Target("us-east-1", self.estate, "run", settings, clients)

    def limits(self) -> dict[str, str]:
        return dict(self.pool["spec"]["limits"])

    def owners(self) -> list[str]:
        """Who owns the CPU limit."""
        entries = self.pool["metadata"]["managedFields"]
        return [e["manager"] for e in entries if "f:cpu" in e["fieldsV1"]["f:spec"].get("f:limits", {})]


def node(name: str) -> dict[str, Any]:
    labels = {"karpenter.sh/nodepool": "spot"}
    status = {"capacity": {"cpu": "8", "memory": "16Gi"}, "allocatable": {"cpu": "7600m", "memory": "14100Mi"}}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def deployment(name: str, replicas: int) -> dict[str, Any]:
    containers = [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"kind": "Deployment", "metadata": {"name": name, "namespace": "akidb"}, "spec": spec}


def pod(name: str, app: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "akidb", "labels": {"app": app}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n0"}, "status": {"phase": "Running"}}


def capped(region: Region, target: Target) -> dict[str, Any]:
    """Applied; returns the snapshot of before."""
    snapshot = LEVER.snapshot(target)
    (stage,) = LEVER.plan(target).stages
    LEVER.apply(target, stage)
    return snapshot


def test_a_cap_is_applied_once_and_undone_to_the_letter_owner_included() -> None:
    region = Region()
    before, target = copy.deepcopy(region.pool["spec"]), region.target()
    assert [str(d) for d in LEVER.plan(target).differences] == ["NodePool spot spec.limits.cpu: 200 -> 48"]
    snapshot = capped(region, target)
    assert (region.limits(), region.owners()) == ({"cpu": "48", "memory": "400Gi"}, [MANAGER])
    assert LEVER.plan(target).stages == ()
    assert LEVER.rollback(target, snapshot).steps == ("NodePool spot has limits.cpu 200 again",)
    assert (region.pool["spec"], region.owners()) == (before, [ROLLOUT])
    assert LEVER.verify_restored(target, snapshot) == []
    region.apply({"limits": {"cpu": "100", "memory": "400Gi"}, "weight": 10}, ROLLOUT)  # a rollout is not refused


def test_a_cap_where_there_was_no_limit_is_taken_away_again() -> None:
    region = Region(limit=None)
    before, target = copy.deepcopy(region.pool["spec"]), region.target(old_cpu=None)
    snapshot = capped(region, target)
    assert region.limits() == {"cpu": "48", "memory": "400Gi"}
    assert LEVER.rollback(target, snapshot).steps == ("NodePool spot has limits.cpu none again",)
    assert (region.pool["spec"], region.owners()) == (before, [])


def refusal(region: Region, target: Target) -> str:
    (stage,) = LEVER.plan(target).stages
    writes = list(region.writes)
    with pytest.raises(Refused) as refused:
        LEVER.apply(target, stage)
    assert region.writes == writes
    return str(refused.value)


def test_a_pool_that_needs_more_by_now_is_not_capped() -> None:
    region = Region()
    region.cluster.put(deployment("akidb-rest", 40))
    assert refusal(region, region.target()) == (
        "us-east-1: NodePool spot needs 69.05 vCPU by now, more than the cap of 48: nothing was changed; "
        "let the guard look again"
    )


def test_a_limit_that_was_changed_since_the_approval_is_not_capped() -> None:
    region = Region()
    region.apply({"limits": {"cpu": "100"}}, "somebody", force=True)
    assert refusal(region, region.target()) == (
        "us-east-1: limits.cpu of NodePool spot is 100 now, the approved cap was made for 200: nothing was changed; "
        "let the guard look again"
    )


def test_an_undo_leaves_what_somebody_else_changed() -> None:
    region = Region()
    target = region.target()
    snapshot = capped(region, target)
    region.apply({"limits": {"cpu": "64"}}, "somebody", force=True)
    restored = LEVER.rollback(target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == ["NodePool spot spec.limits.cpu: 200 -> 64"]
    assert [d.path for d in LEVER.verify_restored(target, snapshot)] == ["NodePool spot spec.limits.cpu"]
    assert region.limits()["cpu"] == "64"


def test_a_pool_that_was_made_again_with_the_caps_figure_is_somebody_elses() -> None:
    region = Region()
    snapshot = LEVER.snapshot(region.target())
    LEVER.apply(region.target(), LEVER.plan(region.target()).stages[0])
    del region.cluster.objects["NodePool", "", "spot"]
    region.apply({"limits": {"cpu": "48"}}, ROLLOUT)
    restored = LEVER.rollback(region.target(), snapshot)
    assert [str(d) for d in restored.changed_by_others] == ["NodePool spot spec.limits.cpu: 200 -> 48"]
    assert region.limits() == {"cpu": "48"}
    left = LEVER.verify_restored(region.target(), snapshot)
    assert [d.path for d in left] == [d.path for d in restored.changed_by_others]


def test_a_pool_that_is_gone_needs_no_undo() -> None:
    region = Region()
    target = region.target()
    snapshot = capped(region, target)
    del region.cluster.objects["NodePool", "", "spot"]
    assert LEVER.rollback(target, snapshot).steps == ("NodePool spot is gone: nothing to undo",)
    assert LEVER.verify_restored(target, snapshot) == []


def test_preflight_names_a_pool_that_is_not_there() -> None:
    region = Region()
    assert all(check.passed for check in LEVER.preflight(region.target()))
    del region.cluster.objects["NodePool", "", "spot"]
    assert [c.reason for c in LEVER.preflight(region.target()) if not c.passed] == ["NodePool spot does not exist"]


def test_an_owner_that_has_left_gets_nothing_back() -> None:
    fields = {"f:spec": {"f:limits": {"f:cpu": {}}}}
    mine = {"manager": MANAGER, "operation": "Apply", "fieldsV1": fields}
    gone = {"manager": ROLLOUT, "operation": "Apply", "fieldsV1": fields}
    other = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {}}}
    assert handed_back([other, mine], [gone]) == [other]
