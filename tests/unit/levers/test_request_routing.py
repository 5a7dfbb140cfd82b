"""The routing lever: weights in an HTTPRoute and a record set, at once there and at once back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from include.estate import Estate, load_estate
from include.levers import lever
from include.levers.manifests import FOLDER
from include.rollout.gates import judge_all
from include.rollout.lever import NotConverged, Refused, Undo
from tests.unit.levers.routing_world import LEVER, NOW, ROUTE, Cluster, World, failed

TENTH = {"akidb-jetson": 150, "akidb-rest": 9850, "akidb-lambda": 0}
WEIGHTS = {"akidb-jetson": 1496, "akidb-rest": 8504, "akidb-lambda": 0}
ANY = {"path": {"type": "PathPrefix", "value": "/"}}
ADMIN = {"path": {"type": "PathPrefix", "value": "/admin"}}


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture
def worlds() -> Iterator[Any]:
    """Makes worlds with another estate or other settings."""
    made: list[World] = []

    def make(change: Any = None, **chosen: Any) -> World:
        raw = load_estate().model_dump(mode="json")
        if change:
            change(raw["edge"]["routing"])
        made.append(World(Estate.model_validate(raw), **chosen))
        return made[-1]

    yield make
    for one in made:
        one.close()


def theirs(world: World) -> None:
    """Somebody else's route: /admin to a Service of their own, everything else to the pods."""
    rules = [
        {"matches": [ADMIN], "backendRefs": [{"name": "admin", "port": 80}]},
        {"matches": [ANY], "backendRefs": [{"name": "akidb-rest", "port": 8080, "weight": 1}]},
    ]
    body = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    metadata = {"name": "akidb", "namespace": "akidb"}
    world.cluster.apply(
        {**body, "metadata": metadata, "spec": {"parentRefs": [{"name": "akidb"}], "rules": rules}}, "them"
    )


# Plan and preflight ---------------------------------------------------------------------------------------------------


def test_it_is_registered_and_acts_in_regions_and_its_undo_is_instant() -> None:
    found = lever("request_routing")
    assert (found.name, found.slots, LEVER.undo_class) == (
        "request_routing",
        ("canary_weights", "weights"),
        Undo.INSTANT,
    )


def test_the_plan_has_the_weights_the_record_sets_weight_and_dollars_of_live_prices(world: World) -> None:
    plan = LEVER.plan(world.target)
    assert [str(difference) for difference in plan.differences] == [
        "HTTPRoute akidb/akidb: absent -> created",
        f"RecordSet {world.zone} regions.akidb.example. A ap-northeast-1 Weight: 100 -> 110",
    ]
    assert [(stage.slot, stage.settings["weights"]) for stage in plan.stages] == [
        ("canary_weights", TENTH), ("weights", WEIGHTS),
    ]  # fmt: skip
    assert plan.stages[0].title == "10 % of the way: akidb-rest's requests: akidb-jetson 1.5%, akidb-rest 98.5%"
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal("171.57"), Decimal("148.10"))
    assert plan.price_book == "aws (2026-07-20), live nodes"
    assert plan.notes[0].startswith(
        "USD per million requests: akidb-jetson 0.0039, akidb-rest 0.0457, akidb-lambda 0.4500; pods cost less only"
    )
    assert plan.notes[2] == (
        "spot and on_demand share Service akidb-rest: Kubernetes spreads its requests over their pods by number"
    )
    assert LEVER.plan(world.target).hash() == plan.hash()


def test_the_plans_figures_are_a_book_of_their_own_and_spend_the_slack_of_the_fast_on_lambda(worlds: Any) -> None:
    plan = LEVER.plan(worlds(routing_prices="plan").target)
    weights = {"akidb-jetson": 1496, "akidb-rest": 7760, "akidb-lambda": 744}
    assert (plan.price_book, plan.stages[1].settings["weights"]) == ("plan", weights)
    # On demand alone before day 1, at 6.0 a million; then 5.08816.
    assert plan.usd_month_before is not None
    assert plan.usd_month_after == (plan.usd_month_before * Decimal("5.08816") / 6).quantize(Decimal("0.01"))


def test_weights_are_made_for_the_demand_that_is_asked_for(worlds: Any) -> None:
    half = LEVER.plan(worlds(routed_qps=440).target).stages[1].settings["weights"]
    assert half == {"akidb-jetson": 10_000, "akidb-rest": 0, "akidb-lambda": 0}


def test_an_autoscaled_workload_serves_what_its_most_replicas_do(world: World) -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "akidb-rest"}, "maxReplicas": 20}
    metadata = {"name": "keda-hpa-akidb-rest", "namespace": "akidb", "managedFields": []}
    world.cluster.put({"kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec})
    assert LEVER.facts(LEVER.world(world.target))["record_weight"] == 108  # (5,600 + 440) / 5,600


def test_who_is_not_well_gets_nothing_and_the_plan_says_why(world: World) -> None:
    world.endpoints("akidb-jetson", 0, ill=5)
    plan = LEVER.plan(world.target)
    assert plan.stages[-1].settings["weights"] == {"akidb-jetson": 0, "akidb-rest": 10_000, "akidb-lambda": 0}
    line = "Service akidb/akidb-jetson has no endpoint that is ready"
    assert f"akidb-jetson gets no requests: {line}" in plan.notes
    (check,) = [check for check in LEVER.preflight(world.target) if check.name == "backend akidb-jetson"]
    assert (check.passed, check.reason) == (True, f"{line}: it gets no requests")


def test_preflight_names_what_is_missing_and_the_remedy(world: World) -> None:
    assert failed(LEVER.preflight(world.target)) == {}
    world.cluster.objects["Gateway", "akidb", "akidb"]["status"] = {}
    world.prometheus.peak = 4000.0
    world.endpoints("akidb-rest", 0)
    assert failed(LEVER.preflight(world.target)) == {
        "gateway": "Gateway akidb/akidb is not Programmed: nobody would follow a route -> start the controller of its "
        "class, or repair what its conditions name",
        "backend akidb-rest": "Service akidb/akidb-rest has no endpoint that is ready -> repair it first: it takes "
        "what nobody else can",
        "weights": "no mixture has 95% of the requests within 25 ms: akidb-rest first, then the fastest -> repair a "
        "backend, raise latency_budget_ms, or leave the requests where they are",
        "demand": "the last day's peak was 4000 requests/s, the weights would be made for 2940 -> set routed_qps to "
        "4000 or more",
    }
    world.cluster.unserved = {"httproutes"}
    assert failed(LEVER.preflight(world.target))["Gateway API"] == (
        "httproutes.gateway.networking.k8s.io is not served -> install the CustomResourceDefinitions of Gateway API "
        "1.2 or newer in akidb-ap-northeast-1"
    )


# Apply and gates ------------------------------------------------------------------------------------------------------


def test_a_tenth_first_then_all_of_it_with_the_record_set(world: World) -> None:
    first, last = LEVER.plan(world.target).stages
    assert LEVER.apply(world.target, first)["objects"] == 1
    assert (world.cluster.weights(), world.weight()) == (TENTH, 100)
    assert LEVER.apply(world.target, last)["objects"] == 2
    assert (world.cluster.weights(), world.weight(), world.weight("us-east-1")) == (WEIGHTS, 110, 100)
    route = world.route()
    assert route is not None
    assert route["metadata"]["annotations"] == {"akidb.io/record-weights": "100 110"}
    plan = LEVER.plan(world.target)
    assert (plan.differences, plan.stages) == ((), ())


def test_a_stage_passes_its_gates_and_each_failure_is_seen(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    LEVER.apply(world.target, stage)
    assert set(world.outcomes(stage).values()) == {"pass"}
    world.prometheus.slow, world.prometheus.failed = 0.06, 0.02
    world.prometheus.served = {"akidb-rest": 1, "akidb-jetson": 0, "akidb-lambda": 0}
    found = world.outcomes(stage)
    assert (found["routed_p95_ms"], found["routed_error_ratio"], found["share_off_by"]) == ("fail", "fail", "pass")
    world.prometheus.served = {"akidb-rest": 9, "akidb-jetson": 1, "akidb-lambda": 0}
    assert world.outcomes(stage)["share_off_by"] == "fail"


def test_gates_without_data_are_unknown(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    LEVER.apply(world.target, stage)
    world.prometheus.silent = {"akidb_backend"}
    found = world.outcomes(stage)
    names = ("routed_p95_ms", "routed_error_ratio", "share_off_by")
    assert {found[name] for name in names} == {"unknown"}


def test_what_is_not_measured_by_the_gate_is_no_share_of_the_requests(world: World) -> None:
    stage = LEVER.plan(world.target).stages[1]
    LEVER.apply(world.target, stage)
    figure = LEVER.observe(world.target, stage, 20, {"started_at": NOW - 20})["share_off_by"]
    assert figure is not None
    assert (round(figure.value, 6), figure.note) == (
        0.0, "akidb-jetson 15.0% of 15.0%, akidb-rest 85.0% of 85.0%, akidb-lambda 0.0% of 0.0%",
    )  # fmt: skip


@pytest.mark.parametrize(("in_effect_at", "looked_at"), [(NOW - 12, 12), (NOW, 1), (NOW - 90, 20)])
def test_shares_are_those_of_the_time_since_the_gateway_took_the_weights(
    world: World, in_effect_at: float, looked_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = LEVER.plan(world.target).stages[1]
    asked: list[str] = []
    value = world.prometheus.value
    monkeypatch.setattr(world.prometheus, "value", lambda text: (asked.append(text), value(text))[1])
    LEVER.observe(world.target, stage, 20, {"started_at": NOW - 20, "in_effect_at": in_effect_at})
    windows = {part for text in asked if "backend=" in text for part in re.findall(r"\[(\d+)s\]", text)}
    assert windows == {str(looked_at)}


def test_what_apply_leaves_says_when_the_weights_took_effect(world: World) -> None:
    assert LEVER.apply(world.target, LEVER.plan(world.target).stages[1])["in_effect_at"] == NOW


def test_a_gateway_that_does_not_take_the_route_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "takes_routes", False)
    with pytest.raises(NotConverged, match=r"the route: .*Gateway akidb has not looked at the HTTPRoute yet"):
        LEVER.apply(world.target, LEVER.plan(world.target).stages[0])


def test_a_backend_that_falls_ill_after_the_approval_is_given_nothing(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    world.endpoints("akidb-jetson", 0)
    with pytest.raises(Refused, match="akidb-jetson has no endpoint that is ready: repair it, or start again"):
        LEVER.apply(world.target, stage)
    assert world.route() is None


def test_weights_that_stand_stay_while_others_would_not_save_enough(world: World, worlds: Any) -> None:
    world.apply_all()
    world.endpoints("akidb-lambda", 0)
    assert LEVER.plan(world.target).stages == ()
    world.endpoints("akidb-jetson", 0)
    nobody_there = {"akidb-jetson": 0, "akidb-rest": 10_000, "akidb-lambda": 0}
    assert [stage.settings["weights"] for stage in LEVER.plan(world.target).stages] == [nobody_there, nobody_there]


def test_evidence_shows_weights_shares_and_prices(world: World) -> None:
    world.apply_all()
    found = LEVER.evidence(world.target)
    assert found["weights"] == found["shares"] == {"akidb-jetson": 0.1496, "akidb-rest": 0.8504, "akidb-lambda": 0.0}
    assert list(found["record_weights"].values()) == [110]


# Somebody else's route ------------------------------------------------------------------------------------------------


def test_of_somebody_elses_route_only_the_backends_of_the_routed_rule_change_and_come_back(world: World) -> None:
    theirs(world)
    before, snapshot = json.dumps(world.route()["spec"]), LEVER.snapshot(world.target)  # type: ignore[index]
    world.apply_all()
    route = world.route()
    assert route is not None
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "admin", "port": 80}]
    assert {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][1]["backendRefs"]} == WEIGHTS
    assert LEVER.plan(world.target).differences == ()
    assert LEVER.rollback(world.target, json.loads(json.dumps(snapshot))).changed_by_others == ()
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert json.dumps(world.route()["spec"]) == before  # type: ignore[index]
    assert world.weight() == 100


def test_a_route_without_a_rule_that_leads_to_the_pods_is_refused(world: World) -> None:
    theirs(world)
    world.cluster.objects[ROUTE]["spec"]["rules"].pop()
    assert failed(LEVER.preflight(world.target)) == {
        "route": "HTTPRoute akidb/akidb is somebody else's, and no rule of it leads to Service akidb-rest alone -> "
        "name another route in edge.routing.route in estate.yaml"
    }


# Undo -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2])
def test_an_undo_sets_the_record_set_back_then_deletes_the_route(world: World, stages: int) -> None:
    snapshot = LEVER.snapshot(world.target)
    for stage in LEVER.plan(world.target).stages[:stages]:
        LEVER.apply(world.target, stage)
    restored = LEVER.rollback(world.target, json.loads(json.dumps(snapshot)))
    record = f"RecordSet {world.zone} regions.akidb.example. A ap-northeast-1 set back"
    assert (
        restored.steps == ("HTTPRoute akidb/akidb deleted",)
        if stages == 1
        else (record, "HTTPRoute akidb/akidb deleted")
    )
    assert (world.route(), world.weight(), LEVER.verify_restored(world.target, snapshot)) == (None, 100, [])


def test_a_weight_that_somebody_else_has_set_since_stays_and_is_reported(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    world.set_weight(7)
    restored = LEVER.rollback(world.target, snapshot)
    path = f"RecordSet {world.zone} regions.akidb.example. A ap-northeast-1 Weight"
    assert [str(d) for d in restored.changed_by_others] == [f"{path}: 100 -> 7"]
    assert (world.weight(), world.route()) == (7, None)


def test_without_the_route_the_snapshot_says_which_weight_was_the_levers(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    world.apply_all()
    del world.cluster.objects[ROUTE]
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert world.weight() == 100


def test_two_runs_are_undone_newest_first(world: World) -> None:
    first = LEVER.snapshot(world.target)
    world.apply_all()
    world.endpoints("akidb-jetson", 0)
    second = LEVER.snapshot(world.target)
    world.apply_all()
    assert (world.weight(), world.cluster.weights()["akidb-jetson"]) == (110, 0)  # 100 is near enough to 110
    LEVER.rollback(world.target, second)
    assert (world.cluster.weights(), world.weight(), LEVER.verify_restored(world.target, second)) == (WEIGHTS, 110, [])
    LEVER.rollback(world.target, first)
    assert (world.route(), world.weight(), LEVER.verify_restored(world.target, first)) == (None, 100, [])


def test_a_region_without_a_weighted_record_set_keeps_its_share_of_the_world(worlds: Any) -> None:
    world = worlds(lambda routing: routing.update(record="regions"))
    target = replace(world.target, estate=world.estate.model_copy(update={"dns": world.estate.dns.model_copy(
        update={"hosted_zone": "other.example"})}))  # fmt: skip
    plan = LEVER.plan(target)
    assert [difference.path for difference in plan.differences] == ["HTTPRoute akidb/akidb"]
    assert plan.notes[-1] == "no weighted record set of this region: the regions' shares stay"


@pytest.mark.parametrize("rolled_out", [False, True])
def test_a_region_that_somebody_has_drained_stays_drained(world: World, rolled_out: bool) -> None:
    if rolled_out:
        world.apply_all()
    world.set_weight(0)
    world.apply_all()
    assert world.weight() == 0


def test_record_sets_of_different_weights_are_refused_unless_their_weight_is_left_alone(worlds: Any) -> None:
    def found(world: World) -> list[str]:
        name = f"regions.akidb.example. {world.target.region}"
        record = {**world.records()[name], "Type": "AAAA", "Weight": 0}
        record["ResourceRecords"] = [{"Value": "2001:db8::1"}]
        batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        world.route53.change_resource_record_sets(HostedZoneId=world.zone, ChangeBatch=batch)
        return [check.reason for check in LEVER.preflight(world.target) if not check.passed]

    (reason,) = found(worlds())
    assert "AAAA" in reason
    assert reason.endswith("weighs 0: one weight would be written to all of them")
    assert found(worlds(weigh_region=False)) == []


def test_the_record_set_is_left_alone_when_it_is_not_to_be_weighed(worlds: Any) -> None:
    world = worlds(weigh_region=False)
    world.apply_all()
    assert (world.weight(), LEVER.plan(world.target).differences) == (100, ())


def test_a_lock_that_was_taken_over_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    with pytest.raises(Refused, match="taken over"):
        LEVER.apply(replace(world.target, fence=fence), LEVER.plan(world.target).stages[0])
    assert (world.writes, world.weight()) == ([], 100)


# Backends with Services of their own ----------------------------------------------------------------------------------


def test_backends_with_services_of_their_own_are_weighed_apart(worlds: Any) -> None:
    def apart(routing: Any) -> None:
        routing["backends"]["spot"]["service"] = "akidb-rest-spot"

    world = worlds(apart, routing_prices="plan")
    world.endpoints("akidb-rest", 5)
    world.endpoints("akidb-rest-spot", 10)
    weights = LEVER.plan(world.target).stages[1].settings["weights"]
    # 440 of 2,940 requests/s to Jetson; spot has two thirds of what 15 replicas serve, 2,800, and takes the rest.
    assert weights == {"akidb-jetson": 1496, "akidb-rest-spot": 8504, "akidb-lambda": 0, "akidb-rest": 0}


# Rights ---------------------------------------------------------------------------------------------------------------


def test_the_iam_policy_allows_exactly_what_the_lever_asks_for(world: World) -> None:
    snapshot = LEVER.snapshot(world.target)
    LEVER.preflight(world.target)
    world.apply_all()
    LEVER.rollback(world.target, snapshot)
    policy = json.loads((FOLDER / "request_routing" / "iam_policy.json").read_text())
    allowed = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    asked = {
        f"{s}:{''.join(w.title() for w in op.split('_'))}" for s, _, op in (a.partition(":") for a in world.aws.asked)
    }
    assert allowed == asked | {"ec2:DescribeSpotPriceHistory"}  # only where there are spot nodes


def test_a_stages_gates_are_the_engines(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    assert {result.outcome.value for result in judge_all(stage.gates, {})} == {"unknown"}
    assert [gate.name for gate in stage.gates if gate.safety] == [
        "routed_p95_ms", "routed_error_ratio", "p95_ms", "p95_ms_grpc", "error_ratio", "availability",
    ]  # fmt: skip
