"""Health checks of Route 53: replaced, switched to, deleted last, and back from every point. On moto, repaired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from include.estate import Estate, load_estate
from include.levers import lever
from include.levers.dns_health_checks import (
    DnsHealthChecks,
    DnsSettings,
    cheapest,
    noticed_after,
    options,
    usd_by_part,
    usd_month,
)
from include.levers.manifests import FOLDER, filled
from include.rollout.gates import judge_all
from include.rollout.lever import NotConverged, Refused
from include.rollout.settings import build
from lab.cloud import moto_route53
from tests.unit.levers.dns_world import CLOCK, LEVER, World, chosen

FAST: dict[str, Any] = {
    "Type": "HTTPS_STR_MATCH",
    "FullyQualifiedDomainName": "rest.us-east-1.akidb.example",
    "RequestInterval": 10,
    "FailureThreshold": 3,
    "MeasureLatency": True,
    "ResourcePath": "/health",
    "SearchString": "ok",
    "EnableSNI": True,
}


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def check_of(world: World, name: str) -> str:
    """The id of the check that a record set uses."""
    found: str = world.records()[name]["HealthCheckId"]
    return found


US = "api.akidb.example. us-east-1"
EDGE = "edge.akidb.example."


def calculated(world: World) -> str:
    """A check over the checks of all regions."""
    children = [check_of(world, name) for name in world.records() if name.startswith("api")]
    config = {"Type": "CALCULATED", "HealthThreshold": 1, "ChildHealthChecks": children}
    made = world.route53.create_health_check(CallerReference="theirs", HealthCheckConfig=config)
    return str(made["HealthCheck"]["Id"])


# Decisions ------------------------------------------------------------------------------------------------------------


def test_the_cheapest_settings_keep_what_is_to_be_kept() -> None:
    assert cheapest(FAST, chosen()) == {**FAST, "RequestInterval": 30, "MeasureLatency": False}
    plain = cheapest(FAST, chosen(keep_string_matching=False))
    assert (plain["Type"], "SearchString" in plain, plain["ResourcePath"]) == ("HTTPS", False, "/health")
    tcp = cheapest(FAST, chosen(keep_string_matching=False, keep_https=False))
    assert tcp["Type"] == "TCP"
    assert not {"SearchString", "ResourcePath", "EnableSNI"} & set(tcp)
    assert cheapest(FAST, chosen(keep_https=False))["Type"] == "HTTPS_STR_MATCH"  # the text needs the page
    other = {"Type": "CALCULATED", "ChildHealthChecks": ["a"], "HealthThreshold": 1}
    assert cheapest(other, chosen()) == other


def test_options_are_named_and_a_failure_is_noticed_after_interval_times_threshold() -> None:
    assert options(FAST) == ["HTTPS", "string matching", "fast interval", "latency graphs"]
    assert options(cheapest(FAST, chosen())) == ["HTTPS", "string matching"]
    assert options({"Type": "TCP", "RequestInterval": 30, "MeasureLatency": False}) == []
    assert (noticed_after(FAST), noticed_after(cheapest(FAST, chosen()))) == (30, 90)


def test_dollars_come_from_kind_of_endpoint_number_and_features() -> None:
    prices, settings = filled("dns_health_checks/prices.yaml", {}), chosen()
    basic = {"Type": "TCP", "FullyQualifiedDomainName": "lb.eu-central-1.amazonaws.com", "RequestInterval": 30}
    assert usd_month([basic] * 50, settings, prices) == Decimal(0)
    assert usd_month([basic] * 52, settings, prices) == Decimal("1.00")
    other = {"Type": "TCP", "IPAddress": "203.0.113.10", "RequestInterval": 10}
    assert usd_month([other], settings, prices) == Decimal("2.75")
    assert usd_month([other], chosen(aws_endpoints=("203.0.113.*",)), prices) == Decimal("1.00")
    assert usd_month([FAST], settings, prices) == Decimal("4.00")
    assert usd_by_part([FAST, other], settings, prices) == {
        "checks": Decimal("0.75"), "HTTPS": Decimal("1.00"), "string matching": Decimal("1.00"),
        "fast interval": Decimal("3.00"), "latency graphs": Decimal("1.00"),
    }  # fmt: skip


def test_the_estate_decides_zone_and_endpoints() -> None:
    raw = load_estate().model_dump(mode="json") | {"dns": {"hosted_zone": "search.example", "aws_endpoints": []}}
    settings = build(DnsSettings, {"converge_timeout_seconds": 60}, Estate.model_validate(raw))
    assert (settings.hosted_zone, settings.aws_endpoints, settings.request_interval) == ("search.example", (), 30)


# Plan and preflight ---------------------------------------------------------------------------------------------------


def test_it_is_registered_and_acts_once_for_the_estate() -> None:
    found = lever("dns_health_checks")
    assert (found.name, str(LEVER.acts_in), LEVER.needs) == ("dns_health_checks", "estate", frozenset({"aws"}))


def test_the_plan_names_each_field_the_dollars_and_what_they_cost_in_time(world: World) -> None:
    plan, us = LEVER.plan(world.target), check_of(world, US)
    mine = [str(d) for d in plan.differences if us in d.path]
    assert mine == [f"HealthCheck {us}.MeasureLatency: true -> false", f"HealthCheck {us}.RequestInterval: 10 -> 30"]
    assert len(plan.differences) == 8
    assert [stage.slot for stage in plan.stages] == ["switched", "old_deleted"]
    assert plan.stages[0].title == "4 checks of akidb.example replaced, their users switched"
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal("18.75"), Decimal("8.75"))
    assert plan.price_book == "Route 53 list prices (2026-11-28)"
    assert f"{us}: a failure is noticed after 90 s, not 30 s" in plan.notes
    assert LEVER.plan(world.target).hash() == plan.hash()


def test_the_plan_says_what_each_option_saves_and_what_more_could_go_by_hand(world: World) -> None:
    def notes() -> str:
        return "\n".join(LEVER.plan(world.target).notes)

    assert (
        "a month: checks $0.75 -> $0.75, HTTPS $3.00 -> $3.00, string matching $5.00 -> $5.00, fast interval $5.00 -> "
        "$0.00, latency graphs $5.00 -> $0.00"
    ) in notes()
    assert "uses it" not in notes()
    assert "one would do" not in notes()
    www = world.records()["www.akidb.example."]
    config = world.checks()[check_of(world, EDGE)]
    made = world.route53.create_health_check(CallerReference="theirs", HealthCheckConfig=config)["HealthCheck"]["Id"]
    assert f"{made}: no record set or calculated check of this account uses it; $6.75 a month less if you" in notes()
    world.upsert({**www, "HealthCheckId": made})
    first, second = sorted([check_of(world, EDGE), made])
    assert f"{first} and {second} look at one endpoint alike; one would do, $6.75 a month less" in notes()


def test_prices_older_than_a_year_are_said_in_the_plan(world: World) -> None:
    CLOCK.at += 400 * 86400
    (line,) = [note for note in LEVER.plan(world.target).notes if "days old" in note]
    assert line.startswith("the prices of Route 53's health checks are ")


def test_preflight_names_an_endpoint_that_is_ill_and_a_zone_without_checks(world: World) -> None:
    assert all(check.passed for check in LEVER.preflight(world.target))
    moto_route53.UNHEALTHY.add("rest.us-east-1.akidb.example")
    (ill,) = [check for check in LEVER.preflight(world.target) if not check.passed]
    assert (ill.name, ill.reason) == (
        f"health check {check_of(world, US)}",
        "1 of 1 checkers fail: Failure: the health checker could not connect",
    )
    assert ill.remedy == "repair the endpoint first: a new check of it could not be verified"
    settings = chosen(hosted_zone="other.example")
    (none,) = [c for c in LEVER.preflight(replace(world.target, settings=settings)) if not c.passed]
    assert (none.reason, none.remedy) == ("no record set of other.example uses one", "correct hosted_zone")


# Apply and gates ------------------------------------------------------------------------------------------------------


def test_a_check_is_replaced_beside_the_old_one_which_goes_last(world: World) -> None:
    first, last = LEVER.plan(world.target).stages
    old = check_of(world, US)
    assert LEVER.apply(world.target, first)["objects"] == 4
    new = check_of(world, US)
    assert new != old
    assert {old, new} <= set(world.checks())
    assert (world.checks()[new]["RequestInterval"], world.records()[US]["TTL"]) == (30, 60)
    LEVER.apply(world.target, first)  # a retry makes no second one
    assert (check_of(world, US), len(world.checks())) == (new, 8)
    assert {gate.outcome.value for gate in judge_all(first.gates, LEVER.observe(world.target, first, 60, {}))} == {
        "pass"
    }
    assert LEVER.apply(world.target, last)["objects"] == 4
    assert (old in world.checks(), len(world.checks())) == (False, 4)
    assert LEVER.plan(world.target).differences == ()


def test_a_new_check_that_does_not_become_healthy_is_named_and_nothing_is_switched(world: World) -> None:
    stage, records = LEVER.plan(world.target).stages[0], world.records()
    snapshot = LEVER.snapshot(world.target)
    moto_route53.UNHEALTHY.update({"203.0.113.10"} | {f"rest.{r}.akidb.example" for r in world.estate.regions})
    began = CLOCK.at
    with pytest.raises(NotConverged, match="not reached within 600 s: 1 of 1 checkers fail: Failure"):
        LEVER.apply(world.target, stage)
    assert CLOCK.at - began >= 600
    assert world.records() == records
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert len(world.checks()) == 4


def test_a_check_that_somebody_changes_while_its_successor_is_made_is_replaced_by_the_next_try(
    world: World,
) -> None:
    stage, old = LEVER.plan(world.target).stages[0], check_of(world, US)
    moto_route53.UNHEALTHY.add("rest.us-east-1.akidb.example")

    def sleep(seconds: float) -> None:
        world.route53.update_health_check(HealthCheckId=old, FailureThreshold=5)
        moto_route53.UNHEALTHY.clear()

    with pytest.raises(Refused, match=f"HealthCheck {old} was changed while its successor was made: start again"):
        DnsHealthChecks(CLOCK.now, sleep).apply(world.target, stage)
    assert check_of(world, US) == old
    LEVER.apply(world.target, stage)
    assert world.checks()[check_of(world, US)]["FailureThreshold"] == 5
    assert len(world.checks()) == 8


def test_an_endpoint_that_fails_in_the_soak_is_a_safety_gate_that_fails(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    LEVER.apply(world.target, stage)
    moto_route53.UNHEALTHY.add("203.0.113.10")
    results = judge_all(stage.gates, LEVER.observe(world.target, stage, 60, {}))
    assert [(r.gate.name, r.outcome.value, r.gate.safety) for r in results] == [
        ("unhealthy_checks", "fail", True),
        ("records_without_check", "pass", True),
    ]
    assert check_of(world, EDGE) in results[0].reason


def test_a_calculated_check_is_switched_too_under_its_version(world: World) -> None:
    parent = calculated(world)
    old = set(world.checks()[parent]["ChildHealthChecks"])
    before, snapshot = world.state(), LEVER.snapshot(world.target)
    world.apply_all()
    now = world.checks()[parent]["ChildHealthChecks"]
    assert len(now) == 3
    assert not old & set(now)
    assert set(now) < set(world.checks())
    LEVER.rollback(world.target, snapshot)
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert {k: v for k, v in world.state().items() if k != "checks"} == {
        k: v for k, v in before.items() if k != "checks"
    }


@pytest.mark.parametrize("last_slot", [0, 1])
def test_a_calculated_check_that_a_record_set_uses_stays_itself_whatever_its_children_become(
    world: World, last_slot: int
) -> None:
    parent = calculated(world)
    world.upsert({**world.records()["www.akidb.example."], "HealthCheckId": parent})
    assert all(check.passed for check in LEVER.preflight(world.target))  # Route 53 tells no status of it
    stages, snapshot = LEVER.plan(world.target).stages, LEVER.snapshot(world.target)
    config = {**world.checks()[parent], "ChildHealthChecks": set(world.checks()[parent]["ChildHealthChecks"])}
    for stage in stages[: last_slot + 1]:
        LEVER.apply(world.target, stage)
    assert check_of(world, "www.akidb.example.") == parent
    assert len(world.checks()) == (9, 5)[last_slot]
    results = judge_all(stages[0].gates, LEVER.observe(world.target, stages[0], 60, {}))
    assert {gate.outcome.value for gate in results} == {"pass"}
    assert LEVER.rollback(world.target, snapshot).changed_by_others == ()
    assert LEVER.verify_restored(world.target, snapshot) == []
    assert check_of(world, "www.akidb.example.") == parent
    if last_slot == 0:
        now = world.checks()[parent]
        assert {**now, "ChildHealthChecks": set(now["ChildHealthChecks"])} == config


def test_an_old_check_that_somebody_else_uses_by_now_is_not_deleted(world: World) -> None:
    first, last = LEVER.plan(world.target).stages
    old = check_of(world, US)
    LEVER.apply(world.target, first)
    stage_facts = LEVER.facts(world.lever_world)
    assert old in stage_facts["outdated"]
    world.upsert({**world.records()["www.akidb.example."], "HealthCheckId": old})
    LEVER.apply(world.target, last)
    assert old in world.checks()
    assert [d.path for d in LEVER.plan(world.target).differences][:1] == [f"HealthCheck {old}.MeasureLatency"]


def test_a_retry_switches_those_too_whom_an_attempt_that_was_cut_short_has_left_with_the_old_check(
    world: World,
) -> None:
    first, last = LEVER.plan(world.target).stages
    parent, fences = calculated(world), iter(range(100))

    def cut_short() -> None:
        if next(fences) == 2:  # made, one user switched
            raise Refused("cut short")

    with pytest.raises(Refused, match="cut short"):
        LEVER.apply(replace(world.target, fence=cut_short), first)
    for stage in (first, last):
        LEVER.apply(world.target, stage)
    assert len(world.checks()) == 5
    assert {world.checks()[child]["RequestInterval"] for child in world.checks()[parent]["ChildHealthChecks"]} == {30}
    assert LEVER.plan(world.target).differences == ()


# Undo -----------------------------------------------------------------------------------------------------------------


def test_an_undo_before_the_old_checks_are_deleted_is_a_switch_back(world: World) -> None:
    before, records, snapshot = world.state(), world.records(), LEVER.snapshot(world.target)
    LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    began = CLOCK.at
    restored = LEVER.rollback(world.target, json.loads(json.dumps(snapshot)))
    assert {step.rpartition(" ")[0].split(" ", 2)[2] for step in restored.steps} == {"switched"}
    assert (world.records(), world.state(), CLOCK.at) == (records, before, began)


def test_an_undo_after_it_makes_them_anew_and_the_records_refer_to_the_new_ids(world: World) -> None:
    before, snapshot, old = world.state(), LEVER.snapshot(world.target), check_of(world, US)
    world.apply_all()
    restored = LEVER.rollback(world.target, snapshot)
    again = check_of(world, US)
    assert again != old
    assert f"HealthCheck {old} made anew as {again}" in restored.steps
    assert (LEVER.verify_restored(world.target, snapshot), world.state()) == ([], before)
    assert LEVER.rollback(world.target, snapshot).steps == ("nothing was written, nothing is to be undone",)


def test_two_runs_are_undone_newest_first_although_every_id_is_another_one(world: World) -> None:
    start, first = world.state(), LEVER.snapshot(world.target)
    world.apply_all()
    between = world.state()
    newer = replace(world.target, settings=chosen(keep_string_matching=False), run_id="run 2")
    second = LEVER.snapshot(newer)
    world.apply_all(newer)
    LEVER.rollback(newer, second)
    assert (LEVER.verify_restored(newer, second), world.state()) == ([], between)
    assert LEVER.rollback(world.target, first).changed_by_others == ()
    assert (LEVER.verify_restored(world.target, first), world.state()) == ([], start)


@pytest.mark.parametrize("is_used", [True, False])
def test_an_undo_leaves_what_an_earlier_run_has_replaced(world: World, is_used: bool) -> None:
    old, www = check_of(world, US), world.records()["www.akidb.example."]
    LEVER.apply(world.target, LEVER.plan(world.target).stages[0])
    world.upsert({**www, "HealthCheckId": old})  # so that the earlier run does not delete it
    LEVER.apply(world.target, LEVER.plan(world.target).stages[1])
    if not is_used:
        world.upsert(www)
    later = replace(world.target, settings=chosen(keep_string_matching=False), run_id="run 2")
    before, snapshot = world.state(), json.loads(json.dumps(LEVER.snapshot(later)))
    world.apply_all(later)
    assert LEVER.rollback(later, snapshot).changed_by_others == ()
    assert LEVER.verify_restored(later, snapshot) == []
    now = world.state()
    assert {**now, "checks": 0} == {**before, "checks": 0}
    assert len(now["checks"]) == (5 if is_used else 4)


def test_a_record_set_that_somebody_points_elsewhere_is_reported_and_left_alone(world: World) -> None:
    snapshot, old = LEVER.snapshot(world.target), check_of(world, US)
    world.apply_all()
    theirs = world.route53.create_health_check(CallerReference="theirs", HealthCheckConfig=FAST)["HealthCheck"]["Id"]
    world.upsert({**world.records()[US], "HealthCheckId": theirs})
    restored = LEVER.rollback(world.target, snapshot)
    path = f"RecordSet {world.zone} api.akidb.example. A us-east-1 HealthCheck"
    assert [str(d) for d in restored.changed_by_others] == [f"{path}: {old} -> {theirs}"]
    assert check_of(world, US) == theirs


def test_a_lock_that_was_taken_over_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    before = world.state()
    with pytest.raises(Refused, match="taken over"):
        LEVER.apply(replace(world.target, fence=fence), LEVER.plan(world.target).stages[0])
    assert world.state() == before


# Rights ---------------------------------------------------------------------------------------------------------------


def test_the_iam_policy_allows_exactly_what_the_lever_asks_for(world: World) -> None:
    calculated(world)
    snapshot = LEVER.snapshot(world.target)
    LEVER.preflight(world.target)
    world.apply_all()
    LEVER.rollback(world.target, snapshot)
    policy = json.loads((FOLDER / "dns_health_checks" / "iam_policy.json").read_text())
    allowed = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    assert allowed == {f"route53:{name}" for name in world.asked}
