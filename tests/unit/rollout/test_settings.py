"""Settings: form fields from a model, and refusals that name the field, the value and the remedy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from include.estate import load_estate
from include.rollout.lever import Refused
from include.rollout.place import PlaceKind
from include.rollout.settings import RegionRolloutSettings, build, build_on_record, form_fields
from tests.dags.toy import ToySettings

ESTATE = load_estate()
US, EU, AP = "us-east-1", "eu-central-1", "ap-northeast-1"


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    domains: Annotated[int, Field(ge=2, le=20, description="Domains")] = 4
    kind: Annotated[Literal["fast", "slow"], Field(description="Kind")] = "fast"
    steps: Annotated[tuple[int, ...], Field(min_length=1, description="Steps")] = (30, 50)
    converge_timeout_seconds: Annotated[int, Field(gt=0, description="Time-out")]


def test_form_fields_carry_type_bounds_description_and_default() -> None:
    fields = form_fields(Model, ESTATE)
    assert fields["domains"] == {
        "type": "integer", "minimum": 2, "maximum": 20, "description": "Domains", "default": 4,
    }  # fmt: skip
    assert fields["kind"] == {"type": "string", "enum": ["fast", "slow"], "description": "Kind", "default": "fast"}
    assert fields["steps"]["default"] == [30, 50]
    assert fields["converge_timeout_seconds"]["default"] == 1800


def test_a_field_without_default_or_description_is_a_mistake_of_the_lever() -> None:
    class Bare(BaseModel):
        size: Annotated[int, Field(description="Size")]

    class Silent(BaseModel):
        size: int = 1

    for model in (Bare, Silent):
        with pytest.raises(ValueError, match=r"\.size needs a description and a default"):
            form_fields(model, ESTATE)


def test_build_takes_what_it_knows_and_fills_the_rest() -> None:
    model = build(Model, {"domains": 10, "regions": [US]}, ESTATE)
    assert model == Model(domains=10, converge_timeout_seconds=1800)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"domains": 1}, r"domains \(value 1\): Input should be greater than or equal to 2"),
        (
            {"kind": "quick"},
            r"kind \(value 'quick'\): Input should be 'fast' or 'slow'; correct it in the trigger form",
        ),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        build(Model, values, ESTATE)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (["us-west-9"], r"regions: 'us-west-9' is not in the estate; it has ap-northeast-1, us-east-1, eu-central-1"),
        ([AP, AP], "names a region twice"),
        ([US, EU], "us-east-1, eu-central-1 leave out the canary ap-northeast-1"),
    ],
)
def test_regions_that_can_not_be_rolled_out_together(regions: list[str], message: str) -> None:
    with pytest.raises(Refused, match=message):
        build(RegionRolloutSettings, {"regions": regions}, ESTATE).check_against(ESTATE)


@pytest.mark.parametrize("regions", [[EU], [AP, EU], [US, EU, AP]])
def test_regions_that_can(regions: list[str]) -> None:
    settings = build(RegionRolloutSettings, {"regions": regions}, ESTATE)
    settings.check_against(ESTATE)
    assert settings.places(PlaceKind.REGION, ESTATE) == [region for region in (AP, US, EU) if region in regions]
    assert (settings.dry_run, settings.soak_seconds) == (True, 1800)


def test_settings_on_record_that_are_no_longer_allowed_give_way_to_the_default() -> None:
    recorded = {"size": 99, "converge_timeout_seconds": 60, "a setting that is gone": 1}
    with pytest.raises(Refused, match="size"):
        build(ToySettings, recorded, load_estate())
    assert build_on_record(ToySettings, recorded, load_estate()) == ToySettings(size=3, converge_timeout_seconds=60)
