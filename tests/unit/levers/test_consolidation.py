"""The consolidation lever: two policies, watched, measured, and handed back to the last field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.levers.consolidation.pins import BEFORE
from include.levers.spot_capacity import SpotCapacity
from include.rollout.lever import NotConverged, Target, Undo
from tests.unit.levers.packing_world import BOUNDS, NOW, REGION, SPOT, TARGET, World, event

WHEN_EMPTY = {
    "consolidationPolicy": "WhenEmpty",
    "consolidateAfter": "30s",
    "budgets": [{"reasons": ["Empty"], "nodes": "100%"}, {"reasons": ["Drifted", "Underutilized"], "nodes": "34%"}],
}


@pytest.fixture
def world() -> World:
    return World()


def owners(world: World, pool: str = "akidb-spot") -> list[str]:
    """Who owns fields of a pool's disruption."""
    entries = world.pool(pool)["metadata"]["managedFields"]
    return [entry["manager"] for entry in entries if "f:disruption" in entry["fieldsV1"].get("f:spec", {})]


def test_the_plan_names_what_changes_what_it_saves_and_that_its_undo_is_instant(world: World) -> None:
    plan = world.lever.plan(world.target)
    assert [stage.title for stage in plan.stages] == [
        "akidb-spot and akidb-on-demand: Balanced, a node may be packed 30 s after its last pod",
        "akidb-spot and akidb-on-demand: WhenEmptyOrUnderutilized, a node may be packed 30 s after its last pod",
    ]
    assert [d.path for d in plan.differences] == [
        "NodePool akidb-spot spec.disruption.consolidationPolicy",
        "NodePool akidb-spot spec.disruption.budgets",
        "NodePool akidb-on-demand spec.disruption.consolidationPolicy",
        "NodePool akidb-on-demand spec.disruption.budgets",
    ]
    assert plan.undo is Undo.INSTANT
    assert world.lever.plan(world.with_settings(right_size_floor=True)).undo is Undo.MINUTES


def test_the_policy_is_careful_first_and_the_nodes_come_to_rest_after_each(world: World) -> None:
    applied = world.apply_all()
    assert [applied[slot]["nodes"] for slot in ("balanced", "underutilized")] == [13, 9]
    assert world.pool()["spec"]["disruption"] == {
        "consolidationPolicy": "WhenEmptyOrUnderutilized",
        "consolidateAfter": "30s",
        "budgets": [
            {"reasons": ["Empty"], "nodes": "100%"},
            {"reasons": ["Underutilized"], "nodes": "34%"},
            {"reasons": ["Drifted"], "nodes": "34%"},
        ],
    }
    assert all(applied[slot]["settle_seconds"] >= 60 for slot in applied)
    # consolidateAfter is what it was: both own it.
    assert owners(world) == ["akidb-rollout", "akidb-consolidation"]


def test_a_policy_that_stands_is_not_made_milder_by_a_second_run(world: World) -> None:
    world.apply_all()
    assert [stage.slot for stage in world.lever.plan(world.target).stages] == ["underutilized"]


def test_every_gate_passes_on_fewer_and_cheaper_nodes(world: World) -> None:
    applied = world.apply_all()["underutilized"]
    judged = world.judged("underutilized", applied)
    assert {outcome for outcome, _ in judged.values()} == {"pass"}
    assert judged["nodes_ratio"][1].endswith("nodes 13 before, 9 now")
    assert judged["usd_hour_ratio"][1].endswith("usd_hour 2.7869 before, 2.3142 now")


def test_more_nodes_for_the_same_pods_fail_and_for_more_pods_do_not(world: World) -> None:
    stage = world.stage("underutilized")
    applied = world.lever.apply(world.target, stage)
    fewer = {**applied, "before": {**applied["before"], "nodes": 8}}
    assert world.judged("underutilized", fewer)["nodes_ratio"][0] == "fail"
    grown = {**applied, "before": {**applied["before"], "nodes": 8, "cpu_requested": 20.0}}
    assert world.judged("underutilized", grown)["nodes_ratio"] == (
        "pass",
        "nodes_ratio: 0.75 ratio is <= 1 ratio (no more nodes for the same pods, evened out, than before; 9 samples); "
        "nodes 8 before, 9 now; requests grew 1.50 times",
    )


def test_too_little_spot_fails(world: World) -> None:
    applied = world.apply_all()["underutilized"]
    for node in world.cluster._karpenter_nodes("d1"):
        node["metadata"]["labels"]["karpenter.sh/capacity-type"] = "on-demand"
    judged = world.judged("underutilized", applied)
    assert (judged["spot_share_pods"][0], judged["spot_share_vcpu"][0]) == ("fail", "fail")


def test_nodes_that_never_come_to_rest_stop_the_stage(world: World) -> None:
    claim = next(o for (kind, *_), o in world.cluster.objects.items() if kind == "NodeClaim")
    claim["status"]["conditions"].append({"type": "DisruptionReason", "status": "True"})
    with pytest.raises(NotConverged, match=rf"NodeClaim {claim['metadata']['name']} is being disrupted"):
        world.lever.apply(world.target, world.stage("balanced"))


# Recommendations ---------------------------------------------------------------------------------------------------


def test_recommendations_are_held_while_nodes_are_packed_and_let_go_at_the_end(world: World) -> None:
    held = world.lever.apply(world.target, world.stage("balanced"))
    assert held["recommendations_held"] == ["akidb-grpc", "akidb-rest"]
    pinned = {**BOUNDS, "minAllowed": TARGET, "maxAllowed": TARGET}
    assert world.autoscaler("akidb-rest")["spec"]["resourcePolicy"]["containerPolicies"] == [pinned]
    world.lever.apply(world.target, world.stage("underutilized"))
    free = world.autoscaler("akidb-rest")
    assert free["spec"]["resourcePolicy"]["containerPolicies"] == [BOUNDS]
    assert [entry["manager"] for entry in free["metadata"]["managedFields"]] == ["akidb-right-sizing"]
    assert BEFORE not in free["metadata"].get("annotations", {})


def test_a_rollback_lets_recommendations_go_that_a_run_has_left_held(world: World) -> None:
    snapshot = json.loads(json.dumps(world.lever.snapshot(world.target)))
    world.lever.apply(world.target, world.stage("balanced"))
    steps = world.lever.rollback(world.target, snapshot).steps
    assert "VerticalPodAutoscaler akidb/akidb-rest let go" in steps
    assert world.autoscaler("akidb-rest")["spec"]["resourcePolicy"]["containerPolicies"] == [BOUNDS]


def test_a_recommender_that_is_gone_by_then_leaves_nothing_to_undo(world: World) -> None:
    snapshot = world.lever.snapshot(world.target)
    world.apply_all()
    for name in world.estate.workloads:
        del world.cluster.objects["VerticalPodAutoscaler", "akidb", name]
    assert world.lever.rollback(world.target, snapshot).changed_by_others == ()
    assert world.lever.verify_restored(world.target, snapshot) == []


def test_without_the_setting_nothing_is_held() -> None:
    world = World(pin_recommendations=False)
    assert world.lever.apply(world.target, world.stage("balanced"))["recommendations_held"] == []


def test_a_recommendation_that_is_not_there_yet_is_refused(world: World) -> None:
    del world.autoscaler("akidb-rest")["status"]
    failed = {c.name: c.reason for c in world.lever.preflight(world.target) if not c.passed}
    assert failed == {"recommendations": "VerticalPodAutoscaler akidb-rest has no recommendation yet"}


# Back --------------------------------------------------------------------------------------------------------------


def test_the_fields_go_back_to_who_owned_them(world: World) -> None:
    snapshot = json.loads(json.dumps(world.lever.snapshot(world.target)))
    world.apply_all()
    restored = world.lever.rollback(world.target, snapshot)
    assert restored.steps == ("NodePool akidb-on-demand set back", "NodePool akidb-spot set back")
    assert world.pool()["spec"]["disruption"] == WHEN_EMPTY
    assert owners(world) == ["akidb-rollout"]
    assert world.lever.verify_restored(world.target, snapshot) == []


def test_a_pool_that_day_1s_undo_removed_has_taken_its_policy_along(world: World) -> None:
    snapshot = json.loads(json.dumps(world.lever.snapshot(world.target)))
    world.apply_all()
    world.lever.rollback(world.target, snapshot)
    for name in ("akidb-spot", "akidb-on-demand"):
        del world.cluster.objects["NodePool", "", name]
    assert world.lever.verify_restored(world.target, snapshot) == []
    assert world.lever.rollback(world.target, snapshot).changed_by_others == ()


def spot_target(world: World) -> Target:
    return Target(REGION, world.estate, "run", world.spot.target.settings, world.clients)


def test_day_1_planned_again_leaves_what_consolidation_holds_alone(world: World) -> None:
    before = [d for d in SPOT.plan(spot_target(world)).differences if "NodePool" in d.path]
    world.apply_all()
    again = SPOT.plan(spot_target(world))
    assert [d for d in again.differences if "NodePool" in d.path] == before == []
    SPOT.apply(spot_target(world), _last(world))
    assert world.pool()["spec"]["disruption"]["consolidationPolicy"] == "WhenEmptyOrUnderutilized"


def _last(world: World) -> Any:
    """The last step of day 1, whatever its plan says."""
    fresh = SpotCapacity(now=lambda: NOW).plan(world.spot.target)
    return [stage for stage in fresh.stages if stage.slot.startswith("step_")][-1]


# Evidence ----------------------------------------------------------------------------------------------------------


def test_the_ledger_has_karpenters_reasons_with_their_dollars(world: World) -> None:
    node = world.cluster.nodes_of("d1")[0]
    world.cluster.put(
        event("ConsolidationCandidate", f"Node {node}", "Consolidation candidate: delete (savings: $0.08)")
    )
    world.cluster.put(event("Unconsolidatable", f"Node {node}", "Can't replace with a cheaper node", count=3))
    world.cluster.put(event("Unconsolidatable", f"NodeClaim {node}", "Can't replace with a cheaper node"))
    applied = world.lever.apply(world.target, world.stage("balanced"))
    assert [(d["reason"], d["about"], d.get("usd_hour"), d["times"]) for d in applied["decisions"]] == [
        ("ConsolidationCandidate", f"Node {node}", 0.08, 1),
        ("Unconsolidatable", f"Node {node}", None, 3),
    ]
    assert applied["decisions_counted"] == {"ConsolidationCandidate": 1, "Unconsolidatable": 1}
    assert applied["why_not"] == {node: "Can't replace with a cheaper node"}


def test_the_evidence_has_use_nodes_dollars_and_the_optimum(world: World) -> None:
    found = world.lever.evidence(world.target)
    names = ("utilisation_cpu", "utilisation_memory", "utilisation", "nodes", "oom_kills", "pdb_violations")
    assert [found[name] for name in names] == [0.75, 0.5, 0.75, 13, 0.0, 0]
    assert (found["spot_share_pods"], found["spot_share_vcpu"]) == (0.8, 0.75)
    assert found["packing_optimum_usd_hour"] <= found["packing_usd_hour"] < found["usd_hour"]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, "5 pods move"),
        ({"most_share_evictions": 2}, "2 pods move"),
        ({"most_share_evictions": 0}, ""),
        ({"even_domains": False}, ""),
    ],
)
def test_the_plan_moves_no_more_pods_than_the_run_may_evict(world: World, chosen: dict[str, Any], said: str) -> None:
    nodes = [world.cluster.nodes_of(domain)[0] for domain in ("d1", "d2", "d3", "d4", "d1", "d1", "d1")]
    mine = sorted(key for key in world.cluster.objects if key[0] == "Pod" and key[2].startswith("akidb-rest-"))
    for n, key in enumerate(mine):  # 9 of 15 in d1, 2 in each of the others
        world.cluster.objects[key]["spec"]["nodeName"] = nodes[n % 7]
    notes = world.lever.plan(world.with_settings(**chosen)).notes
    assert [line.partition(",")[0] for line in notes if "pods move" in line] == ([said] if said else [])
