"""The export of a lever, applied to a real API server in which nothing of it stands, as a GitOps controller would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from include.clients.kubernetes import KINDS, Cluster
from include.levers.cost_monitoring import CostMonitoring
from include.levers.cost_monitoring.wanted import MANAGER, MonitoringSettings
from include.rollout.export import Export, export_of, files
from include.rollout.lever import Target
from include.rollout.settings import build
from lab import world as worlds
from lab.cluster.workloads import api_client
from tests.lab.conftest import REGION

pytestmark = pytest.mark.lab
LEVER = CostMonitoring()
FLUX = "kustomize-controller"
# What the API server and its controllers keep in an object, another value for each one made.
COUNTERS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "annotations")
ADDRESSES = ("clusterIP", "clusterIPs")


@pytest.fixture(scope="module")
def admin(world: worlds.LabWorld) -> Cluster:
    """The cluster with every right: a GitOps controller's."""
    return Cluster(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))


@pytest.fixture(scope="module")
def target(world: worlds.LabWorld, region_clients: SimpleNamespace) -> Target:
    """The region as a task sees it."""
    estate = world.estate.model_copy(update={"regions": {REGION: world.estate.regions[REGION]}})
    settings = build(MonitoringSettings, {"converge_timeout_seconds": 120}, estate)
    return Target(REGION, estate, "lab-test", settings, region_clients)


def live(admin: Cluster, body: Any) -> Any:
    """The live object of a document."""
    metadata = body["metadata"]
    return admin.get(KINDS[body["kind"]], metadata["name"], metadata.get("namespace"))


def content(admin: Cluster, body: Any) -> Any:
    """All of a live object but what is another in each one made."""
    found = live(admin, body)
    assert found is not None, body["metadata"]
    kept = {key: value for key, value in found["metadata"].items() if key not in COUNTERS}
    spec = {key: value for key, value in found.get("spec", {}).items() if key not in ADDRESSES}
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": kept, "spec": spec}


def contents(admin: Cluster, bodies: Sequence[Any]) -> dict[tuple[str, str], Any]:
    return {(body["kind"], body["metadata"]["name"]): content(admin, body) for body in bodies}


@pytest.fixture
def own(target: Target, admin: Cluster) -> tuple[Export, dict[tuple[str, str], Any]]:
    """The export of a plan, and the objects that the lever's own apply makes of it; undone again."""
    plan, snapshot = LEVER.plan(target), LEVER.snapshot(target)
    export = export_of(LEVER, target, plan)
    try:
        for stage in plan.stages:
            LEVER.apply(target, stage)
        made = contents(admin, export.manifests)
    finally:
        LEVER.rollback(target, snapshot)
    assert LEVER.verify_restored(target, snapshot) == []
    return export, made


@pytest.fixture
def merged(own: tuple[Export, Any], admin: Cluster) -> Iterator[list[Any]]:
    """The documents of manifests.yaml, applied as Flux does it; what was not there before is deleted afterwards."""
    text = files(own[0], LEVER.name, REGION, MANAGER)["manifests.yaml"].decode()
    documents = [*yaml.safe_load_all(text)]
    absent = [body for body in documents if live(admin, body) is None]
    assert absent, "everything stood already: nothing is proved"
    try:
        for body in documents:
            admin.apply(body, FLUX)
        yield documents
    finally:
        for body in reversed(absent):
            admin.delete(KINDS[body["kind"]], body["metadata"]["name"], body["metadata"].get("namespace"))
        spaces = [body for body in absent if body["kind"] == "Namespace"]
        admin.wait_for(lambda: [str(body["metadata"]) for body in spaces if live(admin, body)], 120, KINDS["Namespace"])


def test_it_gives_the_same_objects_and_preflight_accepts_their_owner(
    target: Target, admin: Cluster, own: tuple[Export, Any], merged: list[Any]
) -> None:
    assert contents(admin, merged) == own[1]
    checks = [check for check in LEVER.preflight(target) if check.name.startswith("owner of ")]
    assert checks
    assert [check.reason for check in checks if not check.passed] == []
    assert all("is managed by flux, whose repository holds it" in check.reason for check in checks)
    assert [str(difference) for difference in LEVER.plan(target).differences] == []
