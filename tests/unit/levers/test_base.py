"""A lever out of what it owns: whole objects, fields of somebody else's, and fields that an autoscaler moves."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from include.estate import load_estate
from include.levers.base import Dollars, ManifestLever
from include.levers.owned import Item, Own, Thing
from include.levers.probes import GateWindow, Probe, over_recent, over_stage
from include.levers.world import World
from include.rollout.gates import Comparison, Figure, Gate
from include.rollout.lever import Refused, Stage, Target
from tests.unit.levers.fake_cluster import FakeCluster

NOW = 1_000.0
HELM, KEDA = "helm", "keda-operator"
POOL = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "spot"}}
REST = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rest", "namespace": "akidb"}}
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ours", "namespace": "akidb"}}


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True)

    with_map: bool = True
    converge_timeout_seconds: int = 5


class Toy(ManifestLever[Settings]):
    """A ConfigMap of its own, a pool's disruption, and a Deployment's replicas."""

    name, manager, slots, settings_type = "toy", "akidb-toy", ("first", "second"), Settings

    def desired(self, world: World[Settings], slot: str, facts: Mapping[str, Any]) -> Sequence[Thing]:
        if slot == "first":
            return [Item({**MAP, "data": {"a": "1"}}, wanted=world.settings.with_map)]
        disruption = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s"}
        return [
            Item({**POOL, "spec": {"disruption": disruption}}, own=Own.FIELDS),
            Item({**REST, "spec": {"replicas": 0}}, own=Own.FIELDS, moving=("spec.replicas",)),
        ]

    def probes(self, world: World[Settings], slot: str) -> Sequence[Probe]:
        gate = Gate("seconds", Comparison.AT_MOST, 9, "s", 1, "here")
        seen = Gate("all_seconds", Comparison.AT_MOST, 9, "s", 1, "here")
        return [over_recent(gate, _seconds), over_stage(seen, _seconds)]

    def title(self, world: World[Settings], slot: str, live: Mapping[str, Any]) -> str:
        return f"the {slot}"

    def dollars(self, world: World[Settings], live: Mapping[str, Any]) -> Dollars:
        return Dollars(None, None, "none")

    def evidence_of(self, world: World[Settings]) -> dict[str, Any]:
        return {"objects": len(world.cluster.list(SimpleNamespace(name="ConfigMap")))}  # type: ignore[arg-type]


def _seconds(world: World[Settings], seconds: float) -> Figure | None:
    return Figure(seconds, "s", 1, world.place)


LEVER = Toy(now=lambda: NOW)


class Place:
    """A pool of Helm's, and a Deployment whose replicas KEDA moves."""

    def __init__(self, **settings: Any) -> None:
        self.writes: list[str] = []
        self.cluster = FakeCluster(self.writes)
        self.cluster.put({"kind": "Namespace", "metadata": {"name": "akidb"}})
        pool = {"disruption": {"consolidationPolicy": "WhenEmptyOrUnderutilized"}, "weight": 10}
        self.cluster.apply({**POOL, "spec": pool}, HELM)
        self.cluster.apply({**REST, "spec": {"replicas": 7}}, KEDA)
        self.writes.clear()
        clients = SimpleNamespace(kubernetes=self.cluster)
        self.target = Target("us-east-1", load_estate(), "run", Settings(**settings), clients)

    def apply_all(self) -> None:
        for stage in LEVER.plan(self.target).stages:
            LEVER.apply(self.target, stage)

    def spec(self, kind: str) -> dict[str, Any]:
        (found,) = [copy.deepcopy(o["spec"]) for key, o in self.cluster.objects.items() if key[0] == kind]
        return found

    def owners(self, kind: str, *path: str) -> list[str]:
        (found,) = [o for key, o in self.cluster.objects.items() if key[0] == kind]
        return [e["manager"] for e in found["metadata"]["managedFields"] if _has(e["fieldsV1"], path)]


def _has(fields: Mapping[str, Any], path: Sequence[str]) -> bool:
    return not path or (f"f:{path[0]}" in fields and _has(fields[f"f:{path[0]}"], path[1:]))


def through_ledger(snapshot: Any) -> Any:
    return json.loads(json.dumps(snapshot, sort_keys=True))


def test_the_plan_has_every_wanted_field_and_the_gates_of_the_probes() -> None:
    place = Place()
    plan = LEVER.plan(place.target)
    assert [str(d) for d in plan.differences] == [
        "ConfigMap akidb/ours: absent -> created",
        "NodePool spot spec.disruption.consolidationPolicy: WhenEmptyOrUnderutilized -> WhenEmpty",
        "NodePool spot spec.disruption.consolidateAfter: absent -> 30s",
        "Deployment akidb/rest spec.replicas: moved by keda-operator -> 0",
    ]
    assert [(s.slot, s.title, [g.name for g in s.gates]) for s in plan.stages] == [
        ("first", "the first", ["seconds", "all_seconds"]),
        ("second", "the second", ["seconds", "all_seconds"]),
    ]
    place.cluster.apply({**REST, "spec": {"replicas": 9}}, KEDA)  # an autoscaler does not void an approval
    assert LEVER.plan(place.target).hash() == plan.hash()


def test_fields_are_taken_over_and_go_back_with_their_value_to_their_owner() -> None:
    place = Place()
    before = place.spec("NodePool")
    snapshot = through_ledger(LEVER.snapshot(place.target))
    place.apply_all()
    assert place.spec("NodePool") == {
        "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "30s"},
        "weight": 10,
    }
    assert place.owners("NodePool", "spec", "disruption", "consolidationPolicy") == ["akidb-toy"]
    assert LEVER.plan(place.target).differences == ()
    restored = LEVER.rollback(place.target, snapshot)
    assert restored.steps == (
        "Deployment akidb/rest set back",
        "NodePool spot set back",
        "ConfigMap akidb/ours deleted",
    )
    assert restored.changed_by_others == ()
    assert place.spec("NodePool") == before
    assert place.owners("NodePool", "spec", "disruption", "consolidationPolicy") == [HELM]
    assert LEVER.verify_restored(place.target, snapshot) == []
    place.writes.clear()
    assert LEVER.rollback(place.target, snapshot).steps == ("nothing was written, nothing is to be undone",)
    assert place.writes == []


def test_a_moving_field_goes_back_to_its_owner_with_the_value_that_it_has_now() -> None:
    place = Place()
    snapshot = through_ledger(LEVER.snapshot(place.target))
    place.apply_all()
    assert (place.spec("Deployment"), place.owners("Deployment", "spec", "replicas")) == (
        {"replicas": 0},
        ["akidb-toy"],
    )
    paths = [d.path for d in LEVER.verify_restored(place.target, snapshot)]
    assert "Deployment akidb/rest spec.replicas owner" in paths
    LEVER.rollback(place.target, snapshot)
    assert (place.spec("Deployment"), place.owners("Deployment", "spec", "replicas")) == ({"replicas": 0}, [KEDA])
    assert LEVER.verify_restored(place.target, snapshot) == []


def test_a_field_that_somebody_else_has_changed_since_stays_and_is_reported() -> None:
    place = Place()
    snapshot = LEVER.snapshot(place.target)
    place.apply_all()
    place.cluster.apply({**POOL, "spec": {"disruption": {"consolidationPolicy": "Balanced"}}}, "kubectl", force=True)
    restored = LEVER.rollback(place.target, snapshot)
    path = "NodePool spot spec.disruption.consolidationPolicy"
    assert [str(d) for d in restored.changed_by_others] == [f"{path}: WhenEmptyOrUnderutilized -> Balanced"]
    assert place.spec("NodePool") == {"disruption": {"consolidationPolicy": "Balanced"}, "weight": 10}
    assert [d.path for d in LEVER.verify_restored(place.target, snapshot)] == [path]


def test_a_second_run_goes_back_to_what_the_first_one_set_and_keeps_it() -> None:
    place = Place()
    place.apply_all()
    snapshot = LEVER.snapshot(place.target)
    (_, pool, rest) = snapshot["objects"]
    assert pool["was"]["fields"][0] == {
        "path": ["spec", "disruption", "consolidationPolicy"],
        "state": "set",
        "was": "WhenEmpty",
        "owners": [["akidb-toy", "Apply"]],
    }
    assert rest["was"]["fields"][0]["state"] == "set"
    place.writes.clear()
    assert LEVER.rollback(place.target, snapshot).changed_by_others == ()
    assert (place.writes, LEVER.verify_restored(place.target, snapshot)) == ([], [])
    assert place.owners("NodePool", "spec", "disruption", "consolidationPolicy") == ["akidb-toy"]


def test_an_object_that_is_gone_is_reported_and_the_rest_is_undone() -> None:
    place = Place()
    snapshot = LEVER.snapshot(place.target)
    place.apply_all()
    del place.cluster.objects["NodePool", "", "spot"]
    restored = LEVER.rollback(place.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == ["NodePool spot: as before the rollout -> gone"]
    assert [d.path for d in LEVER.verify_restored(place.target, snapshot)] == ["NodePool spot"]
    assert ("ConfigMap", "akidb", "ours") not in place.cluster.objects


def test_fields_of_an_object_that_does_not_exist_are_refused() -> None:
    place = Place()
    del place.cluster.objects["NodePool", "", "spot"]
    stage = LEVER.plan(place.target).stages[1]
    with pytest.raises(Refused, match="us-east-1: NodePool spot does not exist: none of its fields can be set"):
        LEVER.apply(place.target, stage)
    assert place.writes == []


def test_an_object_that_came_after_the_snapshot_is_left_as_it_is_and_said() -> None:
    place = Place()
    pool = place.cluster.objects.pop(("NodePool", "", "spot"))
    snapshot = LEVER.snapshot(place.target)
    place.cluster.objects["NodePool", "", "spot"] = pool
    place.apply_all()
    restored = LEVER.rollback(place.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [
        "NodePool spot spec.disruption.consolidationPolicy: not in the snapshot -> WhenEmpty",
        "NodePool spot spec.disruption.consolidateAfter: not in the snapshot -> 30s",
    ]
    assert [d.path for d in LEVER.verify_restored(place.target, snapshot)] == [
        d.path for d in restored.changed_by_others
    ]


def test_what_a_run_does_not_want_is_in_its_snapshot_and_what_came_since_is_undone_from_an_older_one() -> None:
    place = Place(with_map=False)
    snapshot = LEVER.snapshot(place.target)
    assert snapshot["objects"][0] == {"key": "ConfigMap akidb/ours", "was": None}
    assert not [d for d in LEVER.plan(place.target).differences if "ConfigMap" in d.path]
    place.apply_all()
    assert ("ConfigMap", "akidb", "ours") not in place.cluster.objects
    later = Place()
    later.apply_all()
    LEVER.rollback(later.target, {"objects": []})  # a release that knew none of these
    assert ("ConfigMap", "akidb", "ours") not in later.cluster.objects
    assert later.spec("NodePool")["disruption"]["consolidationPolicy"] == "WhenEmpty"


def test_a_measure_looks_at_the_window_or_at_the_whole_stage_and_an_unknown_gate_has_no_figure() -> None:
    place = Place()
    unknown = Gate("of_another_release", Comparison.BELOW, 1, "s", 1, "there")
    first = LEVER.plan(place.target).stages[0]
    stage = Stage(first.slot, first.title, (*first.gates, unknown))
    figures = LEVER.observe(place.target, stage, 60, {"started_at": NOW - 200})
    assert {name: figure and figure.value for name, figure in figures.items()} == {
        "seconds": 60.0,
        "all_seconds": 200.0,
        "of_another_release": None,
    }
    assert GateWindow.of(World(place.target, lambda: NOW), stage, 60, {}) == GateWindow(stage, 60, 60, {})
