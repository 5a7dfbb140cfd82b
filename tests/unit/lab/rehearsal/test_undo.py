"""What remains after the undo of everything: the ledger's word and the lab's evidence, by exact values."""

from __future__ import annotations

from typing import Any

import pytest

from include.rollout.ledger import FIRST_LINK, Chain, OpenRun, Record, Step
from include.rollout.lever import Difference
from lab.rehearsal import undo
from lab.rehearsal.undo import LeverUndo, Remains

SPOT, SCALING = "spot_capacity", "predictive_scaling"
CANARY, OTHER = "ap-northeast-1", "us-east-1"


def record(lever: str, region: str, step: str, second: int = 0, **figures: Any) -> Record:
    time = f"2026-11-28T10:{second // 60:02}:{second % 60:02}+00:00"
    return Record(lever, region, "rollback", "u", 1, FIRST_LINK, step, time, figures)


def open_run(lever: str, region: str, dag: str = "day1_spot") -> OpenRun:
    snapshot = record(lever, region, Step.SNAPSHOT)
    return OpenRun(Chain(lever, region, dag, "r"), snapshot, promoted=True)


def undone(lever: str, region: str, begun: int, proved: int, **figures: Any) -> list[Record]:
    return [
        record(lever, region, Step.UNDO, begun),
        record(lever, region, Step.UNDONE, proved - 1),
        record(lever, region, Step.RESTORED, proved, **(figures or {"complete": True, "remaining": []})),
    ]


STOOD = {place: [open_run(*place)] for place in ((SPOT, CANARY), (SPOT, OTHER), (SCALING, CANARY))}
RECORDS = {
    (SCALING, CANARY): undone(SCALING, CANARY, 0, 15),
    (SPOT, CANARY): undone(SPOT, CANARY, 16, 70),
    (SPOT, OTHER): undone(SPOT, OTHER, 2, 61),
}


@pytest.mark.parametrize(
    ("path", "lever"),
    [
        ("distribution.PriceClass", "cdn_price_class"),
        ("distribution.DefaultCacheBehavior.LambdaFunctionAssociations.Items", "lambda_edge"),
        ("distribution.Comment", "unknown"),
        ("functions.us-east-1.provisioned", "lambda_edge"),
        ("health_checks.{...} 0", "dns_health_checks"),
        ("record_sets.api.akidb.example. A us-east-1.HealthCheckId.RequestInterval", "dns_health_checks"),
        ("record_sets.api.akidb.example. A us-east-1.Weight", "request_routing"),
        ("lifecycle.akidb-tier-1", "storage_tiering"),
        ("objects.httproutes gateway.networking.k8s.io/v1.akidb/akidb", "request_routing"),
    ],
)
def test_a_difference_at_the_edge_is_that_of_the_lever_that_writes_there(path: str, lever: str) -> None:
    assert undo.lever_of(Difference(path, "a", "b")) == lever


def test_a_complete_undo_is_restored_with_the_seconds_of_each_lever() -> None:
    found = undo.judge(83.42, STOOD, RECORDS, {}, [])
    assert found.restored
    assert found.to_json() == {
        "restored": True,
        "seconds": 83.4,
        "remaining": [],
        "by_lever": {
            SPOT: {"restored": True, "seconds": 68.0},
            SCALING: {"restored": True, "seconds": 15.0},
        },
    }
    assert str(found).splitlines() == [
        "lever               regions restored  seconds",
        "------------------  ----------------  -------",
        "spot_capacity       2 of 2                 68",
        "predictive_scaling  1 of 1                 15",
        "undo of everything: 83 s; nothing remains",
    ]


def test_what_a_restoration_names_remains() -> None:
    left = ["NodePool/akidb-spot: absent -> there", "akidb-rest spec.replicas: 15 -> 11"]
    records = {**RECORDS, (SPOT, OTHER): undone(SPOT, OTHER, 2, 61, complete=False, remaining=left)}
    found = undo.judge(90.0, STOOD, records, {(SPOT, OTHER): STOOD[SPOT, OTHER]}, [])
    assert found.remaining == tuple(Remains(OTHER, SPOT, item) for item in left)
    assert found.levers[0] == LeverUndo(SPOT, (CANARY, OTHER), (CANARY,), 68.0)
    assert found.to_json()["by_lever"] == {
        SPOT: {"restored": False, "seconds": 68.0},
        SCALING: {"restored": True, "seconds": 15.0},
    }
    assert str(found).splitlines()[-3:] == [
        "undo of everything: 90 s; remains:",
        "  us-east-1 spot_capacity: NodePool/akidb-spot: absent -> there",
        "  us-east-1 spot_capacity: akidb-rest spec.replicas: 15 -> 11",
    ]


def test_an_undo_that_stopped_says_why_and_one_that_never_began_is_not_restored() -> None:
    stopped = [record(SPOT, CANARY, Step.UNDO), record(SPOT, CANARY, Step.STOPPED, 9, reason="KeyError: 'apiVersion'")]
    records = {(SPOT, CANARY): stopped, (SCALING, CANARY): RECORDS[SCALING, CANARY], (SPOT, OTHER): []}
    still = {place: STOOD[place] for place in ((SPOT, CANARY), (SPOT, OTHER))}
    found = undo.judge(12.0, STOOD, records, still, [])
    assert found.remaining == (
        Remains(CANARY, SPOT, "the changes of day1_spot/r still stand: KeyError: 'apiVersion'"),
        Remains(OTHER, SPOT, "the changes of day1_spot/r still stand"),
    )
    assert found.to_json()["by_lever"][SPOT] == {"restored": False, "seconds": None}


def test_a_restoration_that_does_not_say_what_is_left_is_no_restoration() -> None:
    records = {(SPOT, CANARY): undone(SPOT, CANARY, 0, 5, complete=False)}
    found = undo.of_ledger({}, records, {})
    assert found == [Remains(CANARY, SPOT, "not back, and the ledger does not say what")]


def test_evidence_counts_whatever_the_ledger_says() -> None:
    evidence = [Remains(OTHER, SCALING, "scaled_objects.akidb-rest: absent -> there")]
    found = undo.judge(83.0, STOOD, RECORDS, {}, evidence)
    assert not found.restored
    assert found.remaining == tuple(evidence)


def test_a_run_that_did_not_end_well_leaves_a_trace_even_when_nothing_else_does() -> None:
    found = undo.judge(83.0, STOOD, RECORDS, {}, [], unfinished="the run ended failed without a verdict")
    assert found.remaining == (Remains("estate", "everything", "the run ended failed without a verdict"),)


def test_where_nothing_stood_nothing_remains() -> None:
    found = undo.judge(4.2, {}, {(SPOT, CANARY): []}, {}, [])
    assert found.to_json() == {"restored": True, "seconds": 4.2, "remaining": [], "by_lever": {}}
    assert str(found) == "nothing stood, so nothing was undone\nundo of everything: 4 s; nothing remains"


@pytest.mark.parametrize(
    ("path", "lever"),
    [
        ("node_pools.akidb-spot", SPOT),
        ("node_groups.akidb-on-demand.desiredSize", SPOT),
        ("node_groups.akidb-system", "consolidation"),
        ("nodes.akidb-system c7g.large on-demand", "consolidation"),
        ("node_pools.akidb-spot.disruption.consolidationPolicy", "consolidation"),
        ("system_pods.kube-system/coredns", "consolidation"),
        ("pod_requests.akidb-rest/akidb", "right_sizing"),
        ("vertical_autoscalers.akidb-rest", "right_sizing"),
        ("objects.verticalpodautoscalers autoscaling.k8s.io/v1.akidb/akidb-rest", "right_sizing"),
        ("nodes.akidb-spot c7g.xlarge spot", SPOT),
        ("deployments.akidb-rest.template.spec.topologySpreadConstraints", SPOT),
        ("deployments.akidb-rest.replicas", SCALING),
        ("deployments.traffic-predictor", "unknown"),
        ("scaled_objects.akidb-rest", SCALING),
        ("objects.horizontalpodautoscalers autoscaling/v2.akidb/keda-hpa-akidb-rest", SCALING),
        ("objects.nodepools karpenter.sh/v1.akidb-spot", SPOT),
        ("objects.namespaces v1.monitoring", "cost_monitoring"),
        ("objects.services v1.opencost/opencost", "cost_monitoring"),
        ("objects.clusterroles rbac.authorization.k8s.io/v1.akidb-something", "unknown"),
        ("monitoring.akidb-rules", "cost_monitoring"),
        ("kubecost_deployments.kubecost", "cost_monitoring"),
        ("disruption_budgets.akidb-rest.maxUnavailable", "unknown"),
    ],
)
def test_a_difference_is_told_to_the_lever_that_writes_there(path: str, lever: str) -> None:
    assert undo.lever_of(Difference(path, None, 1)) == lever


def test_evidence_names_region_and_lever_of_each_difference() -> None:
    before = {CANARY: {"node_groups": {"old": {"desiredSize": 5}}, "node_pools": {}}, OTHER: {"node_pools": {}}}
    now = {
        CANARY: {"node_groups": {"old": {"desiredSize": 2}}, "node_pools": {}},
        OTHER: {"node_pools": {"akidb-spot": {"w": 1}}},
    }
    assert undo.of_evidence(before, now) == [
        Remains(CANARY, SPOT, "node_groups.old.desiredSize: 5 -> 2"),
        Remains(OTHER, SPOT, 'node_pools.akidb-spot: absent -> {"w": 1}'),
    ]
    assert undo.of_evidence(before, before) == []


def test_the_undo_is_approved_by_a_person_and_concerns_everything() -> None:
    assert undo.conf(("ap-northeast-1",)) == {
        "lever": "everything",
        "regions": ["ap-northeast-1"],
        "dry_run": False,
        "emergency": False,
        "reason": "rehearsal: undo of everything",
    }
