"""The spot lever's way back where the world is not as the run has left it: others' changes, gone things."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from include.clients.kubernetes import ForbiddenError, Kind
from include.levers.fields import handed_back
from include.levers.spot_capacity.settings import POOLS, TAINT
from include.levers.workloads.placing import TOLERATIONS
from include.rollout.lever import Difference
from tests.unit.levers import spot_world
from tests.unit.levers.fake_cluster import Crashed, crash_at
from tests.unit.levers.spot_rolled_out import (
    LEVER,
    ZONE,
    Object,
    assert_all_back,
    deployment,
    paths,
    pod_spec,
    pools,
    rolled_out,
)
from tests.unit.levers.spot_world import REGION, SPREAD, World, is_spread, owner

OURS = {"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}


HIS = {"key": "team", "operator": "Equal", "value": "search", "effect": "NoSchedule"}


# Who still needs the pools -------------------------------------------------------------------------------------------


def test_pools_stay_while_a_changed_constraint_needs_them_and_the_rest_is_restored() -> None:
    world, snapshot = rolled_out()
    pod_spec(world)["topologySpreadConstraints"][0]["maxSkew"] = 2
    restored = assert_all_back(world, snapshot)
    assert pools(world) == list(POOLS.names)
    assert not is_spread(deployment(world, "akidb-rest"))
    assert is_spread(deployment(world))
    assert world.aws.scaling["desiredSize"] == 5
    # Spot nodes that stay must hear of their interruption, and take the pods that they are kept for.
    assert len(world.aws.rules) == 5
    nodes = [o for (k, *_), o in world.cluster.objects.items() if k == "Node"]
    assert not any(node["spec"].get("unschedulable") for node in nodes)
    reason = f"needed by Deployment akidb/akidb-grpc (spreads over {SPREAD})"
    assert Difference("NodePool/akidb-spot spec", None, reason) in restored.changed_by_others
    assert f"new node pools stay, and what feeds them: {reason}" in restored.steps
    again = LEVER.rollback(world.target, snapshot)
    assert again.changed_by_others == restored.changed_by_others


def test_pools_go_once_nobody_needs_them() -> None:
    world, snapshot = rolled_out()
    pod_spec(world)["topologySpreadConstraints"][0]["maxSkew"] = 2
    LEVER.rollback(world.target, snapshot)
    pod_spec(world)["topologySpreadConstraints"][0]["maxSkew"] = 1
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert pools(world) == []


def workload(kind: str, spec: Object, **more: Any) -> Object:
    template = {"metadata": {}, "spec": {"containers": [], **spec}}
    inner: Object = {"replicas": 0, "template": template}
    if kind == "CronJob":
        inner = {"jobTemplate": {"spec": inner}}
    metadata = {"name": "other", "namespace": "platform", "managedFields": []}
    return {"kind": kind, "metadata": metadata, "spec": template["spec"] if kind == "Pod" else inner, **more}


def affinity(*terms: list[Object]) -> Object:
    required = {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def expression(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


ON_LABEL, ON_POOL = expression(SPREAD, "Exists"), expression("karpenter.sh/nodepool", "In", "akidb-spot")


ANYWHERE = expression("kubernetes.io/arch", "In", "arm64")


CONSTRAINT = {"topologyKey": SPREAD, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod"])
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeSelector": {SPREAD: "d1"}}, f"nodeSelector {SPREAD}"),
        ({"nodeSelector": {"karpenter.sh/nodepool": "akidb-spot"}}, "nodeSelector karpenter.sh/nodepool"),
        ({"topologySpreadConstraints": [CONSTRAINT]}, f"spreads over {SPREAD}"),
        (affinity([ON_LABEL], [ANYWHERE, ON_POOL]), "node affinity to the pools"),
    ],
)
def test_pools_stay_for_every_template_of_the_cluster_that_needs_them(kind: str, spec: Object, reason: str) -> None:
    world, snapshot = rolled_out(slots=1)
    world.cluster.put(workload(kind, spec))
    restored = assert_all_back(world, snapshot)
    assert pools(world) == list(POOLS.names)
    told = f"new node pools stay, and what feeds them: needed by {kind} platform/other ({reason})"
    assert told in restored.steps


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", {"tolerations": [{"operator": "Exists"}]}),  # whoever tolerates all runs anywhere
        ("DaemonSet", {"tolerations": [OURS]}),  # follows the nodes that there are
        ("Deployment", {"topologySpreadConstraints": [CONSTRAINT | {"whenUnsatisfiable": "ScheduleAnyway"}]}),
        ("Deployment", {"nodeSelector": {"karpenter.sh/nodepool": "default"}}),
        ("StatefulSet", affinity([ON_LABEL], [ANYWHERE])),
        ("StatefulSet", affinity([expression(SPREAD, "DoesNotExist")])),
        ("StatefulSet", affinity([expression("karpenter.sh/nodepool", "In", "akidb-spot", "default")])),
    ],
)
def test_pools_do_not_stay_for_what_runs_elsewhere_too(kind: str, spec: Object) -> None:
    world, snapshot = rolled_out(slots=1)
    world.cluster.put(workload(kind, spec))
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert pools(world) == []


def test_what_has_finished_or_has_a_maker_that_is_asked_itself_keeps_no_pool() -> None:
    world, snapshot = rolled_out(slots=1)
    needs = {"nodeSelector": {SPREAD: "d1"}}
    done = {"status": {"conditions": [spot_world.condition("Complete")]}}
    world.cluster.put(workload("Job", needs, **done))
    world.cluster.put(workload("Pod", needs, status={"phase": "Succeeded"}))
    made = workload("ReplicaSet", needs)
    made["metadata"] |= {"name": "old", "ownerReferences": [owner("other", "Deployment")]}
    world.cluster.put(made)
    assert assert_all_back(world, snapshot).changed_by_others == ()


def test_templates_that_nobody_may_read_could_need_the_pools() -> None:
    world, snapshot = rolled_out(slots=1)
    whole = world.cluster.list

    def list_some(kind: Kind, *given: Any, **more: Any) -> list[Object]:
        if kind.name == "CronJob":
            raise ForbiddenError("cluster fake forbids list on cronjobs")
        return whole(kind, *given, **more)

    world.cluster.list = list_some  # type: ignore[method-assign]
    restored = LEVER.rollback(world.target, snapshot)
    assert pools(world) == list(POOLS.names)
    assert "cronjobs that can't be looked at (cluster fake forbids list on cronjobs)" in "".join(restored.steps)


# Gone, or of another release -----------------------------------------------------------------------------------------


def test_a_workload_that_left_the_estate_is_restored_from_the_snapshot() -> None:
    world, snapshot = rolled_out()
    world.with_estate(workloads={"akidb-rest": world.estate.workloads["akidb-rest"]})
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert not is_spread(deployment(world))
    assert pools(world) == []


def test_a_deployment_that_is_gone_is_reported_and_the_rest_restored() -> None:
    world, snapshot = rolled_out()
    del world.cluster.objects["Deployment", "akidb", "akidb-grpc"]
    restored = assert_all_back(world, snapshot)
    assert restored.changed_by_others == (Difference("Deployment/akidb-grpc", "there", None),)
    assert pools(world) == []
    assert not is_spread(deployment(world, "akidb-rest"))


def test_definitions_that_are_gone_stop_nothing_and_orphaned_nodes_are_named() -> None:
    world, snapshot = rolled_out()
    world.cluster.unserved = {"nodepools", "nodeclaims", "ec2nodeclasses"}
    LEVER.rollback(world.target, snapshot)
    assert not is_spread(deployment(world))
    assert world.aws.rules == {}
    left = paths(LEVER.verify_restored(world.target, snapshot))
    assert all(path.startswith("Node/") for path in left)


def test_a_floor_that_the_estate_has_raised_since_keeps_no_capacity_away() -> None:
    world, snapshot = rolled_out()
    region = world.estate.region(REGION)
    group = region.node_group.model_copy(update={"floor": 3})
    world.with_estate(regions={**world.estate.regions, REGION: region.model_copy(update={"node_group": group})})
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert world.aws.scaling == {"minSize": 5, "maxSize": 8, "desiredSize": 5}


def test_a_snapshot_of_an_older_release_takes_what_is_the_levers_for_absent() -> None:
    world, snapshot = rolled_out()
    for part in ("zones", "tolerations", "moving", "floor", "out_of_use", "toleration_owners"):
        del snapshot[part]
    del snapshot["rules"][f"akidb-{REGION}-health"]
    del snapshot["queue"]["SqsManagedSseEnabled"]
    restored = assert_all_back(world, snapshot)
    assert restored.changed_by_others == (Difference("Queue SqsManagedSseEnabled", "not in the snapshot", "true"),)
    assert world.aws.rules == {}
    assert not pod_spec(world).get("topologySpreadConstraints")
    assert "tolerations" not in pod_spec(world)


def test_a_rule_that_neither_snapshot_nor_release_knows_as_it_is_stays_and_is_reported() -> None:
    world, snapshot = rolled_out()
    rule = f"akidb-{REGION}-health"
    del snapshot["rules"][rule]
    world.aws.rules[rule]["pattern"] = '{"source": ["theirs"]}'
    snapshot["rules"]["akidb-of-a-newer-release"] = None
    assert paths(assert_all_back(world, snapshot).changed_by_others) == {f"Rule/{rule}"}
    assert list(world.aws.rules) == [rule]


# Crashes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", range(1, 22))
def test_a_rollback_that_ends_at_any_write_is_made_good_by_the_next(write: int) -> None:
    world, snapshot = rolled_out(give_tolerations)
    crash_at(world.writes, write)
    with pytest.raises(Crashed):
        LEVER.rollback(world.target, snapshot)
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert tolerations(world) == ([HIS], ["helm"])


def give_tolerations(world: World) -> None:
    """akidb-grpc tolerates a taint of its team's, by a manager that applies whole Deployments."""
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "akidb-grpc", "namespace": "akidb"},
        "spec": {"replicas": 15, "template": {"spec": {"tolerations": [HIS]}}},
    }
    world.cluster.apply(body, "helm", force=True)
    world.writes.clear()


def tolerations(world: World) -> tuple[list[Object] | None, list[str]]:
    """akidb-grpc's tolerations, and who owns them."""
    owners = []
    for entry in deployment(world)["metadata"]["managedFields"]:
        fields = entry["fieldsV1"].get("f:spec", {}).get("f:template", {}).get("f:spec", {})
        owners += [entry["manager"]] if "f:tolerations" in fields else []
    return pod_spec(world).get("tolerations"), owners


# What others have set in a Deployment --------------------------------------------------------------------------------


def test_tolerations_of_others_are_kept_beside_ours_and_handed_back() -> None:
    world, snapshot = rolled_out(give_tolerations)
    assert tolerations(world) == ([HIS, OURS], ["akidb-rollout"])
    assert LEVER.plan(world.target).differences == ()
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert tolerations(world) == ([HIS], ["helm"])


def test_a_toleration_that_somebody_added_since_stays_and_is_reported() -> None:
    world, snapshot = rolled_out()
    patch = {"spec": {"template": {"spec": {"tolerations": [OURS, HIS]}}}}
    world.cluster.patch(spot_world.KINDS["Deployment"], "akidb-grpc", patch, "akidb", manager="kubectl-edit")
    restored = assert_all_back(world, snapshot)
    assert restored.changed_by_others == (Difference("Deployment/akidb-grpc tolerations", None, [HIS]),)
    assert tolerations(world) == ([HIS], ["kubectl-edit"])


def test_a_deployment_that_tolerates_every_taint_gets_no_toleration() -> None:
    def tolerate_all(world: World) -> None:
        pod_spec(world)["tolerations"] = [{"operator": "Exists"}]

    world, snapshot = rolled_out(tolerate_all)
    assert pod_spec(world)["tolerations"] == [{"operator": "Exists"}]
    assert LEVER.plan(world.target).differences == ()
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert pod_spec(world)["tolerations"] == [{"operator": "Exists"}]


def test_a_zone_constraint_of_its_own_stays_the_only_one() -> None:
    own = {
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "maxSkew": 2,
        "labelSelector": {"matchLabels": {"app": "akidb-grpc"}},
    }

    def spread(world: World) -> None:
        pod_spec(world)["topologySpreadConstraints"] = [own]

    world, snapshot = rolled_out(spread)
    assert [c["topologyKey"] for c in pod_spec(world)["topologySpreadConstraints"]] == [ZONE, SPREAD]
    rest = pod_spec(world, "akidb-rest")["topologySpreadConstraints"]
    assert [(c["topologyKey"], c["whenUnsatisfiable"]) for c in rest] == [
        (SPREAD, "DoNotSchedule"),
        (ZONE, "ScheduleAnyway"),
    ]
    assert LEVER.plan(world.target).differences == ()
    assert assert_all_back(world, snapshot).changed_by_others == ()
    assert pod_spec(world)["topologySpreadConstraints"] == [own]
    assert not pod_spec(world, "akidb-rest").get("topologySpreadConstraints")


def test_what_an_earlier_run_has_promoted_stays_when_a_later_one_is_undone() -> None:
    world, _ = rolled_out()
    before = LEVER.snapshot(world.target)
    world.with_estate(spot=world.estate.spot.model_copy(update={"volume_gib": 60}))
    for stage in LEVER.plan(world.target).stages:
        LEVER.apply(world.target, stage)
    assert assert_all_back(world, before).changed_by_others == ()
    assert LEVER.snapshot(world.target) == before


def test_ownership_goes_to_its_owners_and_leaves_nothing_of_ours() -> None:
    fields, apps = {"f:spec": {"f:template": {"f:spec": {"f:tolerations": {}}}}}, {"apiVersion": "apps/v1"}
    helm = {"manager": "helm", "operation": "Apply", **apps, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    ours = {"manager": "akidb-rollout", "operation": "Apply", **apps, "fieldsV1": copy.deepcopy(fields)}
    status = {"manager": "akidb-rollout", "operation": "Update", **apps, "fieldsV1": {"f:status": {}}}
    owners = [["helm", "Apply"], ["kubectl-edit", "Update"]]
    handed = handed_back([helm, ours, status], "akidb-rollout", {TOLERATIONS: owners})
    edit = {"manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1"}
    assert handed == [
        helm | {"fieldsV1": {"f:spec": {"f:replicas": {}, **fields["f:spec"]}}},
        status,
        edit | {"fieldsV1": fields},
    ]
    assert handed_back(handed, "akidb-rollout", {TOLERATIONS: owners}) == handed


def test_a_rollback_asks_for_the_lock_before_each_step() -> None:
    world, snapshot = rolled_out()
    asked: list[int] = []
    target = replace(world.target, fence=lambda: asked.append(len(world.writes)))
    LEVER.rollback(target, snapshot)
    assert len(asked) >= 10
