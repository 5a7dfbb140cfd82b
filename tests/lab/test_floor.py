"""The floor right-sized on a real API server and the emulated EKS, as the user that Airflow gets; and the way back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client

from include.clients.aws import Aws
from include.clients.kubernetes import Cluster
from include.levers.consolidation import floor
from include.levers.consolidation.settings import MANAGER, ConsolidationSettings
from include.levers.nodes import group
from include.levers.nodes.scheduling import NODE_GROUP
from include.levers.world import World
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Target
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster.workloads import api_client
from tests.lab.conftest import REGION
from tests.unit.levers.floor_lever import FloorLever

pytestmark = [pytest.mark.lab, pytest.mark.long]
LEVER = FloorLever()
OLD, SMALL = "akidb-on-demand", "akidb-system"
SYSTEM = {"kube-system": "coredns", "karpenter": "karpenter"}


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld, aws: Callable[[str], Any]) -> Target:
    """The region as a task sees it."""
    cluster = Cluster(api_client(Path(world.state["regions"][REGION]["rollout_kubeconfig"])))
    clients = SimpleNamespace(kubernetes=cluster, aws=Aws(lambda service, config: aws(service)), prometheus=None)
    given = {"right_size_floor": True, "converge_timeout_seconds": 180}
    return Target(REGION, world.estate, "lab-floor", build(ConsolidationSettings, given, world.estate), clients)


@pytest.fixture(scope="module")
def without_akidb(world: worlds.LabWorld) -> Iterator[None]:
    """AkiDB's own pods are elsewhere after day 1: here they are scaled away, and come back."""
    apps = client.AppsV1Api(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))
    space, names = world.estate.namespace, world.estate.workloads
    for name in names:
        apps.patch_namespaced_deployment_scale(name, space, {"spec": {"replicas": 0}})
    world.processes.wait_until(
        lambda: all(not apps.read_namespaced_deployment(n, space).status.replicas for n in names), "AkiDB's pods", 60
    )
    yield
    for name, workload in names.items():
        apps.patch_namespaced_deployment_scale(name, space, {"spec": {"replicas": workload.replicas}})


def running_on(core: client.CoreV1Api) -> dict[str, Counter[str]]:
    """How many running pods of each system Deployment stand on which node group."""
    groups = {node.metadata.name: node.metadata.labels[NODE_GROUP] for node in core.list_node().items}
    return {
        name: Counter(
            groups[pod.spec.node_name]
            for pod in core.list_namespaced_pod(space).items
            if pod.metadata.name.startswith(f"{name}-") and pod.status.phase == "Running"
        )
        for space, name in SYSTEM.items()
    }


def templates(cluster: Cluster) -> dict[str, Any]:
    """The nodeSelectors and who owns them, as the API server says it."""
    from include.clients.kubernetes import DEPLOYMENT
    from include.levers.fields import owners_of

    path = ("spec", "template", "spec", "nodeSelector")
    found = {name: cluster.get(DEPLOYMENT, name, space) or {} for space, name in SYSTEM.items()}
    return {n: (d["spec"]["template"]["spec"].get("nodeSelector"), owners_of(d, path)) for n, d in found.items()}


def test_the_floor_moves_to_small_nodes_and_comes_back(
    target: Target, core: client.CoreV1Api, without_akidb: None
) -> None:
    before, seen = templates(target.clients.kubernetes), World(target, manager=MANAGER)
    assert [c.reason for c in floor.checks()["floor"](seen) if not c.passed] == []
    was = json.loads(json.dumps(LEVER.snapshot(target), sort_keys=True))
    sizes, count = was["floor"]["scaling"], len(group.nodes(seen))
    plan = LEVER.plan(target)
    applied = LEVER.apply(target, plan.stages[0])
    assert running_on(core) == {name: Counter({SMALL: 2}) for name in SYSTEM.values()}
    assert group.describe(seen)["scalingConfig"] == {**sizes, "minSize": 0, "desiredSize": 0}
    assert group.nodes(seen) == []
    nodes = core.list_node(label_selector=f"{NODE_GROUP}={SMALL}").items
    assert {node.metadata.labels["node.kubernetes.io/instance-type"] for node in nodes} == {"t4g.medium"}
    assert len({node.metadata.labels["topology.kubernetes.io/zone"] for node in nodes}) >= 2
    assert {node.status.allocatable["pods"] for node in nodes} == {"17"}
    figures = LEVER.observe(target, plan.stages[0], 60, applied)
    assert {v.outcome for v in judge_all(plan.stages[0].gates, figures)} == {Outcome.PASS}
    assert LEVER.plan(target).differences == ()

    restored = LEVER.rollback(target, was)
    assert restored.changed_by_others == ()
    assert LEVER.verify_restored(target, was) == []
    assert running_on(core) == {name: Counter({OLD: 2}) for name in SYSTEM.values()}
    assert group.describe(seen)["scalingConfig"] == sizes
    assert len(group.nodes(seen)) == count
    assert core.list_node(label_selector=f"{NODE_GROUP}={SMALL}").items == []
    assert templates(target.clients.kubernetes) == before
