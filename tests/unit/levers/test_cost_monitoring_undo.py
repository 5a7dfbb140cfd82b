"""The cost-truth lever's way back: from every point, from old snapshots, and around what is somebody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include.levers.alert_rules import MONITORING
from include.levers.cost_monitoring.wanted import (
    DASHBOARD_MAP,
    KUBECOST,
    OPENCOST,
    RULES,
)
from include.levers.owned import by_key
from include.rollout.lever import Refused, Target
from tests.unit.levers.monitoring_world import LEVER, US, World
from tests.unit.levers.spot_world import Object


@pytest.fixture
def world() -> World:
    return World()


def test_a_snapshot_keeps_its_order_through_the_ledger_and_an_older_one_is_brought_into_a_safe_order(
    world: World,
) -> None:
    snapshot = LEVER.snapshot(world.target)
    order = list(by_key(snapshot["objects"]))
    through = json.loads(json.dumps(snapshot, sort_keys=True))
    assert list(by_key(through["objects"])) == order
    assert order[:2] == ["Namespace opencost", "ServiceAccount opencost/opencost"]
    older = list(by_key(dict.fromkeys(sorted(order))))
    assert older[:3] == ["Namespace kubecost", "Namespace monitoring", "Namespace opencost"]
    assert [key for key in older if key.startswith("Deployment")] == older[-4:-2]


@pytest.mark.parametrize("older", [False, True], ids=["this release", "a mapping, as an older release kept it"])
def test_a_rollback_from_the_ledger_deletes_what_stands_in_a_namespace_before_it(world: World, older: bool) -> None:
    before = world.cluster.state()
    snapshot = LEVER.snapshot(world.target)
    if older:
        snapshot = {**snapshot, "objects": {entry["key"]: entry["was"] for entry in snapshot["objects"]}}
    world.apply_all()
    world.writes.clear()
    restored = LEVER.rollback(world.target, json.loads(json.dumps(snapshot, sort_keys=True)))
    assert restored.changed_by_others == ()
    assert world.cluster.state() == before
    for name in (OPENCOST, KUBECOST):
        assert world.writes.index(f"delete Deployment/{name}") < world.writes.index(f"delete Namespace/{name}")


def test_an_operator_that_came_before_the_run_was_resumed_has_its_rule_taken_back(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    world.cluster.unserved = set()
    world.apply_all()
    assert ("PrometheusRule", MONITORING, RULES) in world.cluster.objects
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)][-1] == f"PrometheusRule {MONITORING}/{RULES}"
    LEVER.rollback(world.target, snapshot)
    assert ("PrometheusRule", MONITORING, RULES) not in world.cluster.objects
    assert LEVER.verify_restored(world.target, snapshot) == []


# Rollback -------------------------------------------------------------------------------------------------------------


def test_a_rollback_deletes_all_that_was_made(world: World) -> None:
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    world.apply_all()
    assert len(LEVER.verify_restored(world.target, snapshot)) == 15
    restored = LEVER.rollback(world.target, snapshot)
    assert restored.changed_by_others == ()
    assert restored.steps[0] == f"ConfigMap {MONITORING}/{RULES} deleted"
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert world.cluster.state() == before
    assert LEVER.rollback(world.target, snapshot).steps == ("nothing was written, nothing is to be undone",)


@pytest.mark.parametrize("writes", range(15))
def test_a_rollback_after_a_crash_anywhere_restores_the_start(writes: int) -> None:
    world = World()
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    apply = world.cluster.apply
    left = iter(range(writes))

    def crash(body: Object, manager: str, dry_run: bool = False, force: bool = False) -> Object:
        if next(left, None) is None:
            raise ConnectionError("killed")
        return apply(body, manager, dry_run, force)

    world.cluster.apply = crash  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        world.apply_all()
    world.cluster.apply = apply  # type: ignore[method-assign]
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert world.cluster.state() == before


def test_a_rollback_sets_an_earlier_run_of_the_lever_back(world: World) -> None:
    world.apply_all()
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    chosen = {"opencost_version": "1.121.1", "opencost_image": "ghcr.io/opencost/opencost:1.121.1"}
    settings = world.target.settings.model_copy(update=chosen)
    newer = Target(US, world.estate, "run", settings, world.target.clients)
    paths = {d.path.split(" metadata")[0] for d in LEVER.plan(newer).differences}
    assert any("Deployment opencost/opencost" in path for path in paths)
    LEVER.apply(newer, LEVER.plan(newer).stages[0])
    container = world.cluster.objects["Deployment", OPENCOST, OPENCOST]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "ghcr.io/opencost/opencost:1.121.1"
    LEVER.rollback(newer, snapshot)
    assert LEVER.verify_restored(newer, snapshot) == []
    assert world.cluster.state() == before


def test_a_namespace_in_which_somebody_else_keeps_something_stays_and_is_reported(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.cluster.put({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": MONITORING}})
    world.cluster.put({"kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": OPENCOST, "managedFields": []}})
    restored = LEVER.rollback(world.target, snapshot)
    (other,) = restored.changed_by_others
    assert str(other) == "Namespace opencost: absent -> holds ConfigMap theirs, so it stays"
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)] == [other.path]
    assert ("ConfigMap", OPENCOST, "theirs") in world.cluster.objects
    assert ("Deployment", OPENCOST, OPENCOST) not in world.cluster.objects


THEIRS = [
    ("StatefulSet", "prometheus-k8s"),
    ("Secret", "alertmanager-main"),
    ("PersistentVolumeClaim", "prometheus-db"),
    ("Ingress", "grafana"),
    ("CronJob", "backup"),
    ("Role", "reader"),
    ("Pod", "debug"),
    ("PrometheusRule", "team-search-alerts"),
]


@pytest.mark.parametrize(("kind", "name"), THEIRS)
def test_a_namespace_goes_only_when_nothing_of_others_is_in_it_whatever_its_kind(kind: str, name: str) -> None:
    world = World()
    world.cluster.unserved = set()
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.cluster.put(
        {"kind": kind, "metadata": {"name": name, "namespace": MONITORING}, "data": {"x": "aHVudGVyMg=="}}
    )
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [
        f"Namespace {MONITORING}: absent -> holds {kind} {name}, so it stays"
    ]
    assert (kind, MONITORING, name) in world.cluster.objects
    assert [d.path for d in LEVER.verify_restored(world.target, snapshot)] == [f"Namespace {MONITORING}"]


def test_what_the_system_puts_into_a_namespace_does_not_keep_it(world: World) -> None:
    before, snapshot = world.cluster.state(), LEVER.snapshot(world.target)
    world.apply_all()

    def put(kind: str, name: str, **metadata: Any) -> None:
        world.cluster.put({"kind": kind, "metadata": {"name": name, "namespace": OPENCOST, **metadata}})

    put("ConfigMap", "kube-root-ca.crt")
    put("ServiceAccount", "default")
    put("Event", "opencost.17")
    put("Lease", "opencost-leader")
    put("Endpoints", OPENCOST)
    put("EndpointSlice", "opencost-x", ownerReferences=[{"kind": "Service", "name": OPENCOST, "uid": "u"}])
    put("ReplicaSet", "opencost-1", ownerReferences=[{"kind": "Deployment", "name": OPENCOST, "uid": "u"}])
    put("Pod", "opencost-1-a", ownerReferences=[{"kind": "ReplicaSet", "name": "opencost-1", "uid": "u"}])
    put("Secret", "opencost-token", annotations={"kubernetes.io/service-account.name": OPENCOST})
    put("ConfigMap", "going", deletionTimestamp="2027-01-15T07:59:50Z")
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert world.cluster.state() == before


@pytest.mark.parametrize("unknown", ["forbidden", "stale"])
def test_a_namespace_whose_content_can_not_be_told_stays_and_is_reported(world: World, unknown: str) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    if unknown == "forbidden":
        world.cluster.api.forbidden = {("list", "secrets")}
    else:
        world.cluster.api.stale = {"batch"}
    restored = LEVER.rollback(world.target, snapshot)
    assert {d.path for d in restored.changed_by_others} == {
        f"Namespace {name}" for name in (OPENCOST, KUBECOST, MONITORING)
    }
    told = "secrets, perhaps: the right to list them is missing" if unknown == "forbidden" else "group batch does not"
    assert told in str(restored.changed_by_others[0].after)
    assert ("Deployment", OPENCOST, OPENCOST) not in world.cluster.objects


def test_contents_are_asked_for_without_their_content(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.cluster.put({"kind": "Secret", "metadata": {"name": "s", "namespace": OPENCOST}, "data": {"x": "hunter2"}})
    answers: list[bytes] = []
    call = world.cluster.api.call_api

    def recorded(*request: Any, **more: Any) -> Any:
        answer = call(*request, **more)
        answers.append(getattr(answer, "data", b""))
        return answer

    world.cluster.api.call_api = recorded  # type: ignore[method-assign]
    LEVER.rollback(world.target, snapshot)
    assert answers
    assert not any(b"hunter2" in answer for answer in answers)


def test_a_snapshot_of_another_release_lacks_and_has_keys(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    newer = {**snapshot, "of_a_newer_release": 1, "objects": [*snapshot["objects"], {"key": "Gizmo a/b", "was": None}]}
    restored = LEVER.rollback(world.target, newer)
    assert [str(d) for d in restored.changed_by_others] == [
        "Gizmo a/b: as before the rollout -> of a kind that this release does not know: undo it with the release that "
        "wrote it"
    ]
    assert [d.path for d in LEVER.verify_restored(world.target, newer)] == ["Gizmo a/b"]
    assert LEVER.verify_restored(world.target, snapshot) == []
    with pytest.raises(Refused, match="the snapshot has no 'objects': another release took it"):
        LEVER.rollback(world.target, {})


def test_a_foreign_change_to_a_made_object_is_reported_and_goes_with_it(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    board = world.cluster.objects["ConfigMap", MONITORING, DASHBOARD_MAP]
    board["metadata"]["managedFields"].append({"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {}}})
    restored = LEVER.rollback(world.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [
        f"ConfigMap {MONITORING}/{DASHBOARD_MAP} content: absent -> changed by kubectl"
    ]
    assert LEVER.verify_restored(world.target, snapshot) == []


def test_a_fence_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    snapshot, stages = LEVER.snapshot(world.target), LEVER.plan(world.target).stages
    fenced = Target(US, world.estate, "run", world.target.settings, world.target.clients, fence)
    for stage in stages[:1]:
        with pytest.raises(Refused, match="taken over"):
            LEVER.apply(fenced, stage)
    with pytest.raises(Refused, match="taken over"):
        LEVER.rollback(fenced, snapshot)
    assert world.writes == []


def test_a_snapshot_that_the_release_before_levers_base_wrote_is_undone() -> None:
    """Its file is the ledger's JSON of a run that found OpenCost installed by an earlier run, and nothing else."""
    snapshot = json.loads((Path(__file__).parent / "snapshots" / "cost_monitoring.json").read_text())
    world = World()
    LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    before = world.cluster.state()
    chosen = {"opencost_version": "1.121.1", "opencost_image": "ghcr.io/opencost/opencost:1.121.1"}
    settings = world.target.settings.model_copy(update=chosen)
    newer = Target(US, world.estate, "run", settings, world.target.clients)
    for stage in LEVER.plan(newer).stages:
        LEVER.apply(newer, stage)
    assert LEVER.verify_restored(newer, snapshot) != []
    assert LEVER.rollback(newer, snapshot).changed_by_others == ()
    assert (LEVER.verify_restored(newer, snapshot), world.cluster.state()) == ([], before)
