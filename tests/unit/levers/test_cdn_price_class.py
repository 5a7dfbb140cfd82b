"""The lever of CloudFront's price class on CloudFront in memory: plan, write under the ETag, gates, and back."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from include.clients.aws import AwsRefusedError
from include.levers import cloudfront, lever
from include.levers.cdn_price_class import CdnSettings, prices
from include.levers.manifests import FOLDER
from include.rollout.gates import judge_all
from include.rollout.lever import NotConverged, Refused
from include.rollout.settings import build
from tests.unit.levers.cdn_world import NOW, TB, World

ALL, CLASS_200, CLASS_100 = "PriceClass_All", "PriceClass_200", "PriceClass_100"
TAG = "akidb.io/price-class"


@pytest.fixture
def worlds() -> Iterator[Callable[..., World]]:
    """Makes an account with settings of a run; one after the other."""
    made: list[World] = []

    def make(**given: Any) -> World:
        for before in made:
            before.close()
        made[:] = [World(**given)]
        return made[0]

    yield make
    for left in made:
        left.close()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """A person tries class 200."""
    return worlds(cdn_price_class=CLASS_200)


def judged(world: World) -> dict[str, str]:
    (stage,) = world.lever.plan(world.target).stages
    results = judge_all(stage.gates, world.lever.observe(world.target, stage, 60, {}))
    return {result.gate.name: result.outcome.value for result in results}


# Plan and preflight --------------------------------------------------------------------------------------------------


def test_it_is_registered_and_acts_once_for_the_estate(world: World) -> None:
    found = lever("cdn_price_class")
    assert (found.name, str(world.lever.acts_in), world.lever.needs) == (
        "cdn_price_class", "estate", frozenset({"aws", "probes"}),
    )  # fmt: skip


def test_the_missions_distribution_stays_and_the_plan_says_why(worlds: Callable[..., World]) -> None:
    world = worlds()
    plan = world.lever.plan(world.target)
    assert (plan.differences, plan.stages) == ((), ())
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal("5395.46"), Decimal("5395.46"))
    assert plan.notes == (
        "PriceClass_All stays: no other class saves enough within the limits",
        "PriceClass_200 saves 3.82 USD a month (5,391.64); slows apac (18.0% of the requests) from 10.9 to 92.8 ms, "
        "south_america (2.0% of the requests) from 10.3 to 105.4 ms; refused: P95 apac 92.8 ms is not below 25 ms; "
        "P95 south_america 105.4 ms is not below 35 ms",
        plan.notes[2],
        "flat-rate plan flat_premium_75tb saves 3,945.46 USD a month (1,450.00); refused: not on a plan: Lambda@Edge "
        "is associated; no DAG buys a plan, and leaving one takes until the end of its billing period",
    )
    assert plan.notes[2].startswith("PriceClass_100 saves 471.45 USD a month (4,924.01); slows africa (0.2%")


def test_the_cheapest_class_within_the_limits_is_planned_with_its_dollars(worlds: Callable[..., World]) -> None:
    world = worlds()
    world.widen_limits()
    plan = world.lever.plan(world.target)
    assert [str(d) for d in plan.differences] == [f"Distribution {world.id} PriceClass: {ALL} -> {CLASS_100}"]
    (stage,) = plan.stages
    assert stage.title == f"Distribution {world.id} (cdn.akidb.example): {ALL} -> {CLASS_100}"
    assert (plan.usd_month_before, plan.usd_month_after) == (Decimal("5395.46"), Decimal("4924.01"))
    assert (plan.price_book, plan.undo.value) == ("CloudFront list prices (2026-11-29)", "minutes")
    world.lever.apply(world.target, stage)
    assert world.lever.plan(world.target).stages == ()


def test_the_plans_hash_is_the_same_while_figures_move(world: World) -> None:
    before = world.lever.plan(world.target)
    world.put_totals(TB, 1_000_000)
    world.probes.slower["mumbai"] = 3.0
    after = world.lever.plan(world.target)
    assert before.hash() == after.hash()
    assert before.usd_month_before != after.usd_month_before


def test_a_class_tried_by_hand_is_noted_with_the_limits_that_the_model_sees_broken(world: World) -> None:
    (note,) = [line for line in world.lever.plan(world.target).notes if line.startswith(CLASS_200)]
    assert note.endswith(
        "chosen by hand although the model says: P95 apac 92.8 ms is not below 25 ms; "
        "P95 south_america 105.4 ms is not below 35 ms. The gates decide"
    )


def failed(world: World) -> dict[str, str]:
    return {check.name: check.reason for check in world.lever.preflight(world.target) if not check.passed}


def test_preflight_passes_and_names_what_is_missing(world: World) -> None:
    assert failed(world) == {}
    world.target = replace(world.target, settings=world.target.settings.model_copy(update={"cdn_log_prefix": "none/"}))
    assert failed(world)["usage"].startswith(
        f"estate-wide: s3://akidb-cdn-logs/none/ has no log of distribution {world.id} of the last 7 days"
    )


def test_an_unknown_alias_a_change_on_its_way_and_two_owners_of_an_alias_are_refused(world: World) -> None:
    world.deploying.hold = True
    world.change(Comment="theirs")
    assert failed(world) == {"distribution deployed": f"Distribution {world.id} is InProgress"}
    raw = world.estate.model_dump(mode="json")
    raw["edge"]["cdn"]["alias"] = "www.other.example"
    world.target = replace(world.target, estate=type(world.estate).model_validate(raw))
    assert failed(world)["CloudFront reachable"].startswith(
        "estate-wide: one distribution must have the alias 'www.other.example', found: none of the account's 1"
    )


def test_a_log_row_that_cant_be_read_names_file_and_line(world: World) -> None:
    key = f"AWSLogs/x/{world.id}.2027-01-15-07.aaaa.gz"
    world.s3.put_object(Bucket="akidb-cdn-logs", Key=key, Body=b'{"c-country": "ZZ", "sc-bytes": "1"}\n')
    with pytest.raises(Refused, match=rf"s3://akidb-cdn-logs/{key}: line 1: country 'ZZ' is no ISO"):
        world.lever.plan(world.target)


def test_without_totals_nothing_is_known(world: World) -> None:
    real = world.target.clients.aws.pages
    world.target.clients.aws.pages = lambda service, *rest, **more: (
        iter([{"Id": "bytes", "Timestamps": [], "Values": []}])
        if service == "cloudwatch"
        else real(service, *rest, **more)
    )
    with pytest.raises(Refused, match=r"CloudWatch \(us-east-1\) has no Requests and no BytesDownloaded of"):
        world.lever.plan(world.target)


def test_a_price_table_older_than_a_year_warns_in_preflight_and_plan(
    worlds: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, old = worlds(), replace(prices.load(), date=dt.date(2025, 12, 11))
    monkeypatch.setattr(prices, "load", lambda: old)
    warning = "the prices of CloudFront are of 2025-12-11, 400 days old: read them again (cloudfront.yaml)"
    assert world.lever.plan(world.target).notes[-1] == warning
    assert {check.name: (check.passed, check.reason) for check in world.lever.preflight(world.target)}["prices"] == (
        True, f"warning: {warning}",
    )  # fmt: skip


# Apply and gates -----------------------------------------------------------------------------------------------------


def test_only_the_price_class_is_written_and_it_is_deployed_when_the_stage_ends(world: World) -> None:
    before, (stage,) = world.config(), world.lever.plan(world.target).stages
    assert world.lever.apply(world.target, stage)["objects"] == 1
    assert world.config() == {**before, "PriceClass": CLASS_200}
    assert world.tags() == {"CostCenter": "akidb", TAG: CLASS_200}
    assert cloudfront.status(world.lever_world, world.id) == "Deployed"
    assert (world.clock.at - NOW, len(world.fences)) == (5.0, 2)
    world.lever.apply(world.target, stage)  # a retry writes nothing
    assert len(world.fences) == 2


def test_somebody_who_writes_in_between_keeps_it(world: World) -> None:
    stage = world.lever.plan(world.target).stages[0]
    real, changes = world.target.clients.aws.call, iter(["theirs", "theirs too"])

    def call(service: str, operation: str, **parameters: Any) -> Any:
        if operation == "update_distribution" and (comment := next(changes, None)):
            world.change(Comment=comment)
        return real(service, operation, **parameters)

    world.target.clients.aws.call = call
    world.lever.apply(world.target, stage)
    assert (world.config()["Comment"], world.price_class()) == ("theirs too", CLASS_200)


def test_somebody_who_writes_all_the_time_is_named(world: World) -> None:
    stage, real = world.lever.plan(world.target).stages[0], world.target.clients.aws.call

    def call(service: str, operation: str, **parameters: Any) -> Any:
        if operation == "update_distribution":
            raise AwsRefusedError("412", "PreconditionFailed")
        return real(service, operation, **parameters)

    world.target.clients.aws.call = call
    with pytest.raises(Refused, match=f"Distribution {world.id} was changed by others 5 times in between"):
        world.lever.apply(world.target, stage)


def test_a_slower_part_of_the_world_fails_its_own_gate_and_class_all_passes_all(worlds: Callable[..., World]) -> None:
    world = worlds(cdn_price_class=ALL)
    assert set(judged(world).values()) == {"pass"}
    world.change(PriceClass=CLASS_200)
    assert {name for name, outcome in judged(world).items() if outcome == "fail"} == {
        "p95_ms_apac", "p95_ms_south_america",
    }  # fmt: skip


def test_errors_and_a_cold_cache_fail_their_gates(worlds: Callable[..., World]) -> None:
    world = worlds(cdn_price_class=ALL)
    world.prometheus.failed, world.prometheus.hits = 0.02, 94.0
    assert {name for name, outcome in judged(world).items() if outcome == "fail"} == {
        "cache_hit_percent", "error_ratio",
    }  # fmt: skip


def test_one_region_without_data_leaves_the_errors_unknown(worlds: Callable[..., World]) -> None:
    world = worlds(cdn_price_class=ALL)
    world.prometheus.value = lambda expression: None  # type: ignore[method-assign]
    assert judged(world)["error_ratio"] == "unknown"


def test_a_distribution_that_is_never_deployed_is_named_set_back_and_not_called_restored(world: World) -> None:
    stage, snapshot, before = (
        world.lever.plan(world.target).stages[0],
        world.lever.snapshot(world.target),
        world.state(),
    )
    world.deploying.hold = True
    late = (
        f"Distribution {world.id} deployed at every edge location: not reached within 600 s: its status is InProgress"
    )
    with pytest.raises(NotConverged, match=late):
        world.lever.apply(world.target, stage)
    restored = world.lever.rollback(world.target, snapshot)
    assert restored.steps == (
        f"Distribution {world.id} set back",
        f"set back but not deployed: estate-wide: {late}",
    )
    assert world.state() == before
    assert [str(d) for d in world.lever.verify_restored(world.target, snapshot)] == [
        f"Distribution {world.id} Status: InProgress -> Deployed"
    ]
    world.deploying.hold = False
    assert cloudfront.deployed_after_undo(world.lever_world, world.id) is None
    assert world.lever.verify_restored(world.target, snapshot) == []


# Undo ----------------------------------------------------------------------------------------------------------------


def test_an_undo_sets_the_class_back_and_takes_the_tag_off(world: World) -> None:
    before, snapshot = world.state(), json.loads(json.dumps(world.lever.snapshot(world.target)))
    world.apply_all()
    restored = world.lever.rollback(world.target, snapshot)
    assert (restored.steps, restored.changed_by_others) == ((f"Distribution {world.id} set back",), ())
    assert (world.lever.verify_restored(world.target, snapshot), world.state()) == ([], before)
    again = world.lever.rollback(world.target, snapshot)
    assert again.steps == ("nothing was written, nothing is to be undone",)


def test_another_class_set_by_somebody_else_stays_and_is_reported(world: World) -> None:
    snapshot = world.lever.snapshot(world.target)
    world.apply_all()
    world.change(PriceClass=CLASS_100)
    restored = world.lever.rollback(world.target, snapshot)
    assert [str(d) for d in restored.changed_by_others] == [f"Distribution {world.id} PriceClass: {ALL} -> {CLASS_100}"]
    assert (world.price_class(), TAG in world.tags()) == (CLASS_100, False)


def test_two_runs_are_undone_newest_first(world: World) -> None:
    start, first = world.state(), world.lever.snapshot(world.target)
    world.apply_all()
    between = world.state()
    newer = replace(world.target, settings=build(CdnSettings, {"cdn_price_class": CLASS_100}, world.estate))
    second = world.lever.snapshot(newer)
    world.apply_all(newer)
    assert world.tags()[TAG] == CLASS_100
    world.lever.rollback(newer, second)
    assert (world.lever.verify_restored(newer, second), world.state()) == ([], between)
    world.lever.rollback(world.target, first)
    assert (world.lever.verify_restored(world.target, first), world.state()) == ([], start)


def test_an_alias_that_has_moved_does_not_lead_an_undo_to_another_distribution(world: World) -> None:
    snapshot = world.lever.snapshot(world.target)
    world.apply_all()
    world.change(Aliases={"Quantity": 0})
    assert world.lever.rollback(world.target, snapshot).steps == (f"Distribution {world.id} set back",)
    assert world.price_class() == ALL


def test_an_undo_needs_neither_logs_nor_totals_nor_probes(world: World) -> None:
    before, snapshot = world.state(), world.lever.snapshot(world.target)
    world.apply_all()
    world.asked.clear()
    del world.target.clients.probes, world.target.clients.of
    world.lever.rollback(world.target, snapshot)
    assert world.lever.verify_restored(world.target, snapshot) == []
    assert world.state() == before
    assert {name.partition(":")[0] for name in world.asked} == {"cloudfront"}


def test_a_lock_that_was_taken_over_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    before, stage = world.state(), world.lever.plan(world.target).stages[0]
    with pytest.raises(Refused, match="taken over"):
        world.lever.apply(replace(world.target, fence=fence), stage)
    assert world.state() == before


# Rights --------------------------------------------------------------------------------------------------------------


def test_the_iam_policy_allows_exactly_what_the_lever_asks_for(world: World) -> None:
    snapshot = world.lever.snapshot(world.target)
    world.lever.preflight(world.target)
    world.apply_all()
    world.lever.rollback(world.target, snapshot)
    policy = json.loads((FOLDER / "cdn_price_class" / "iam_policy.json").read_text())
    allowed = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    # The right to list a bucket is not called as its operation is.
    assert allowed == {name.replace("s3:ListObjectsV2", "s3:ListBucket") for name in world.asked}
