"""Places: their names, their order, and what a lever hears of them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from include import levers
from include.estate import Estate, EstateConnections, load_estate
from include.rollout.lever import Levers, Plan, Target, Undo, acts_in, needs_of
from include.rollout.place import Place, PlaceKind, estate_for, places_of
from include.rollout.settings import RegionRolloutSettings, RolloutSettings, rollout_settings
from tests.dags.toy import Edge, Toy

ESTATE = load_estate()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (PlaceKind.REGION, ["ap-northeast-1", "us-east-1", "eu-central-1"]),
        (PlaceKind.ESTATE, ["estate-wide"]),
        (PlaceKind.DEVICES, ["devices"]),
    ],
)
def test_every_kind_has_its_places_the_canary_first_and_a_name_says_its_kind(kind: PlaceKind, names: list[str]) -> None:
    assert places_of(kind, ESTATE) == names
    assert [Place.named(name) for name in names] == [Place(kind, name) for name in names]


def test_a_place_is_never_called_as_the_chain_of_a_run_as_a_whole() -> None:
    every = [name for kind in PlaceKind for name in places_of(kind, ESTATE)]
    assert "estate" not in every
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("name", ["estate", "estate-wide", "devices", "us/east"])
def test_no_region_is_called_as_another_place_or_as_the_chain_of_a_run_as_a_whole(name: str) -> None:
    raw = ESTATE.model_dump(mode="json")
    raw["regions"][name] = raw["regions"]["us-east-1"]
    with pytest.raises(ValidationError, match=f"regions: '{name}' can't be a region's name"):
        Estate.model_validate(raw)


def test_a_target_takes_the_name_of_its_place() -> None:
    target = Target("us-east-1", ESTATE, "run", None, None)  # type: ignore[arg-type]
    assert target.place == Place(PlaceKind.REGION, "us-east-1")
    assert target.region == "us-east-1"


def test_a_place_that_is_no_region_has_none() -> None:
    target = Target(Place.named("estate-wide"), ESTATE, "run", None, None)
    with pytest.raises(ValueError, match=r"estate-wide is no region: a lever that acts there uses target\.place"):
        _ = target.region


def test_what_a_lever_does_not_declare_is_a_region_with_all_of_its_clients() -> None:
    class Silent:
        pass

    assert acts_in(Silent()) is PlaceKind.REGION  # type: ignore[arg-type]
    assert needs_of(Silent()) == {"kubernetes", "prometheus", "aws"}  # type: ignore[arg-type]
    assert (acts_in(Edge()), needs_of(Toy())) == (PlaceKind.ESTATE, frozenset())


def test_only_a_rollout_in_regions_asks_for_regions() -> None:
    assert rollout_settings(PlaceKind.REGION) is RegionRolloutSettings
    assert rollout_settings(PlaceKind.ESTATE) is RolloutSettings
    assert list(RegionRolloutSettings.model_fields) == ["regions", *RolloutSettings.model_fields]


def test_a_snapshot_keeps_one_region_or_the_whole_estate() -> None:
    assert estate_for(ESTATE, "us-east-1") == ESTATE.slice("us-east-1")
    assert estate_for(ESTATE, "estate-wide") == ESTATE


def test_global_services_are_reached_as_in_the_canary_unless_the_estate_says_otherwise() -> None:
    assert ESTATE.global_aws() == "aws_ap_northeast_1"
    named = ESTATE.model_copy(update={"connections": EstateConnections(aws="aws_edge")})
    assert named.global_aws() == "aws_edge"


def test_the_module_of_levers_is_what_a_rollback_asks() -> None:
    found: Levers = levers  # type: ignore[assignment]
    assert found.is_current("spot_capacity")
    assert not found.is_current("spot")
    assert PlaceKind.REGION in found.kinds()


def test_a_plan_is_on_record_as_before_places() -> None:
    plan = Plan("toy", "us-east-1", {}, (), (), None, None, "plan", Undo.INSTANT)
    assert plan.to_json()["region"] == "us-east-1"
    assert "place" not in plan.to_json()
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("undo", "words"),
    [
        (Undo.NODE_WAVE, "Undo: node wave."),
        (
            Undo.COPY_BACK,
            "Undo: **what has moved stays moved**. A rollback stops what follows; data that has moved by then comes "
            "back only by copying it, at the price that the plan and the rollback name.",
        ),
        (
            Undo.BILLING_PERIOD,
            "Undo: **only at the end of the billing period**. Until then the old price can't come back, whatever is "
            "undone.",
        ),
        (
            Undo.IRREVERSIBLE,
            "Undo: **impossible**. What this changes can't be brought back: a rollback stops what follows, and no "
            "more.",
        ),
    ],
)
def test_an_approver_reads_what_it_takes_to_undo(undo: Undo, words: str) -> None:
    assert undo.words == words
