"""The right-sizing lever: what it may be told, what it wants and plans, and its floors."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from include import levers
from include.estate import load_estate
from include.estate.capacity import RightSizingOptions
from include.levers.right_sizing.floors import cores_per_request, floor, stable
from include.levers.right_sizing.wanted import SLOTS, RightSizingSettings, mode_of, vpa
from include.quantities import MIB
from include.rollout.lever import Undo
from include.rollout.settings import form_fields
from tests.unit.levers.sizing_world import LEVER, PREDICTOR, World

RBAC = Path(__file__).parents[3] / "include/manifests/right_sizing/rbac.yaml"
GIB = 1024 * MIB


@pytest.fixture
def world() -> World:
    return World()


def test_the_lever_is_registered_and_its_form_shows_the_estates_figures() -> None:
    assert levers.lever("right_sizing").name == "right_sizing"
    fields = form_fields(RightSizingSettings, load_estate())
    shown = {name: fields[name]["default"] for name in ("canary", "history_days", "memory_margin", "agree_within")}
    assert shown == {"canary": "akidb-grpc", "history_days": 7, "memory_margin": 1.15, "agree_within": 0.05}


def test_scalers_are_undone_before_requests_and_requests_before_spot() -> None:
    order = levers.undo_order()
    assert order.index("predictive_scaling") < order.index("right_sizing") < order.index("spot_capacity")


def test_bounds_that_leave_nothing_between_them_are_refused_by_name() -> None:
    wrong = {"akidb-rest": {"least": {"cpu": "2", "memory": "1Gi"}, "most": {"cpu": "2", "memory": "8Gi"}}}
    with pytest.raises(ValidationError, match=r"needs least\.cpu < most\.cpu, not 2 and 2"):
        RightSizingOptions.model_validate({"bounds": wrong})


# The objects ----------------------------------------------------------------------------------------------------------


def test_a_vpa_changes_requests_alone_of_the_own_container_alone() -> None:
    body = vpa(load_estate(), PREDICTOR, "Initial", "predictor", {"cpu": "500m", "memory": "1Gi"})
    assert body["metadata"]["name"] == PREDICTOR
    assert body["spec"] == {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": PREDICTOR},
        "updatePolicy": {"updateMode": "Initial"},
        "resourcePolicy": {
            "containerPolicies": [
                {
                    "containerName": "predictor",
                    "controlledResources": ["cpu", "memory"],
                    "controlledValues": "RequestsOnly",
                    "minAllowed": {"cpu": "500m", "memory": "1Gi"},
                    "maxAllowed": {"cpu": "2", "memory": "4Gi"},
                },
                {"containerName": "*", "mode": "Off"},
            ]
        },
    }


def test_modes_rise_from_slot_to_slot_and_never_above_what_a_workload_may_have() -> None:
    def modes(name: str, highest: str) -> list[str]:
        return [mode_of(slot, name, "akidb-grpc", highest) for slot in SLOTS]

    assert modes("akidb-grpc", "InPlaceOrRecreate") == ["Off", "Initial", "InPlaceOrRecreate", "InPlaceOrRecreate"]
    assert modes("akidb-rest", "InPlaceOrRecreate") == ["Off", "Initial", "Initial", "InPlaceOrRecreate"]
    assert modes("akidb-rest", "Initial") == ["Off", "Initial", "Initial", "Initial"]
    assert modes("akidb-rest", "Off") == ["Off"] * 4


# Floors ---------------------------------------------------------------------------------------------------------------


BOUNDS = {"cpu": Decimal("0.25"), "memory": 512 * MIB}
MOST = {"cpu": Decimal(2), "memory": 4 * GIB}
NOW = {"cpu": Decimal(1), "memory": 2 * GIB}


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        ({}, BOUNDS),
        ({"cpu": 0.8571, "memory": 1300.0 * 2**20}, {"cpu": Decimal("0.86"), "memory": 1312 * MIB}),
        ({"cpu": 0.1, "memory": 1.0}, BOUNDS),
        ({"cpu": 3.0, "memory": 9.0 * 2**30}, MOST),
        ({"cpu": None, "memory": None}, NOW),
    ],
)
def test_a_floor_is_what_is_needed_between_the_bounds(needed: dict[str, Any], expected: dict[str, Decimal]) -> None:
    assert floor(BOUNDS, MOST, NOW, needed, {}) == expected


def test_a_floor_that_stands_is_kept_while_it_is_enough_and_hardly_more() -> None:
    stands = Decimal("0.90")
    assert [stable("cpu", Decimal(text), stands) for text in ("0.9", "0.86", "0.85", "0.901")] == [
        stands,
        stands,
        Decimal("0.85"),
        Decimal("0.91"),
    ]


def test_a_request_costs_what_busy_hours_say() -> None:
    cores = {0.0: 9.0, 1.0: 0.5, 2.0: 3.0, 3.0: 5.0, 4.0: 7.0}
    requests = {0.0: 3000.0, 1.0: 10.0, 2.0: 1000.0, 3.0: 1500.0, 4.0: float("nan")}
    assert cores_per_request(cores, requests) == (9.0 + 5.0) / 4500.0  # 1,000 is below half of 3,000
    assert cores_per_request(cores, {}) is None
    assert cores_per_request({1.0: 0.5}, {1.0: 0.0}) is None


def test_memory_never_goes_below_its_peak_with_the_margin(world: World) -> None:
    world.prometheus.peak = 2000.0 * 2**20  # x 1.15 is 2,300 MiB, on the grid of 16 MiB 2,304
    floors = {name: one["floor"] for name, one in LEVER.plan(world.target).live["sized"].items()}
    assert floors == {name: {"cpu": "250m", "memory": "2304Mi"} for name in world.estate.workloads}
    world.apply_all()
    assert {size["memory"] for size in world.cluster.sizes().values()} == {"2304Mi"}


def test_an_autoscaled_pod_gets_the_cpu_of_its_autoscalers_target(world: World) -> None:
    world.scale_by_requests("akidb-rest")
    plan = LEVER.plan(world.target)
    floors = {name: one["floor"]["cpu"] for name, one in plan.live["sized"].items()}
    # 0.6 CPU for 196 requests a second are 0.857 for 280, and 0.986 with the margin of 15 %.
    assert floors == {"akidb-rest": "990m", "akidb-grpc": "250m"}
    note = (
        "akidb-rest: order matters: its autoscaler lets a pod carry 280 requests a second, which take 0.86 CPU by "
        "7 days of use: it gets 0.99 CPU or more, whatever a pod used before"
    )
    assert note in plan.notes
    assert "akidb-rest: cpu 1, memory 2Gi -> about cpu 990m, memory 1484Mi a pod, 15 pods" in plan.notes
    world.apply_all()
    sizes = world.cluster.sizes()
    assert (sizes["akidb-rest-0"]["cpu"], sizes["akidb-grpc-0"]["cpu"]) == ("990m", "716m")
    assert LEVER.plan(world.target).differences == ()


@pytest.mark.parametrize(
    ("what", "value", "resource", "kept", "note"),
    [
        ("peak", None, "memory", "2Gi", "its memory is not lowered: no peak of it is known"),
        ("kills", 3, "memory", "2Gi", "its memory is not lowered: 3 OOM kills in 7 days"),
        ("throttled", 0.2, "cpu", "1", "its CPU is not lowered: throttled in 20.0% of its periods, its limit is low"),
        ("qps", None, "cpu", "1", "its CPU is not lowered: what a request costs is not known"),
    ],
)
def test_what_is_not_known_or_has_suffered_is_not_lowered(
    world: World, what: str, value: Any, resource: str, kept: str, note: str
) -> None:
    world.scale_by_requests("akidb-rest")
    setattr(world.prometheus, what, value)
    plan = LEVER.plan(world.target)
    assert plan.live["sized"]["akidb-rest"]["floor"][resource] == kept
    assert f"akidb-rest: {note}" in plan.notes


# Plan -----------------------------------------------------------------------------------------------------------------


def test_the_plan_names_what_is_made_what_is_freed_and_how_it_is_undone(world: World) -> None:
    plan = LEVER.plan(world.target)
    assert [str(difference) for difference in plan.differences] == [
        "VerticalPodAutoscaler akidb/akidb-rest: absent -> created",
        "VerticalPodAutoscaler akidb/akidb-grpc: absent -> created",
    ]
    assert [(stage.slot, stage.title) for stage in plan.stages] == [
        ("recommend", "akidb-rest and akidb-grpc: VPA recommends, nothing changes"),
        ("new_pods", "akidb-rest and akidb-grpc: new pods get the recommended requests"),
        ("in_place_canary", "akidb-grpc: running pods are resized in place"),
        ("in_place_rest", "akidb-rest and akidb-grpc: running pods are resized in place"),
    ]
    assert (plan.undo, plan.usd_month_before) == (Undo.MINUTES, plan.usd_month_after)
    assert plan.notes[1:5] == (
        "akidb-rest: cpu 1, memory 2Gi -> about cpu 716m, memory 1484Mi a pod, 15 pods",
        "akidb-grpc: cpu 1, memory 2Gi -> about cpu 716m, memory 1484Mi a pod, 15 pods",
        "about 8520m CPU and 16.5 GiB of requests are freed",
        "no dollars by itself: nodes cost what they cost; consolidation turns what is freed into fewer nodes",
    )
    assert world.writes == []


def test_what_stands_is_not_taken_back_on_the_way(world: World) -> None:
    world.apply_all()
    plan = LEVER.plan(world.target)
    assert (plan.differences, [stage.slot for stage in plan.stages]) == ((), ["in_place_rest"])
    before, sizes = world.modes(), world.cluster.sizes()
    world.apply_all()
    assert (world.modes(), world.cluster.sizes()) == (before, sizes)


def test_the_predictor_is_sized_where_it_stands_and_has_a_history(world: World) -> None:
    world.cluster.start(PREDICTOR, replicas=2)
    world.prometheus.apps.append(PREDICTOR)
    plan = LEVER.plan(world.target)
    assert plan.live["sized"][PREDICTOR]["highest"] == "Off"
    assert f"{PREDICTOR}: recommendations only: it has run for less than 7 days; run this again then" in plan.notes
    world.apply_all()
    assert world.modes()[PREDICTOR] == "Off"
    world.prometheus.old_predictor = True
    assert [s.slot for s in LEVER.plan(world.target).stages] == [*SLOTS]
    world.apply_all()
    assert world.modes()[PREDICTOR] == "InPlaceOrRecreate"
    assert world.cluster.sizes()[f"{PREDICTOR}-0"] == {"cpu": "716m", "memory": "1555165137"}


# Rights ---------------------------------------------------------------------------------------------------------------


def allowed(method: str, path: str) -> bool:
    """Whether a role lets the lever make a request; what every user may ask is left out."""
    parts = path.removeprefix("/apis/").removeprefix("/api/").split("/")
    group, rest = ("", parts[1:]) if path.startswith("/api/") else (parts[0], parts[2:])
    space = rest[1] if rest[:1] == ["namespaces"] and len(rest) > 2 else ""
    resource, *name = rest[2:] if space else rest
    resource = "/".join([resource, *name[1:]])
    verb = {"GET": "get" if name else "list", "GET watch": "watch", "POST": "create"}.get(method, method.lower())
    roles = [role for role in yaml.safe_load_all(RBAC.read_text()) if role["kind"] in ("Role", "ClusterRole")]
    mine = [role for role in roles if role["kind"] == "ClusterRole" or role["metadata"]["namespace"] == space]
    return any(
        group in rule["apiGroups"]
        and resource in rule["resources"]
        and verb in rule["verbs"]
        and set(name[:1]) <= set(rule.get("resourceNames") or name[:1])
        for role in mine
        for rule in role["rules"]
    )


def test_preflight_rollout_and_rollback_stay_within_the_roles(world: World) -> None:
    LEVER.preflight(world.target)
    snapshot = LEVER.snapshot(world.target)
    stages = LEVER.plan(world.target).stages
    for stage in stages:
        LEVER.apply(world.target, stage)
        LEVER.observe(world.target, stage, 60, {"started_at": 1_800_000_000.0})
    LEVER.rollback(world.target, snapshot)
    LEVER.verify_restored(world.target, snapshot)
    asked = {(method, path) for method, path in world.cluster.api.requests if path.count("/") > 3}  # not discovery
    assert len(asked) > 30
    assert sorted(request for request in asked if not allowed(*request)) == []


def test_rights_to_write_vpas_name_their_objects() -> None:
    documents = list(yaml.safe_load_all(RBAC.read_text()))
    rules = [rule for role in documents if "rules" in role for rule in role["rules"]]
    written = next(r for r in rules if r["resources"] == ["verticalpodautoscalers"] and "patch" in r["verbs"])
    assert written["resourceNames"] == [*load_estate().workloads, PREDICTOR]
    assert not any("delete" in rule["verbs"] for rule in rules if rule is not written)
