"""Right-sizing against the real VPA on one region: pods are resized where they run, and get their old requests back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client

from include.clients.kubernetes import VERTICAL_AUTOSCALER
from include.levers.base import NOTHING_WRITTEN
from include.levers.right_sizing import RightSizing
from include.levers.right_sizing.live import what_new_pods_get
from include.levers.right_sizing.sizes import recommended
from include.levers.right_sizing.wanted import CANARY, SLOTS, RightSizingSettings
from include.quantities import quantity
from include.rollout.gates import Outcome, judge_all
from include.rollout.lever import Json, Stage, Target
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster import vpa
from tests.lab.conftest import REGION

# One worker boots one lab for all lab tests.
pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(1800)]
LEVER = RightSizing()
CONTAINER, OLD = "akidb", {"cpu": "1", "memory": "2Gi"}
QUICK = {
    "converge_timeout_seconds": 300,
    "deferred_seconds": 5,
    "recommender_interval_seconds": vpa.INTERVAL_SECONDS,
}


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld, region_clients: SimpleNamespace) -> Iterator[Target]:
    """The region as a task sees it, as the user that Airflow gets; as it was, afterwards."""
    settings = build(RightSizingSettings, QUICK, world.estate)
    made = Target(REGION, world.estate, "lab-test", settings, region_clients)
    snapshot = LEVER.snapshot(made)
    try:
        yield made
    finally:
        LEVER.rollback(made, snapshot)


@pytest.fixture(scope="module")
def snapshot(target: Target) -> dict[str, Json]:
    """Of before, as the ledger gives it back."""
    found: dict[str, Json] = json.loads(json.dumps(LEVER.snapshot(target)))
    return found


def pods(core: client.CoreV1Api, *names: str) -> list[Any]:
    chosen = f"app in ({','.join(names or ('akidb-rest', 'akidb-grpc'))})"
    found = core.list_namespaced_pod("akidb", label_selector=chosen).items
    return [pod for pod in found if pod.metadata.deletion_timestamp is None and pod.status.container_statuses]


def uids(core: client.CoreV1Api) -> set[str]:
    return {pod.metadata.uid for pod in pods(core)}


def sizes(core: client.CoreV1Api, *names: str) -> set[tuple[str, str]]:
    """CPU and memory of the pods, as their spec asks and as their status has it."""
    found = set()
    for pod in pods(core, *names):
        (status,) = pod.status.container_statuses
        for requests in (pod.spec.containers[0].resources.requests, status.resources.requests):
            found.add((requests["cpu"], requests["memory"]))
    return found


def restarts(core: client.CoreV1Api) -> int:
    return sum(status.restart_count for pod in pods(core) for status in pod.status.container_statuses)


@contextmanager
def budgets_watched(core: client.CoreV1Api) -> Iterator[list[int]]:
    """The healthy pods beyond what each budget wants, whenever somebody looked."""
    policy, ended = client.PolicyV1Api(core.api_client), threading.Event()
    seen: list[int] = []

    def look() -> None:
        while not ended.wait(0.5):
            items = policy.list_namespaced_pod_disruption_budget("akidb").items
            seen.extend(one.status.current_healthy - one.status.desired_healthy for one in items)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def apply_until(target: Target, last: str) -> None:
    for stage in LEVER.plan(target).stages[: SLOTS.index(last) + 1]:
        LEVER.apply(target, stage)


def recommendations(target: Target) -> dict[str, Any]:
    """Of each object by its name."""
    listed = target.clients.kubernetes.list(VERTICAL_AUTOSCALER, "akidb")
    return {one["metadata"]["name"]: recommended(one, CONTAINER) for one in listed}


def outcomes(target: Target, stage: Stage, applied: Json) -> list[str]:
    results = judge_all(stage.gates, LEVER.observe(target, stage, 20, applied))
    return [result.reason for result in results if result.outcome is not Outcome.PASS]


def test_preflight_passes_and_the_plan_is_the_same_twice(target: Target, world: worlds.LabWorld) -> None:
    def failed() -> list[str]:
        return [f"{check.name}: {check.reason}" for check in LEVER.preflight(target) if not check.passed]

    # Series that are scraped every few seconds may not be there in the first seconds of a lab.
    world.processes.wait_until(lambda: not failed(), "preflight", 60)
    assert failed() == []
    plan = LEVER.plan(target)
    assert [stage.slot for stage in plan.stages] == list(SLOTS)
    assert plan.hash() == LEVER.plan(target).hash()


def test_every_stage_passes_its_gates_and_pods_are_resized_where_they_run(
    target: Target, snapshot: Json, core: client.CoreV1Api, world: worlds.LabWorld
) -> None:
    before, killed, sized = uids(core), restarts(core), {}
    with budgets_watched(core) as spare:
        for stage in LEVER.plan(target).stages:
            applied = LEVER.apply(target, stage)
            missed = partial(outcomes, target, stage, applied)
            world.processes.wait_until(lambda: not missed(), f"every gate of {stage.slot} passing, not {missed()}", 120)  # noqa: B023
            sized[stage.slot] = {name: sizes(core, name) for name in world.estate.workloads}
    old = {tuple(OLD.values())}
    assert sized["recommend"] == sized["new_pods"] == {"akidb-rest": old, "akidb-grpc": old}
    assert sized[CANARY]["akidb-rest"] == old
    assert not old & (sized[CANARY]["akidb-grpc"] | sizes(core))
    assert (uids(core), restarts(core)) == (before, killed)
    assert min(spare) >= 0
    assert LEVER.plan(target).differences == ()


def test_a_new_pod_gets_the_target(target: Target, snapshot: Json) -> None:
    found = recommendations(target)
    assert set(found) == set(target.estate.workloads)
    for name, one in found.items():
        assert what_new_pods_get(LEVER.world(target), name, CONTAINER) == one.target


def test_it_is_undone_on_the_running_pods(target: Target, snapshot: Json, core: client.CoreV1Api) -> None:
    before = uids(core)
    restored = LEVER.rollback(target, snapshot)
    assert restored.changed_by_others == ()
    assert LEVER.verify_restored(target, snapshot) == []
    assert recommendations(target) == {}
    assert sizes(core) == {tuple(OLD.values())}
    assert uids(core) == before
    assert LEVER.rollback(target, snapshot).steps == (NOTHING_WRITTEN,)


def test_it_is_undone_in_the_middle(target: Target, snapshot: Json, core: client.CoreV1Api) -> None:
    before = uids(core)
    apply_until(target, CANARY)
    assert len(sizes(core)) > 1
    LEVER.rollback(target, snapshot)
    assert LEVER.verify_restored(target, snapshot) == []
    assert sizes(core) == {tuple(OLD.values())}
    assert uids(core) == before


def free_millicores(core: client.CoreV1Api, node: str) -> int:
    total = quantity(core.read_node(node).status.allocatable["cpu"])
    for pod in core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}").items:
        for container in pod.spec.containers:
            total -= quantity(((container.resources and container.resources.requests) or {}).get("cpu", "0"))
    return int(total * 1000)


@contextmanager
def fewer(core: client.CoreV1Api, world: worlds.LabWorld, name: str, replicas: int) -> Iterator[None]:
    """Room on the other nodes: at the start's replicas and requests there is none to spare for pods that move."""
    apps = client.AppsV1Api(core.api_client)
    apps.patch_namespaced_deployment_scale(name, "akidb", {"spec": {"replicas": replicas}})
    try:
        world.processes.wait_until(lambda: len(pods(core, name)) == replicas, f"{replicas} pods of {name}", 60)
        yield
    finally:
        start = world.estate.workloads[name].replicas
        apps.patch_namespaced_deployment_scale(name, "akidb", {"spec": {"replicas": start}})


@contextmanager
def filled(core: client.CoreV1Api, node: str) -> Iterator[None]:
    """A node without room: what its pods leave of its CPU, another pod takes."""
    resources = {"requests": {"cpu": f"{free_millicores(core, node)}m"}}
    spec = {"nodeName": node, "containers": [{"name": "filler", "image": "filler", "resources": resources}]}
    core.create_namespaced_pod("default", {"metadata": {"name": "filler"}, "spec": spec})
    try:
        yield
    finally:
        core.delete_namespaced_pod("filler", "default", grace_period_seconds=0)


def test_pods_of_a_node_without_room_are_evicted_within_their_budget(
    target: Target, snapshot: Json, core: client.CoreV1Api, world: worlds.LabWorld
) -> None:
    with fewer(core, world, "akidb-rest", 8):
        apply_until(target, CANARY)
        node = min((pod.spec.node_name for pod in pods(core, "akidb-grpc")), key=lambda one: free_millicores(core, one))
        before = uids(core)
        there = {pod.metadata.uid for pod in pods(core, "akidb-grpc") if pod.spec.node_name == node}
        with filled(core, node), budgets_watched(core) as spare:
            restored = LEVER.rollback(target, snapshot)
        assert "evicted, since their nodes had no room" in restored.steps[-1]
        assert before - uids(core) <= there
        assert LEVER.verify_restored(target, snapshot) == []
        assert sizes(core) == {tuple(OLD.values())}
        assert min(spare) >= 0
