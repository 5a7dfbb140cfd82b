"""A staging namespace against a real API server, real controllers and real KEDA: asleep, and awake as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.aws import Aws
from include.clients.kubernetes import CRON_JOB, DEPLOYMENT, NAMESPACE, POD, SCALED_OBJECT, STATEFUL_SET, Cluster
from include.levers.nonprod_hours import NonprodHours
from include.levers.nonprod_hours.wanted import NonprodSettings
from include.rollout.lever import Target
from lab import world as worlds
from lab.cluster.workloads import api_client
from tests.lab.conftest import REGION
from tests.lab.staging import STAGING, build_staging

pytestmark = pytest.mark.lab
LEVER = NonprodHours()


@pytest.fixture
def target(world: worlds.LabWorld, aws: Callable[[str], Any]) -> Iterator[Target]:
    """The namespace as a task sees it, once all of its pods are ready."""
    paths = world.state["regions"][REGION]
    admin = Cluster(api_client(Path(paths["kubeconfig"])))
    build_staging(Path(paths["kubeconfig"]))
    cluster = Cluster(api_client(Path(paths["rollout_kubeconfig"])))
    clients = SimpleNamespace(kubernetes=cluster, aws=Aws(lambda service, config: aws(service)))
    settings = NonprodSettings(namespace=STAGING, converge_timeout_seconds=180, nodes_wait_seconds=180)
    admin.wait_for(lambda: [] if len(admin.list(POD, STAGING)) >= 6 else ["pods of staging"], 180, POD, STAGING)
    try:
        yield Target(REGION, world.estate, "lab-test", settings, clients)
    finally:
        admin.delete(NAMESPACE, STAGING)


def state(cluster: Any) -> dict[str, Any]:
    """What a person would compare: replicas, suspension and pause."""
    found: dict[str, Any] = {}
    for kind in (DEPLOYMENT, STATEFUL_SET, CRON_JOB, SCALED_OBJECT):
        for thing in cluster.list(kind, STAGING):
            notes = thing["metadata"].get("annotations") or {}
            key = f"{kind.name} {thing['metadata']['name']}"
            found[key] = (
                thing["spec"].get("replicas"),
                thing["spec"].get("suspend"),
                [n for n in notes if "keda" in n],
            )
    return found


def test_a_staging_namespace_sleeps_and_wakes_as_it_was(target: Target) -> None:
    cluster = target.clients.kubernetes
    before = state(cluster)
    assert [check.reason for check in LEVER.preflight(target) if not check.passed] == []
    snapshot = LEVER.snapshot(target)
    (stage,) = LEVER.plan(target).stages
    figures = LEVER.apply(target, stage)
    assert cluster.list(POD, STAGING) == []
    assert LEVER.plan(target).differences == ()
    assert figures["nodes_left"] == []
    restored = LEVER.rollback(target, snapshot)
    assert restored.changed_by_others == ()
    assert LEVER.verify_restored(target, snapshot) == []
    assert {key: value for key, value in state(cluster).items() if key != "Deployment web"} == {
        key: value for key, value in before.items() if key != "Deployment web"
    }
