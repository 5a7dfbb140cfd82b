"""The days of the week, their run ids, and what each is triggered with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.estate import Estate, load_estate
from include.rollout.lever import Refused
from include.rollout.settings import build
from include.week.days import DAYS, Day, child_run_id, selected, week_run_id
from include.week.settings import WeekSettings
from tests.unit.week.conftest import DAYS as TOY_DAYS
from tests.unit.week.conftest import TOYS

ROLLOUTS = Path(__file__).parents[3] / "dags" / "rollout"


@pytest.mark.parametrize("day", DAYS, ids=lambda day: day.dag)
def test_each_day_has_the_levers_that_its_dag_wires(day: Day) -> None:
    source = (ROLLOUTS / f"{day.dag}.py").read_text(encoding="utf-8")
    code = source.split('"""', 2)[2]
    assert (
        tuple(name for name in re.findall(r'"(\w+)"', code) if name in levers.LEVERS)[: len(day.levers)] == day.levers
    )


def test_the_run_as_a_whole_is_on_record_under_its_lever_or_under_the_dag_of_several() -> None:
    assert DAYS[0].chain("r").path == "spot_capacity/estate/day1_spot--r"
    assert DAYS[2].chain("r").path == "day3_edge/estate/day3_edge--r"
    assert [chain.lever for chain in DAYS[2].chains("r")][:2] == ["dns_health_checks", "storage_tiering"]


def test_a_days_run_id_leads_back_to_the_week() -> None:
    assert child_run_id("manual__2026-11-24T10:00:00+00:00") == "week14__manual__2026-11-24T10:00:00+00:00"
    assert week_run_id("week14__manual__1") == "manual__1"
    assert week_run_id("manual__1") is None
    assert week_run_id("week14__") is None


def test_a_run_id_that_would_be_too_long_is_shortened_and_stays_its_own() -> None:
    longest = child_run_id("x" * 250), child_run_id("x" * 249 + "y")
    assert all(len(one) <= 250 for one in longest)
    assert longest[0] != longest[1]


def test_first_day_and_days_choose_together() -> None:
    assert [day.dag for day in selected(DAYS, (2, 4, 5), 4)] == [
        "day4_right_sizing", "day4_consolidation", "day5_cost_monitoring",
    ]  # fmt: skip


def settings(**given: Any) -> WeekSettings:
    return build(WeekSettings, {"regions": ["ap-northeast-1"], **given}, load_estate())


@pytest.fixture(scope="module")
def estate() -> Estate:
    return load_estate()


def test_a_day_is_triggered_with_what_the_week_says_and_its_own_settings(estate: Estate) -> None:
    week = settings(dry_run=False, reason="why", settings={"toy_day3": {"soak_seconds": 5}})
    assert week.conf(TOY_DAYS[2], [TOYS["gamma"]()], estate) == {
        "dry_run": False, "reason": "why", "regions": ["ap-northeast-1"], "soak_seconds": 5,
    }  # fmt: skip
    # Alpha acts once for the estate: its form asks for no region.
    assert week.conf(TOY_DAYS[0], [TOYS["alpha"]()], estate) == {"dry_run": False, "reason": "why"}


def test_the_values_of_a_day_are_those_of_its_whole_form(estate: Estate) -> None:
    values = settings(settings={"toy_day1": {"size": 2}}).values(TOY_DAYS[0], [TOYS["alpha"]()], estate)
    assert values["size"] == 2
    assert values["soak_seconds"] == estate.windows.soak_seconds


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"toy_day1": {"sise": 2}}, "settings.toy_day1: sise: no such parameter; did you mean 'size'?"),
        ({"toy_day1": {"size": 0}}, "settings.toy_day1: size (value 0): Input should be greater than or equal to 1"),
        ({"toy_day1": {"dry_run": False}}, "settings.toy_day1.dry_run: the week says this for all days"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_its_name(estate: Estate, given: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=re.escape(message)):
        settings(settings=given).values(TOY_DAYS[0], [TOYS["alpha"]()], estate)


def test_a_day_that_does_not_exist_is_refused_by_its_name() -> None:
    with pytest.raises(Refused, match=r"settings.day6: no such day; the days are toy_day1, toy_day2, toy_day3"):
        settings(settings={"day6": {}}).chosen(TOY_DAYS)


def test_a_first_day_that_leaves_no_day_is_refused() -> None:
    with pytest.raises(Refused, match=r"first_day 4 leaves none of the days \(1, 2\)"):
        settings(days=[1, 2], first_day=4)
