"""The driver's decisions: what the environment may ask for, when a fault is planted, what the verdict is."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from include import levers
from include.clients.storage import Folder
from include.estate import EstateError, load_estate
from include.forecast.registry import Action, ChampionDecision, Registry
from include.levers.edge_power.settings import MeasureSettings
from include.rollout.ledger import FIRST_LINK, Record, Step, run_key
from include.rollout.settings import RolloutSettings, build
from lab.machine.speed import LONGEST_STRETCH
from lab.rehearsal import __main__ as program
from lab.rehearsal import day3, ending, run, settings, week
from lab.rehearsal.run import RehearsalError, verdict_of
from lab.rehearsal.settings import RehearsalSettings, open_window, results_file, settings_from

OF_DAY_3 = list(day3.COMPONENT_OF)
EVERY_RUN = [one for runs in week.WEEK.values() for one in runs]


def record(step: str, region: str = "us-east-1", **figures: Any) -> Record:
    return Record("spot_capacity", region, "day1_spot", "r", 1, FIRST_LINK, step, "2026-11-24T10:00:00+00:00", figures)


def test_all_regions_canary_first_and_the_ui_kept_on_a_terminal() -> None:
    regions = ("ap-northeast-1", "us-east-1", "eu-central-1")
    folder = week.worlds.DEFAULT_FOLDER
    by_day = {"WEEK": "0"}
    assert settings_from(by_day, on_terminal=True) == RehearsalSettings(folder, regions, keep=True, on_terminal=True)
    assert settings_from({}, on_terminal=False).keep is False
    assert settings_from({"KEEP": "1"}, on_terminal=False).keep is True
    assert settings_from({"KEEP": "0"}, on_terminal=True).keep is False


def test_the_database_is_sqlite_unless_postgresql_is_asked_for() -> None:
    assert settings_from({"DATABASE": ""}, on_terminal=False).database == "sqlite"
    asked = settings_from({"DATABASE": "postgresql", "REGIONS": "us-east-1"}, on_terminal=False)
    assert asked.database == "postgresql"
    assert results_file(asked).name == "rehearsal_1_regions_postgresql.json"
    with pytest.raises(RehearsalError, match="DATABASE=mysql is not known: use sqlite or postgresql, or leave it out"):
        settings_from({"DATABASE": "mysql"}, on_terminal=False)


def test_regions_trace_and_folder(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("")
    asked = {"REGIONS": "us-east-1,ap-northeast-1", "TRACE": str(trace), "LAB_DIR": str(tmp_path), "FAULT": "gate"}
    assert settings_from(asked, on_terminal=False) == RehearsalSettings(
        tmp_path, ("ap-northeast-1", "us-east-1"), (1,), "gate", undo=False, keep=False, trace=trace
    )


@pytest.mark.parametrize(
    ("asked", "days"),
    [
        ({}, (1, 2, 3, 4, 5)),
        ({"DAYS": "5,1"}, (1, 5)),
        ({"DAYS": "5"}, (5,)),
        ({"FAULT": "ice"}, (1,)),
        ({"FAULT": "ice", "DAYS": "1,5"}, (1,)),
        ({"FAULT": "oom"}, (1, 2, 3, 4)),
        ({"FAULT": "forecast-down"}, (1, 2)),
        ({"FAULT": "etag", "DAYS": "3"}, (3,)),
        ({"FAULT": "oom", "DAYS": "5,4,2,1"}, (1, 2, 4)),
    ],
)
def test_days_are_the_weeks_in_its_order_and_a_fault_ends_with_its_own_day(
    asked: dict[str, str], days: tuple[int, ...]
) -> None:
    assert settings_from(asked, on_terminal=False).days == days


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"DAYS": "1,7"}, "DAYS=1,7 has no day 7: use 1, 2, 3, 4, 5"),
        ({"DAYS": "5", "FAULT": "ice"}, "FAULT=ice is a fault of day 1: add it to DAYS=5"),
        ({"DAYS": "1,2", "FAULT": "oom"}, "FAULT=oom is a fault of day 4: add it to DAYS=1,2"),
        (
            {"FAULT": "fire"},
            "FAULT=fire is not known: use gate or ice or oom or spot-storm or forecast-down or api-outage or etag, "
            "or leave it out",
        ),
        (
            {"WEEK": "yes"},
            "WEEK=yes is not known: 1 starts the days by one run of week14, 0 each by a trigger of its own",
        ),
        ({"UNDO": "no"}, "UNDO=no is not known: 1 undoes everything at the end, 0 leaves the changes standing"),
        ({"KEEP": "yes"}, "KEEP=yes is not known: 1 keeps the UI up until Ctrl-C, 0 does not"),
        ({"TRACE": "none.csv"}, "TRACE=none.csv does not exist: name a CSV file of traffic"),
        (
            {"REGIONS": "us-east-1,eu-central-1"},
            "REGIONS=us-east-1,eu-central-1 leaves out the canary: add ap-northeast-1",
        ),
        (
            {"REGIONS": "ap-northeast-1", "FAULT": "gate"},
            "FAULT=gate fails a gate after the canary: add a region to REGIONS=ap-northeast-1",
        ),
        (
            {"REGIONS": "ap-northeast-1", "FAULT": "oom"},
            "FAULT=oom makes memory leak after the canary: add a region to REGIONS=ap-northeast-1",
        ),
    ],
)
def test_what_can_not_be_is_refused_with_the_remedy(asked: dict[str, str], message: str) -> None:
    with pytest.raises(RehearsalError) as refusal:
        settings_from(asked, on_terminal=False)
    assert str(refusal.value) == message


def test_a_wrong_region_is_refused_by_name() -> None:
    with pytest.raises(EstateError, match="region 'us-west-9' is not in the estate"):
        settings_from({"REGIONS": "us-west-9"}, on_terminal=False)


def test_on_a_freeze_day_a_copy_of_the_estate_opens_the_window_and_nothing_else(tmp_path: Path) -> None:
    estate = load_estate()
    freeze_day = dt.datetime(2026, 12, 25, 12, tzinfo=dt.UTC)
    assert open_window(estate, tmp_path, dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)) is None
    copy = open_window(estate, tmp_path, freeze_day)
    assert copy == tmp_path / "estate.yaml"
    opened = load_estate(copy)
    assert opened.governance.refusal(freeze_day) is None
    same = estate.governance.model_copy(update={"freeze_days": (), "change_window": opened.governance.change_window})
    assert opened == estate.model_copy(update={"governance": same})


def test_the_verdict_is_the_ledgers_and_never_better_than_the_run() -> None:
    promoted = [record(Step.VERDICT, verdict="promoted", message="promoted in us-east-1")]
    green = ["promoted"]
    assert verdict_of(promoted, "success", green) == ("promoted", "promoted in us-east-1")
    assert verdict_of(promoted, "failed", green) == (
        "unfinished",
        "the verdict says promoted but the run ended failed: read the log of its failed task",
    )
    assert verdict_of([], "success", green)[0] == "unfinished"
    rolled_back = [record(Step.VERDICT, verdict="rolled back", message="gate failed")]
    assert verdict_of(rolled_back, "failed", green) == ("rolled back", "gate failed")
    assert verdict_of(rolled_back, "failed", ending.UNDONE)[0] == "unfinished"


@pytest.mark.parametrize(
    ("asked", "undone"),
    [
        ({}, True),
        ({"UNDO": "0"}, False),
        ({"UNDO": "1"}, True),
        ({"FAULT": "ice"}, False),
        ({"FAULT": "gate", "UNDO": "1"}, True),
        ({"FAULT": "gate", "UNDO": "0"}, False),
    ],
)
def test_everything_is_undone_at_the_end_but_after_a_fault(asked: dict[str, str], undone: bool) -> None:
    assert settings_from(asked, on_terminal=False).undo is undone


def test_all_days_without_a_fault_are_one_run_of_the_week_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "WEEK_FILE", week.worlds.REPOSITORY / "Makefile")
    assert settings_from({}, on_terminal=False).by_week is True
    assert settings_from({"WEEK": "0"}, on_terminal=False).by_week is False
    assert settings_from({"DAYS": "1"}, on_terminal=False).by_week is False
    assert settings_from({"DAYS": "1", "WEEK": "1"}, on_terminal=False).by_week is True
    assert settings_from({"FAULT": "oom"}, on_terminal=False).by_week is False
    monkeypatch.setattr(settings, "WEEK_FILE", week.worlds.REPOSITORY / "absent")
    assert settings_from({}, on_terminal=False).by_week is False


def test_a_slower_machine_gets_longer_waits_and_the_same_soaks_and_windows() -> None:
    for one in (each for each in EVERY_RUN if each.rollout):
        normal = week.run_conf(one, ["us-east-1"], "p")
        slow = week.run_conf(one, ["us-east-1"], "p", stretch=2.5)
        waits = {name for name in normal if normal[name] != slow[name]}
        assert waits == {"gate_wait_seconds", "converge_timeout_seconds"}
        assert all(slow[name] == round(normal[name] * 2.5) for name in waits)


def test_no_wait_is_longer_than_its_form_allows_even_on_the_slowest_machine() -> None:
    estate = load_estate()
    for one in (each for each in EVERY_RUN if each.rollout):
        conf = week.run_conf(one, estate.ordered_regions(), "http://127.0.0.1:1", LONGEST_STRETCH)
        build(RolloutSettings, conf, estate)
        for lever in OF_DAY_3 if one.several else [one.lever]:
            build(levers.lever(lever).settings_type, conf, estate)


def test_run_ids_are_unique_and_part_of_the_ledgers_paths_as_they_are() -> None:
    now = dt.datetime(2026, 11, 24, 10, 5, 7, tzinfo=dt.UTC)
    first, second = week.run_id_of(now), week.run_id_of(now)
    assert first.startswith("rehearsal_20261124T100507_")
    assert first != second
    assert run_key(first) == first


def test_every_setting_is_exported_by_the_makefile_and_named_in_its_help() -> None:
    makefile = (week.worlds.REPOSITORY / "Makefile").read_text()
    exported = next(line for line in makefile.splitlines() if line.startswith("export "))
    assert exported == "export REGIONS DAYS FAULT UNDO KEEP TRACE DATABASE WEEK"
    help_line = next(line for line in makefile.splitlines() if line.startswith("rehearsal: "))
    assert all(f"{name}=" in help_line for name in exported.split()[1:])
    assert all(name in str(program.__doc__) for name in exported.split()[1:])


def test_a_long_reason_is_cut_and_says_so() -> None:
    assert run.shown_reason("one\n\n  two") == ["one", "  two"]
    assert run.shown_reason("\n".join("x" * 900 for _ in range(14))) == [
        *["x" * 800] * 12,
        "and 2 more lines in its log",
    ]


def test_the_run_is_real_and_only_its_windows_are_short() -> None:
    assert week.run_conf(week.WEEK[1][0], ["us-east-1"], "http://127.0.0.1:9090") == {
        "regions": ["us-east-1"],
        "dry_run": False,
        "reason": "rehearsal",
        "drill": True,
        "soak_seconds": 8,
        "gate_window_seconds": 16,
        "gate_wait_seconds": 120,
        "converge_timeout_seconds": 300,
    }


def test_a_question_is_answered_once_the_scheduler_knows_that_its_task_waits() -> None:
    line = (
        "2026-11-27T11:15:22.931969Z [info     ] Received executor event with state success for task instance "
        "TaskInstanceKey(dag_id='day1_spot', task_id='await_approval', run_id='manual__2026', try_number=1)"
    )
    assert run.handed_over(line, "day1_spot", "await_approval", "manual__2026")
    assert not run.handed_over(line, "day1_spot", "await_approval", "manual__2027")
    assert not run.handed_over(line, "day1_spot", "make_plan", "manual__2026")
    assert not run.handed_over("", "day1_spot", "await_approval", "manual__2026")


def test_day_5_waits_for_a_window_to_validate() -> None:
    day = week.WEEK[5][0]
    assert (day.dag, day.lever) == ("day5_cost_monitoring", "cost_monitoring")
    assert week.run_conf(day, ["us-east-1"], "http://127.0.0.1:9090")["validation_window_seconds"] == 6


def test_day_2_is_told_where_prometheus_is() -> None:
    day = week.WEEK[2][0]
    assert (day.dag, day.lever) == ("day2_predictive_scaling", "predictive_scaling")
    assert week.run_conf(day, ["us-east-1"], "http://127.0.0.1:9090")["prometheus_endpoint"] == (
        "http://127.0.0.1:9090"
    )


def test_day_3_is_one_run_of_several_levers_on_record_under_its_dags_name_and_then_the_devices() -> None:
    day, measured, power = week.WEEK[3]
    assert (day.dag, day.lever, day.several) == ("day3_edge", "day3_edge", True)
    assert week.run_conf(measured, ["us-east-1"], "p") == {
        "dry_run": False, "seconds": 2, "settle_seconds": 1, "converge_timeout_seconds": 120,
    }  # fmt: skip
    assert (power.dag, power.lever, "regions" in week.run_conf(power, ["us-east-1"], "p")) == (
        *("edge_power_rollout", "edge_power"),
        False,
    )


def test_the_devices_are_measured_by_a_form_that_has_all_of_its_settings() -> None:
    build(MeasureSettings, week.run_conf(week.WEEK[3][1], [], "p", LONGEST_STRETCH), load_estate())


def test_day_4_right_sizes_and_then_packs_with_the_floor() -> None:
    assert [(one.dag, one.lever) for one in week.WEEK[4]] == [
        ("day4_right_sizing", "right_sizing"),
        ("day4_consolidation", "consolidation"),
    ]
    assert week.run_conf(week.WEEK[4][1], ["us-east-1"], "http://127.0.0.1:9090")["right_size_floor"] is True


def test_a_region_without_champion_is_named_with_the_reason(tmp_path: Path) -> None:
    storage = Folder(week.worlds.models_folder(tmp_path))
    registry = Registry(storage, "us-east-1")
    reason = "not promoted: blend ties with now_scaled"
    registry.record(ChampionDecision(Action.KEPT, "1", "", reason, "2026-11-27T00:00:00Z"))
    regions = ["us-east-1", "eu-central-1"]
    assert week.without_champion(tmp_path, regions) == {
        "us-east-1": "not promoted: blend ties with now_scaled",
        "eu-central-1": "nothing was trained",
    }
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "candidate.json").write_text("{}")
    version = registry.add(
        tmp_path / "made", model="blend", window={"last": "2026-11-27T00:00:00Z"}, metrics={}, code_version="1"
    )
    registry.move(registry.pointer(), ChampionDecision(Action.PROMOTED, version, "", "better", "2026-11-27T00:00:00Z"))
    assert week.without_champion(tmp_path, regions) == {"eu-central-1": "nothing was trained"}


def test_what_a_day_builds_on_is_made_for_the_labs_regions_only() -> None:
    regions = ["ap-northeast-1", "us-east-1"]
    assert week.BEFORE == {2: ("traffic_export", "forecast_retrain"), 5: ("cost_report",)}
    assert week.beside_conf("traffic_export", regions) == {"regions": regions, "days": 30}
    assert week.beside_conf("forecast_retrain", regions) == {"regions": regions, "days": 30, "profile": "none"}
    assert week.beside_conf("cost_report", regions) == {}
