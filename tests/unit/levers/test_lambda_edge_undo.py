"""The functions go back: from every point, whatever others have changed since. On moto, repaired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from include.clients.aws import Aws, AwsError
from include.levers.manifests import FOLDER
from include.rollout.lever import Refused
from lab.cloud import moto_cloudfront
from tests.unit.levers.lambda_world import ALIAS, ASKED, CLOCK, DEFAULT, EDGE, LEVER, REGIONAL, World, chosen
from tests.unit.levers.test_lambda_edge import version, with_settings

NOTHING = ("nothing was written, nothing is to be undone",)
SMALLER = {"function_durations": ["256:5000:40:49"]}


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def snapshot(world: World, target: Any = None) -> dict[str, Any]:
    """A snapshot as the ledger keeps it."""
    found: dict[str, Any] = json.loads(json.dumps(LEVER.snapshot(target or world.target)))
    return found


def test_an_undo_goes_back_in_reverse_and_deletes_no_version(world: World) -> None:
    before, kept = world.state(), snapshot(world)
    world.apply_all()
    restored = LEVER.rollback(world.target, kept)
    assert restored.steps == (
        *(f"ProvisionedConcurrency {region} {REGIONAL} {ALIAS} set back" for region in reversed(world.estate.regions)),
        f"Associations {world.distribution} {EDGE} set back",
        f"Function {EDGE} set back",
    )
    assert (world.state(), LEVER.verify_restored(world.target, kept)) == (before, [])
    assert LEVER.rollback(world.target, kept).steps == NOTHING
    assert world.versions() == {"1": 512, "2": 384}


def test_a_version_that_was_published_stays_and_is_used_again(world: World) -> None:
    target = with_settings(world, **SMALLER)
    before, kept = world.state(), snapshot(world, target)
    world.apply_all(target)
    assert LEVER.rollback(target, kept).changed_by_others == ()
    assert (world.state(), world.versions()) == (before, {"1": 512, "2": 384, "3": 256})
    world.apply_all(target)
    assert (world.running(), len(world.versions())) == (version(world, 3), 3)


def test_units_that_stood_before_come_back_as_they_were(world: World) -> None:
    world.provide("eu-central-1", 1)
    kept = snapshot(world)
    world.apply_all()
    LEVER.rollback(world.target, kept)
    assert (world.units(), LEVER.verify_restored(world.target, kept)) == ({"eu-central-1": 1}, [])


def test_what_others_changed_since_is_reported_and_left_alone(world: World) -> None:
    kept = snapshot(world)
    world.apply_all()
    world.update(Timeout=7, MemorySize=640)
    theirs = world.publish()
    world.associate(theirs)
    world.provide("eu-central-1", 5)
    restored = LEVER.rollback(world.target, kept)
    units = f"ProvisionedConcurrency eu-central-1 {REGIONAL} {ALIAS} ProvisionedConcurrentExecutions"
    assert [str(difference) for difference in restored.changed_by_others] == [
        f"{units}: absent -> 5",
        f"Associations {world.distribution} {EDGE} {DEFAULT}: {version(world, 1)} -> {theirs}",
        f"Function {EDGE} MemorySize: 512 -> 640",
    ]
    assert (world.units(), world.running(), world.latest()["MemorySize"]) == ({"eu-central-1": 5}, theirs, 640)


def test_a_version_that_somebody_else_published_since_is_theirs_even_when_only_its_size_differs(world: World) -> None:
    kept = snapshot(world)
    world.apply_all()
    world.update(MemorySize=640)
    theirs = world.publish(Description="hand made")
    world.associate(theirs)
    paths = [difference.path for difference in LEVER.rollback(world.target, kept).changed_by_others]
    assert paths == [f"Associations {world.distribution} {EDGE} {DEFAULT}", f"Function {EDGE} MemorySize"]
    assert world.running() == theirs


def test_other_fields_of_the_distribution_that_came_since_stay(world: World) -> None:
    kept = snapshot(world)
    world.apply_all()
    answer = world.cloudfront.get_distribution_config(Id=world.distribution)
    config = {**answer["DistributionConfig"], "PriceClass": "PriceClass_200"}
    world.cloudfront.update_distribution(Id=world.distribution, DistributionConfig=config, IfMatch=answer["ETag"])
    assert LEVER.rollback(world.target, kept).changed_by_others == ()
    assert (world.config()["PriceClass"], world.running()) == ("PriceClass_200", version(world, 1))


@pytest.mark.parametrize("given", [SMALLER, {"provisioned_units": 3}, {"change_edge_memory": False}])
def test_two_runs_are_undone_newest_first_and_a_resumed_one_from_the_first_snapshot(world: World, given: Any) -> None:
    other, start = with_settings(world, **given), world.state()
    first = snapshot(world)
    world.apply_all()
    between, second = world.state(), snapshot(world, other)
    world.apply_all(other)
    assert LEVER.rollback(other, second).changed_by_others == ()
    assert world.state() == between
    world.apply_all(other)
    assert LEVER.rollback(other, first).changed_by_others == ()
    assert world.state() == start


def test_an_undo_waits_for_every_edge_location_and_does_not_call_it_restored_before(world: World) -> None:
    kept = snapshot(world)
    world.apply_all()
    moto_cloudfront.DEPLOYING.hold = True
    restored = LEVER.rollback(world.target, kept)
    assert restored.steps[-1].startswith(f"set back but not deployed: estate-wide: Distribution {world.distribution}")
    assert [str(d) for d in LEVER.verify_restored(world.target, kept)] == [
        f"Distribution {world.distribution} Status: InProgress -> Deployed"
    ]
    moto_cloudfront.DEPLOYING.hold = False
    CLOCK.sleep(60)
    assert LEVER.rollback(world.target, kept).steps == NOTHING
    assert LEVER.verify_restored(world.target, kept) == []


def test_a_function_or_distribution_that_is_gone_is_reported_and_the_rest_goes_back(world: World) -> None:
    kept = snapshot(world)
    world.apply_all()
    world.lambdas["eu-central-1"].delete_function(FunctionName=REGIONAL)
    restored = LEVER.rollback(world.target, kept)
    gone = f"ProvisionedConcurrency eu-central-1 {REGIONAL} {ALIAS}"
    assert [str(difference) for difference in restored.changed_by_others] == [f"{gone}: there -> absent"]
    assert (world.units(), world.running(), world.latest()["MemorySize"]) == ({}, version(world, 1), 512)


def test_a_region_that_is_away_keeps_neither_the_others_nor_the_edge_from_going_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, kept = world.state(), snapshot(world)
    world.apply_all()
    last = list(world.estate.regions)[-1]  # the first to go back
    call = Aws.call

    def away(aws: Aws, service: str, operation: str, **parameters: Any) -> Any:
        if operation.endswith("provisioned_concurrency_config") and aws is world.target.clients.of(last).aws:
            raise AwsError("could not connect")
        return call(aws, service, operation, **parameters)

    monkeypatch.setattr(Aws, "call", away)
    with pytest.raises(AwsError, match=f"ProvisionedConcurrency {last} {REGIONAL} {ALIAS}: could not connect"):
        LEVER.rollback(world.target, kept)
    assert world.running() == version(world, 1)
    assert [*world.units()] == [last]
    monkeypatch.undo()
    LEVER.rollback(world.target, kept)
    assert (world.state(), LEVER.verify_restored(world.target, kept)) == (before, [])


def test_a_lock_that_was_taken_over_stops_every_write(world: World) -> None:
    def fence() -> None:
        raise Refused("the lock was taken over")

    before, target = world.state(), replace(world.target, fence=fence)
    for stage in LEVER.plan(world.target).stages:
        with pytest.raises(Refused, match="taken over"):
            LEVER.apply(target, stage)
    assert world.state() == before


def test_a_kind_that_this_release_does_not_know_is_refused_by_name(world: World) -> None:
    kept = snapshot(world)
    kept["objects"].append({"key": "Layer models", "was": None})
    with pytest.raises(Refused, match="the snapshot names Layer models, of a kind that this release does not know"):
        LEVER.rollback(world.target, kept)


def test_the_iam_policy_allows_what_the_lever_asks_for_and_what_cloudfront_asks_in_its_name(world: World) -> None:
    target = replace(world.target, settings=chosen(**SMALLER))
    kept = snapshot(world, target)
    LEVER.preflight(target)
    world.apply_all(target)
    LEVER.evidence(target)
    LEVER.rollback(target, kept)
    policy = json.loads((FOLDER / "lambda_edge" / "iam_policy.json").read_text())
    allowed = {a for s in policy["Statement"] for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
    services = {"cloudfront": ("Distribution",), "cloudwatch": ("Metric",)}

    def action(name: str) -> str:
        service = next((s for s, parts in services.items() if any(part in name for part in parts)), "lambda")
        return f"{service}:{name}"

    assert allowed - {"lambda:GetFunction", "lambda:EnableReplication*"} == {action(name) for name in ASKED}
