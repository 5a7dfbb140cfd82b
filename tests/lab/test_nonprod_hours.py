"""A staging namespace against a real API server, real KEDA and real Karpenter: asleep, its nodes gone, and as before.

Airflow's user is played by one that has the rights of the lever's own file and of no other lever.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.clients.aws import Aws
from include.clients.kubernetes import (
    AUTOSCALER,
    CRON_JOB,
    DEPLOYMENT,
    EC2_NODE_CLASS,
    NAMESPACE,
    NODE,
    NODE_POOL,
    POD,
    SCALED_OBJECT,
    STATEFUL_SET,
    Cluster,
)
from include.clients.storage import Folder
from include.estate import Estate
from include.levers.nonprod_hours import NonprodHours
from include.levers.nonprod_hours.decide import TICK, Action, Decision
from include.levers.nonprod_hours.hours import Hours, Outcome, carry_out, look, measured, preview
from include.levers.nonprod_hours.wanted import MANAGER
from include.rollout.ledger import Ledger
from include.rollout.steps import Run
from include.wiring.clients import ClusterLeases
from lab import world as worlds
from lab.cluster.instances import BOOT_SECONDS
from lab.cluster.workloads import api_client
from tests.lab.conftest import REGION
from tests.lab.staging import PODS, POOL, STAGING, behind, build_on_own_nodes, ready

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(900)]
USER = "only-nonprod-hours"
WAIT = 240


@pytest.fixture
def admin(world: worlds.LabWorld) -> Iterator[Cluster]:
    """The cluster with every right; staging with all of its pods ready on nodes of its own."""
    kubeconfig = Path(world.state["regions"][REGION]["kubeconfig"])
    cluster = Cluster(api_client(kubeconfig))
    build_on_own_nodes(kubeconfig, world.estate, REGION, USER)
    cluster.wait_for(lambda: behind(cluster, PODS), WAIT, DEPLOYMENT, STAGING)
    try:
        yield cluster
    finally:
        cluster.delete(NAMESPACE, STAGING)
        cluster.delete(NODE_POOL, POOL)
        cluster.wait_for(lambda: nodes_of_staging(cluster), WAIT, NODE)
        cluster.wait_for(lambda: [STAGING] if cluster.get(NAMESPACE, STAGING) else [], WAIT, NAMESPACE)
        cluster.delete(EC2_NODE_CLASS, POOL)
        # Karpenter lets go of it later: what the next test applied to one that is going would go with it.
        cluster.wait_for(lambda: [POOL] if cluster.get(EC2_NODE_CLASS, POOL) else [], WAIT, EC2_NODE_CLASS)


@pytest.fixture
def hours(world: worlds.LabWorld, admin: Cluster, aws: Callable[[str], Any], tmp_path: Path) -> Hours:
    """A look at this moment, in the middle of two days off; waking would take an hour, were it never measured."""
    api = api_client(Path(world.state["regions"][REGION]["kubeconfig"]))
    api.set_default_header("Impersonate-User", USER)
    cluster = Cluster(api)
    clients = SimpleNamespace(
        kubernetes=cluster,
        aws=Aws(lambda service, config: aws(service)),
        leases=ClusterLeases(cluster, world.estate.namespace),
    )
    now = dt.datetime.now(dt.UTC)
    off = [now.date() + dt.timedelta(days=n) for n in (0, 1)]
    calendar = {"timezone": "UTC", "asleep": ["Sun 03:00 to 03:01"], "days_off": off}
    raw = world.estate.model_dump(mode="json")
    raw["nonprod"] = {
        "calendars": {"lab": calendar},
        "namespaces": {STAGING: "lab"},
        "default_lead_minutes": 60,
    }
    estate, ledger = Estate.model_validate(raw), Ledger(Folder(tmp_path / "ledger"))
    run = Run(NonprodHours(), estate, {}, "nonprod_hours", "night", ledger, lambda _: clients, lambda _: None)
    return Hours(run, REGION, now, WAIT, WAIT)


def nodes_of_staging(cluster: Cluster) -> list[str]:
    """The nodes of its pool."""
    nodes = [node["metadata"] for node in cluster.list(NODE)]
    return sorted(node["name"] for node in nodes if node["labels"].get("karpenter.sh/nodepool") == POOL)


def state(cluster: Cluster) -> dict[str, Any]:
    """What a person would compare: replicas, suspension, pauses, and who holds the fields of each object."""
    found: dict[str, Any] = {}
    for kind in (DEPLOYMENT, STATEFUL_SET, CRON_JOB, SCALED_OBJECT):
        for thing in cluster.list(kind, STAGING):
            meta, spec = thing["metadata"], thing["spec"]
            pauses = [note for note in meta.get("annotations") or {} if "paused" in note]
            holders = {entry["manager"] for entry in meta["managedFields"] if entry["operation"] == "Apply"}
            found[f"{kind.name} {meta['name']}"] = (spec.get("replicas"), spec.get("suspend"), pauses, holders)
    return found


def only(outcomes: list[Outcome]) -> Outcome:
    (outcome,) = outcomes
    assert outcome.problem == ""
    return outcome


def later(hours: Hours, run_id: str, now: dt.datetime, **more: Any) -> Hours:
    """Another run, at another moment."""
    return replace(hours, run=replace(hours.run, run_id=run_id), now=now, **more)


def action(hours: Hours) -> Action:
    """What a look decides for staging."""
    ((_, decision),) = look(hours)
    assert isinstance(decision, Decision)
    return decision.action


def asleep(hours: Hours) -> dict[str, Any]:
    """The figures of the sleep."""
    outcome = only(carry_out(hours))
    assert outcome.action == Action.SLEEP
    return dict(outcome.figures or {})


def awake(hours: Hours) -> dict[str, Any]:
    """The figures of the wake, which nobody was in the way of."""
    outcome = only(carry_out(hours))
    assert outcome.action == Action.WAKE
    assert "left as others made it" not in outcome.done
    return dict(outcome.figures or {})


def end_of(hours: Hours) -> dt.datetime:
    """When the days off are over."""
    midnight = dt.datetime.combine(hours.now.date(), dt.time(), dt.UTC)
    return midnight + dt.timedelta(days=2)


def test_its_nodes_go_too_and_everything_comes_back_to_its_owners(hours: Hours, admin: Cluster) -> None:
    before, nodes = state(admin), nodes_of_staging(admin)
    assert f"StatefulSet {STAGING}/store spec.replicas: 2 -> 0" in only(preview(hours)).done
    assert state(admin) == before

    figures = asleep(hours)
    assert (admin.list(POD, STAGING), nodes_of_staging(admin)) == ([], [])
    assert (figures["nodes_gone"], figures["nodes_left"]) == (nodes, [])
    assert float(figures["usd_hour_gone"]) > 0
    assert all(MANAGER in holders for *_, holders in state(admin).values())
    assert [one["metadata"]["name"] for one in admin.list(AUTOSCALER, STAGING)] == [
        "api"
    ]  # KEDA has taken its own away
    assert action(later(hours, "next look", hours.now)) == Action.NOTHING

    morning = awake(later(hours, "morning", end_of(hours) - dt.timedelta(minutes=10)))
    assert ready(admin) == PODS
    assert state(admin) == before
    assert float(morning["node_hours"]) > 0
    assert float(morning["usd"]) > 0
    assert hours.run.ledger.standing("nonprod_hours", REGION) == []


def test_the_next_wake_is_as_early_as_this_one_took(hours: Hours, admin: Cluster) -> None:
    end = end_of(hours)
    assert action(later(hours, "look", end - dt.timedelta(minutes=30))) == Action.NOTHING  # an hour before, unmeasured
    asleep(hours)
    seconds = awake(later(hours, "morning", end - dt.timedelta(minutes=10)))["ready_seconds"]
    assert BOOT_SECONDS <= seconds < WAIT  # its nodes had gone
    assert measured(hours, STAGING) == [seconds]
    needed = end - TICK - dt.timedelta(seconds=seconds)
    assert action(later(hours, "early enough", needed - dt.timedelta(seconds=1))) == Action.SLEEP
    assert action(later(hours, "too late", needed + dt.timedelta(seconds=1))) == Action.NOTHING
    assert ready(admin) == PODS


def test_an_autoscaler_changed_at_night_wakes_nobody_and_has_its_way_in_the_morning(
    hours: Hours, admin: Cluster
) -> None:
    asleep(hours)
    admin.patch(AUTOSCALER, "api", {"spec": {"minReplicas": 3}}, STAGING, manager="team-search")
    admin.wait_for(lambda: not_disabled(admin), WAIT, AUTOSCALER, STAGING)
    assert ready(admin) == dict.fromkeys(PODS, 0)
    awake(later(hours, "by hand", hours.now, woken=[STAGING]))
    admin.wait_for(lambda: behind(admin, {**PODS, "api": 3}), WAIT, DEPLOYMENT, STAGING)
    assert action(later(hours, "next look", hours.now)) == Action.NOTHING  # it is kept awake


def not_disabled(cluster: Cluster) -> list[str]:
    """HPAs that have not yet said that a workload at zero is none of theirs, with what they say."""
    (hpa,) = cluster.list(AUTOSCALER, STAGING)
    said = {each["type"]: each["reason"] for each in hpa.get("status", {}).get("conditions", [])}
    return [] if said.get("ScalingActive") == "ScalingDisabled" else [f"api: {said}"]
