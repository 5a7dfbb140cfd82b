"""How the days are started: what the week is given, and how its days' runs are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from include import levers
from include.estate import load_estate
from include.rollout.settings import build
from include.week.days import DAYS
from include.week.settings import WeekSettings
from lab.rehearsal import drive
from lab.rehearsal.airflow_api import ApiError
from lab.rehearsal.drive import ByDay, Trigger, week_conf
from lab.rehearsal.week import WEEK, RehearsedRun

ESTATE = load_estate()
REGIONS = ("ap-northeast-1",)
KNOWN = frozenset({"day1_spot", "day2_predictive_scaling", "day3_edge"})


def trigger() -> Trigger:
    speed = SimpleNamespace(stretch=1.0)
    scene = SimpleNamespace(settings=SimpleNamespace(regions=REGIONS), prometheus="http://127.0.0.1:9", speed=speed)
    return Trigger(cast("Any", scene), 0.0)


def test_the_week_gets_each_days_own_settings_and_what_all_days_share_once() -> None:
    conf = week_conf(trigger(), (1, 2), KNOWN, {})
    assert {name: value for name, value in conf.items() if name != "settings"} == {
        "regions": ["ap-northeast-1"],
        "dry_run": False,
        "reason": "rehearsal",
        "days": [1, 2],
        "approval": "each day",
        "on_rollback": "stop",
    }
    assert conf["settings"]["day1_spot"] == dict(WEEK[1][0].conf)
    assert conf["settings"]["day2_predictive_scaling"] == {
        **WEEK[2][0].conf,
        "prometheus_endpoint": "http://127.0.0.1:9",
    }


def test_the_weeks_own_form_takes_all_of_it_and_each_days_its_part() -> None:
    known = frozenset(day.dag for day in DAYS)
    settings = build(WeekSettings, week_conf(trigger(), tuple(WEEK), known, {}), ESTATE)
    for day in settings.chosen(DAYS):
        found = settings.conf(day, [levers.lever(name) for name in day.levers], ESTATE)
        assert found["dry_run"] is False
        assert found["gate_wait_seconds"] >= 60


def test_what_the_week_does_not_know_is_not_in_what_it_gets() -> None:
    assert list(week_conf(trigger(), (3,), KNOWN, {})["settings"]) == ["day3_edge"]


def test_a_run_that_nobody_has_started_is_not_there_and_other_refusals_are_raised() -> None:
    def answers(status: int) -> Any:
        def run_state(dag: str, run_id: str) -> str:
            if status == 200:
                return "queued"
            raise ApiError("GET", "/dags", status, "no")

        return SimpleNamespace(run_state=run_state)

    assert drive.exists(answers(200), "day1_spot", "r")
    assert not drive.exists(answers(404), "day1_spot", "r")
    with pytest.raises(ApiError):
        drive.exists(answers(403), "day1_spot", "r")


def test_by_day_each_run_is_triggered_with_its_own_settings_and_what_is_added() -> None:
    seen: list[tuple[str, Sequence[str], Mapping[str, Any]]] = []

    class Seen(Trigger):
        def start(self, dag: str, levers: Sequence[str], conf: Mapping[str, Any], strike: Any = None) -> Any:
            seen.append((dag, levers, conf))

    made = trigger()
    one = RehearsedRun("day1_spot", "spot_capacity", {"soak_seconds": 8})
    ByDay(Seen(made.scene, 0.0)).start(one, {"use_forecast": False}, None)
    wanted = {"regions": ["ap-northeast-1"], "dry_run": False, "reason": "rehearsal", "soak_seconds": 8}
    assert seen == [("day1_spot", ["spot_capacity"], {**wanted, "use_forecast": False})]
