"""The form: fields from a model, names that it doesn't have, and settings from what was entered."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import pytest
from pydantic import Field

from include.estate import load_estate
from include.forms import Form, FormError, Moment, Recurring, Regions, build, build_on_record, check_names, form_fields
from include.levers import LEVERS, lever

ESTATE = load_estate()
US, EU, AP = "us-east-1", "eu-central-1", "ap-northeast-1"
NAMES = ["regions", "dry_run", "reason", "soak_seconds"]


class Settings(Recurring):
    regions: Annotated[Regions, Field(description="Where")]
    end: Annotated[Moment | None, Field(description="Until when")] = None
    day: Annotated[dt.date | None, Field(description="Which day")] = None
    profile: Annotated[Literal["fast", "none"], Field(description="How")] = "fast"
    reason: Annotated[str, Field(max_length=9, description="Why")] = ""


class Undoing(Form):
    lever: Annotated[str, Field(description="Which")] = "everything"
    regions: Annotated[tuple[str, ...], Field(description="Where")] = ()


def test_every_kind_of_field() -> None:
    assert form_fields(Settings, ESTATE) == {
        "dry_run": {
            "type": "boolean",
            "default": False,
            "description": "Only show what would be written; nothing is. Off by default, since a schedule must act",
        },
        "regions": {
            "type": "array",
            "items": {"type": "string", "enum": [AP, US, EU]},
            "minItems": 1,
            "uniqueItems": True,
            "default": [AP, US, EU],
            "description": "Where",
        },
        "end": {"type": ["string", "null"], "format": "date-time", "default": None, "description": "Until when"},
        "day": {"type": ["string", "null"], "format": "date", "default": None, "description": "Which day"},
        "profile": {"type": "string", "enum": ["fast", "none"], "default": "fast", "description": "How"},
        "reason": {"type": ["string", "null"], "maxLength": 9, "default": "", "description": "Why"},
    }


def test_regions_with_a_default_of_their_own_may_have_left_the_estate() -> None:
    free = {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "default": [], "description": "Where"}
    assert form_fields(Undoing, ESTATE)["regions"] == free | {"examples": [AP, US, EU]}
    assert form_fields(Undoing, None)["regions"] == free


def test_a_choice_that_only_the_caller_knows() -> None:
    assert form_fields(Undoing, None, {"lever": ["everything", "spot_capacity"]})["lever"] == {
        "type": "string", "enum": ["everything", "spot_capacity"], "default": "everything", "description": "Which",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["region"], "region: no such parameter; did you mean 'regions'? The parameters are "),
        (["dryrun"], "dryrun: no such parameter; did you mean 'dry_run'? The parameters are "),
        (["Dry-Run"], "Dry-Run: no such parameter; did you mean 'dry_run'? The parameters are "),
        (["colour"], "colour: no such parameter. The parameters are "),
        (
            ["region", "dry_run", "colour"],
            "region: no such parameter; did you mean 'regions'? colour: no such parameter. The parameters are ",
        ),
    ],
)
def test_a_name_that_the_form_does_not_have_is_refused_with_the_nearest(given: list[str], message: str) -> None:
    with pytest.raises(FormError) as caught:
        check_names(given, NAMES)
    assert str(caught.value) == message + "regions, dry_run, reason, soak_seconds"


def test_a_form_without_fields_takes_nothing() -> None:
    with pytest.raises(FormError, match=r"^region: no such parameter\. There are no parameters$"):
        check_names(["region"], [])


@pytest.mark.parametrize("given", [[], ["regions", "reason"], ["openlineage"]])
def test_names_of_the_form_pass_and_so_does_what_airflow_adds_itself(given: list[str]) -> None:
    check_names(given, NAMES)


def test_moments_are_in_utc_and_an_empty_text_is_null_in_the_form() -> None:
    found = build(Settings, {"regions": [US], "end": "2026-11-17T02:00:00+02:00", "reason": None}, ESTATE)
    assert found == Settings(regions=(US,), end=dt.datetime(2026, 11, 17, tzinfo=dt.UTC))
    assert build(Settings, {"regions": [US], "end": "2026-11-17"}, ESTATE) == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"regions": []}, r"regions \(value \[\]\): Tuple should have at least 1 item"),
        ({"regions": [US], "day": "noon"}, r"day \(value 'noon'\): .*; correct it in the trigger form"),
        (
            {"regions": [US], "profile": "slow"},
            r"profile \(value 'slow'\): Input should be 'fast' or 'none'; correct it",
        ),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(FormError, match=message):
        build(Settings, values, ESTATE)


@pytest.mark.parametrize("name", sorted(LEVERS))
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "Infinity", "1e999"])
def test_no_setting_of_a_lever_is_endless_or_no_number(name: str, value: object) -> None:
    """An endless limit is none, and no gate would ever fail by it; JSON as Python reads it has Infinity."""
    model = lever(name).settings_type
    for field in (field for field, info in model.model_fields.items() if info.annotation is float):
        with pytest.raises(FormError, match=rf"^{field} \(value .*\): Input should be"):
            build(model, {field: value}, ESTATE)


def test_a_value_on_record_that_is_no_longer_allowed_gives_way_to_the_default() -> None:
    recorded = {"regions": [US], "profile": "slow", "gone": 1}
    assert build_on_record(Settings, recorded, ESTATE) == Settings(regions=(US,))
