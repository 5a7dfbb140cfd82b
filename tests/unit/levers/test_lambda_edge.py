"""The functions at the edge and in the regions: planned, refused, changed and judged. On moto, repaired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from include.estate import Estate
from include.levers.lambda_edge.measured import Seen, combined, number, p95, ratio
from include.rollout.gates import Figure, judge_all
from include.rollout.lever import NotConverged, Refused, Stage
from lab.cloud import figures, moto_cloudfront, moto_lambda, moto_provisioned
from tests.unit.levers.lambda_world import ALIAS, CLOCK, DEFAULT, EDGE, LEVER, REGIONAL, World, chosen


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def version(world: World, number: int) -> str:
    """The ARN of a version of the function at the edge."""
    return f"{world.first.rpartition(':')[0]}:{number}"


def with_settings(world: World, **given: Any) -> Any:
    return replace(world.target, settings=chosen(**given))


def failed(world: World, **given: Any) -> list[tuple[str, str, str]]:
    """Name, reason and remedy of the preflight checks that fail."""
    found = LEVER.preflight(with_settings(world, **given))
    return [(check.name, check.reason, check.remedy) for check in found if not check.passed]


# Plan -----------------------------------------------------------------------------------------------------------------


def test_a_plan_names_every_change_its_dollars_and_the_plans(world: World) -> None:
    plan = LEVER.plan(world.target)
    assert [str(difference) for difference in plan.differences] == [
        f"Function {EDGE} MemorySize: 512 -> 384",
        f"Associations {world.distribution} {EDGE} {DEFAULT}: {version(world, 1)} -> {version(world, 2)}",
        *(
            f"ProvisionedConcurrency {region} {REGIONAL} {ALIAS} ProvisionedConcurrentExecutions: absent -> 2"
            for region in world.estate.regions
        ),
    ]
    assert [stage.title for stage in plan.stages] == [
        f"{EDGE} from 512 to 384 MB: version 2 associated",
        f"2 units of provisioned concurrency for {REGIONAL}:{ALIAS} in each of 3 regions",
    ]
    assert plan.price_book == "AWS Lambda list prices (2026-11-29)"
    assert "provisioned concurrency, 2 units in each of 3 regions: +30.60 USD a month at list prices" in plan.notes
    assert (
        "the plan: -70 USD a month for memory and fewer cold starts together, +60 for provisioned concurrency"
    ) in plan.notes
    assert "version 1 is not deleted: replicas and an undo need it" in plan.notes
    assert LEVER.plan(world.target).hash() == plan.hash()


def test_dollars_are_those_of_the_requests_at_each_size_and_of_the_units(world: World) -> None:
    plan = LEVER.plan(world.target)
    line = next(note for note in plan.notes if note.startswith("512 -> 384 MB: "))
    requests = Decimal(line.partition("for ")[2].partition(" requests")[0].replace(",", ""))
    before, after = (
        (requests * Decimal(usd) / 1_000_000).quantize(Decimal("0.01")) for usd in ("1.3626525", "1.247004375")
    )
    assert plan.usd_month_before == before
    assert plan.usd_month_after is not None
    assert abs(plan.usd_month_after - after - Decimal("30.60")) <= Decimal("0.01")


def test_without_durations_of_another_size_the_memory_stays_and_units_alone_are_changed(world: World) -> None:
    target = with_settings(world, duration_min_samples=100_000)
    plan = LEVER.plan(target)
    assert [stage.slot for stage in plan.stages] == ["memory", "provisioned"]
    assert plan.stages[0].title == f"{EDGE} stays at 512 MB: version 1 associated"
    assert [difference.path.split(" ")[0] for difference in plan.differences] == ["ProvisionedConcurrency"] * 3
    assert any("refused: 75000 of the 100000 samples that it needs" in note for note in plan.notes)
    none = LEVER.plan(with_settings(world, duration_min_samples=100_000_000))
    assert [stage.slot for stage in none.stages] == ["provisioned"]
    assert "the size of the function at the edge stays as it is" in none.notes


def test_with_nothing_to_do_the_plan_has_neither_stage_nor_difference(world: World) -> None:
    plan = LEVER.plan(with_settings(world, change_edge_memory=False, provisioned_units=0))
    assert (plan.stages, plan.differences) == ((), ())
    assert plan.usd_month_before == plan.usd_month_after
    assert "memory: change_edge_memory is off: the size stays" in plan.notes


def test_durations_measured_elsewhere_count_for_a_size_that_production_has_none_of(world: World) -> None:
    target = with_settings(world, function_durations=["256:5000:40:49", "512:5000:1:1"])
    plan = LEVER.plan(target)
    assert plan.stages[0].title == f"{EDGE} from 512 to 256 MB: a new version at 256 MB associated"
    assert any(note.startswith("measured: 512 MB: mean 30.0 ms, P95 44.0 ms") for note in plan.notes)


# Preflight ------------------------------------------------------------------------------------------------------------


def test_preflight_passes_on_the_estate_as_it_stands(world: World) -> None:
    assert failed(world) == []


def test_a_viewer_event_is_refused_before_anything_is_written(world: World) -> None:
    world.update(MemorySize=128)
    arn = world.publish()
    world.associate(arn, "viewer-request")
    CLOCK.sleep(60)
    world.config(), world.cloudfront.get_distribution(Id=world.distribution)
    reason = (
        "it runs on viewer-request with 128 MB, and CloudFront allows viewer events 128 MB and 5 s at most: 512 -> 384 "
        "MB is possible on origin events only"
    )
    remedy = "associate it with an origin event, or set change_edge_memory off, to change provisioned concurrency alone"
    assert ("event type", reason, remedy) in failed(world)
    assert [stage.slot for stage in LEVER.plan(world.target).stages] == ["provisioned"]
    assert f"memory: {reason}" in LEVER.plan(world.target).notes
    assert failed(world, change_edge_memory=False) == []


def test_latest_with_settings_that_nobody_has_published_is_refused(world: World) -> None:
    world.update(Timeout=7)
    assert failed(world) == [
        (
            "unpublished changes",
            "$LATEST differs from version 1 in Timeout",
            "publish and associate them first, or take them back, or set change_edge_memory off, to change provisioned "
            "concurrency alone",
        )
    ]


def test_units_for_an_alias_that_does_not_exist_are_refused_unless_none_are_asked_for(world: World) -> None:
    world.lambdas["eu-central-1"].delete_alias(FunctionName=REGIONAL, Name=ALIAS)
    assert failed(world) == [
        (
            "provisioned concurrency",
            f"{REGIONAL}:{ALIAS} in eu-central-1 leads to nothing: it does not exist",
            "make the alias lead to a numbered version, or set provisioned_units to 0",
        )
    ]
    assert failed(world, provisioned_units=0) == []


def test_a_function_that_cloudfront_does_not_run_is_refused_by_name(world: World) -> None:
    names = {check[0] for check in failed(world, edge_function="other")}
    assert names == {"CloudFront and Lambda reachable"}
    with pytest.raises(Refused, match=f"distribution {world.distribution} runs none of its versions of other"):
        LEVER.plan(with_settings(world, edge_function="other"))


def test_a_silent_part_of_the_world_is_named_before_anything_is_written(world: World) -> None:
    probed = world.probed
    world.target.clients.probes.results = lambda: [one for one in probed() if one.region != "india"]
    (found,) = failed(world)
    assert found[:2] == ("probes of india", "no probe is there")
    assert failed(world, watch_global_latency=False) == []


# Apply ----------------------------------------------------------------------------------------------------------------


def test_an_equal_version_is_reused_and_every_other_field_of_the_distribution_stays(world: World) -> None:
    before, stage = world.config(), LEVER.plan(world.target).stages[0]
    done = LEVER.apply(world.target, stage)
    assert (done["version"], done["memory_mb"], done["objects"]) == ("2", 384, 2)
    assert (world.versions(), world.latest()["MemorySize"]) == ({"1": 512, "2": 384}, 384)
    now = world.config()
    assert now["DefaultCacheBehavior"].pop("LambdaFunctionAssociations")["Items"] == [
        {"LambdaFunctionARN": version(world, 2), "EventType": "origin-request", "IncludeBody": False}
    ]
    before["DefaultCacheBehavior"].pop("LambdaFunctionAssociations")
    assert now == before
    etag = world.cloudfront.get_distribution_config(Id=world.distribution)["ETag"]
    LEVER.apply(world.target, stage)
    assert world.cloudfront.get_distribution_config(Id=world.distribution)["ETag"] == etag


def test_a_size_without_a_version_is_published_once_with_a_description_that_tells_whose_it_is(world: World) -> None:
    target = with_settings(world, function_durations=["256:5000:40:49"], provisioned_units=0)
    (stage,) = LEVER.plan(target).stages
    for _ in range(2):
        assert LEVER.apply(target, stage)["version"] == "3"
    assert world.versions() == {"1": 512, "2": 384, "3": 256}
    made = world.lambdas["us-east-1"].get_function_configuration(FunctionName=EDGE, Qualifier="3")
    assert made["Description"] == "akidb-rollout: version 1 at 256 MB"
    assert LEVER.plan(target).differences == ()


def test_code_that_comes_to_latest_after_the_approval_is_not_shipped(world: World) -> None:
    target = with_settings(world, function_durations=["256:5000:40:49"])
    stage = LEVER.plan(target).stages[0]
    world.update(Timeout=7)
    with pytest.raises(Refused, match=r"\$LATEST of akidb-edge-inference is not version 1 at 256 MB: somebody else"):
        LEVER.apply(target, stage)
    assert (world.running(), world.versions()) == (version(world, 1), {"1": 512, "2": 384})


def test_the_approved_size_is_written_whatever_the_durations_say_by_then(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    figures.LEVELS.slower_ms = 30.0  # every size is too slow now
    LEVER.apply(world.target, stage)
    assert world.running() == version(world, 2)


def test_an_association_that_has_gone_elsewhere_in_the_meantime_is_left_alone(world: World) -> None:
    plan = LEVER.plan(world.target)
    world.update(Timeout=7)
    theirs = world.publish()
    stage = plan.stages[0]
    look, moved = LEVER.desired, iter([True])

    def late(*arguments: Any) -> Any:
        things = look(*arguments)
        if next(moved, False):
            world.associate(theirs)
        return things

    LEVER.desired = late  # type: ignore[method-assign]
    try:
        with pytest.raises(Refused, match=f"{DEFAULT} is {theirs} by now, not version 1: it was left alone"):
            LEVER.apply(world.target, stage)
    finally:
        del LEVER.desired  # type: ignore[method-assign]
    assert world.running() == theirs


def test_somebody_who_writes_the_distribution_at_the_same_time_loses_nothing(world: World) -> None:
    stage, comment = LEVER.plan(world.target).stages[0], iter(["theirs"])
    update = world.aws["us-east-1"].call

    def between(service: str, operation: str, **parameters: Any) -> Any:
        if operation == "update_distribution" and (said := next(comment, "")):
            answer = world.cloudfront.get_distribution_config(Id=world.distribution)
            config = {**answer["DistributionConfig"], "Comment": said}
            world.cloudfront.update_distribution(
                Id=world.distribution, DistributionConfig=config, IfMatch=answer["ETag"]
            )
        return update(service, operation, **parameters)

    world.aws["us-east-1"].call = between  # type: ignore[method-assign]
    LEVER.apply(world.target, stage)
    assert (world.config()["Comment"], world.running()) == ("theirs", version(world, 2))


def test_a_distribution_that_never_deploys_is_named(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    moto_cloudfront.DEPLOYING.hold = True
    with pytest.raises(NotConverged, match=f"Distribution {world.distribution} deployed at every edge location: not"):
        LEVER.apply(world.target, stage)


def test_units_are_waited_for_in_every_region(world: World) -> None:
    stage = LEVER.plan(world.target).stages[1]
    moto_provisioned.ALLOCATING.reads = 4
    began = CLOCK.at
    assert LEVER.apply(world.target, stage)["units"] == 2
    assert (world.units(), CLOCK.at > began) == (dict.fromkeys(world.estate.regions, 2), True)
    moto_provisioned.ALLOCATING.hold = True
    with pytest.raises(NotConverged, match="us-east-1: akidb-inference:live is IN_PROGRESS, 0 units ready"):
        LEVER.apply(with_settings(world, provisioned_units=3), stage)


def test_an_update_of_the_function_is_waited_for_before_it_is_published(world: World) -> None:
    moto_lambda.UPDATING.reads = 3
    target = with_settings(world, function_durations=["256:5000:40:49"])
    assert LEVER.apply(target, LEVER.plan(target).stages[0])["version"] == "3"


# Gates ----------------------------------------------------------------------------------------------------------------


def judged(world: World, stage: Stage, applied: Any) -> dict[str, str]:
    results = judge_all(stage.gates, LEVER.observe(world.target, stage, 60, applied))
    return {result.gate.name: result.outcome.value for result in results}


def test_every_gate_passes_when_the_functions_are_well(world: World) -> None:
    for stage in LEVER.plan(world.target).stages:
        done = LEVER.apply(world.target, stage)
        CLOCK.sleep(60)
        assert set(judged(world, stage, done).values()) == {"pass"}


@pytest.mark.parametrize(
    ("levels", "gate"),
    [
        ({"slower_ms": 10.0}, "p95_ms"),
        ({"error_share": 0.01}, "error_ratio"),
        ({"throttle_share": 0.01}, "throttles"),
    ],
)
def test_a_slow_failing_or_throttled_function_fails_its_gate(world: World, levels: Any, gate: str) -> None:
    stages = LEVER.plan(world.target).stages
    done = [LEVER.apply(world.target, stage) for stage in stages]
    CLOCK.sleep(120)
    figures.LEVELS.reset(**levels)
    for stage, applied, name in zip(stages, done, ("edge", "regional"), strict=True):
        failed_gates = {key for key, outcome in judged(world, stage, applied).items() if outcome != "pass"}
        assert failed_gates == {f"{name}_{gate}"}


def test_a_version_without_requests_is_unknown_which_is_no_pass(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    found = judged(world, stage, {"version": "1000"})
    assert [found[f"edge_{name}"] for name in ("p95_ms", "error_ratio", "throttles")] == ["unknown"] * 3


def test_spill_over_above_its_share_fails_and_units_that_are_not_there_fail(world: World) -> None:
    stage = LEVER.plan(world.target).stages[1]
    before = judged(world, stage, {})
    assert (before["provisioned_not_ready"], before["spillover_ratio"]) == ("fail", "unknown")
    done = LEVER.apply(world.target, stage)
    CLOCK.sleep(60)
    figures.LEVELS.spillover_share = 0.21
    assert [name for name, outcome in judged(world, stage, done).items() if outcome != "pass"] == ["spillover_ratio"]


def test_a_slow_part_of_the_world_fails_its_gate(world: World) -> None:
    stage = LEVER.plan(world.target).stages[0]
    done = LEVER.apply(world.target, stage)
    CLOCK.sleep(60)
    world.slow["india"] = 36.0
    assert [name for name, outcome in judged(world, stage, done).items() if outcome != "pass"] == ["p95_ms_india"]


def test_a_region_without_figures_of_the_alias_makes_the_gates_unknown(world: World) -> None:
    stage = LEVER.plan(world.target).stages[1]
    LEVER.apply(world.target, stage)
    CLOCK.sleep(60)
    world.lambdas["eu-central-1"].delete_alias(FunctionName=REGIONAL, Name=ALIAS)
    found = judged(world, stage, {})
    assert [found[name] for name in ("regional_p95_ms", "spillover_ratio")] == ["unknown", "unknown"]


def test_figures_of_several_regions_are_added_and_the_slowest_counts() -> None:
    us = Seen("us-east-1", {"p95": 40.0, "samples": 90, "invocations": 90, "errors": 1}, 1.0)
    eu = Seen("eu-central-1", {"p95": 48.0, "samples": 10, "invocations": 10, "throttles": 2}, 0.5)
    assert p95([us, eu], "s") == Figure(48.0, "ms", 100, "s", "slowest: eu-central-1", coverage=1.0)
    assert ratio([us, eu], "errors", ["invocations"], "s") == Figure(0.01, "", 100, "s", coverage=1.0)
    assert number([us, eu], "throttles", "s") == Figure(2, "requests", 100, "s", coverage=1.0)
    assert (p95([], "s"), ratio([], "errors", ["invocations"], "s"), number([], "throttles", "s")) == (None, None, None)
    assert p95([us, Seen("eu-central-1", {"invocations": 10}, 1.0)], "s") is None


def test_a_span_that_cloudwatch_cuts_in_two_is_put_together() -> None:
    found = {"samples": [30.0, 10.0], "mean": [40.0, 20.0], "p95": [50.0, 60.0], "errors": [1.0, 2.0]}
    assert combined(found) == {"samples": 40.0, "mean": 35.0, "p95": 60.0, "errors": 3.0}


# Evidence -------------------------------------------------------------------------------------------------------------


def test_evidence_has_version_size_units_and_dollars(world: World) -> None:
    none = {"us-east-1": 0, "eu-central-1": 0, "ap-northeast-1": 0}
    found = LEVER.evidence(world.target)
    assert {**found, "usd_month": 0} == {
        "edge_version": "1", "edge_memory_mb": 512, "provisioned_units": none, "usd_month": 0,
    }  # fmt: skip
    assert found["usd_month"] == float(LEVER.plan(world.target).usd_month_before or 0)
    world.apply_all()
    assert LEVER.evidence(world.target)["provisioned_units"] == dict.fromkeys(none, 2)


def test_an_estate_of_another_file_is_read_from_the_target(world: World) -> None:
    raw = world.estate.model_dump(mode="json")
    raw["edge"]["cdn"]["alias"] = "other.example"
    target = replace(world.target, estate=Estate.model_validate(raw))
    (check,) = LEVER.preflight(target)
    assert (check.passed, "one distribution must have the alias 'other.example'" in check.reason) == (False, True)
