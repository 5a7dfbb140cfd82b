"""The end of a rehearsal: everything is undone, proved by the lab, written into the report, and decides the exit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from include.clients.storage import Folder
from include.estate import load_estate
from include.levers import LEVERS
from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, Record, Step
from include.rollout.place import DEVICES, ESTATE_WIDE
from lab.machine.processes import Processes
from lab.machine.speed import REFERENCE_SECONDS, Speed
from lab.rehearsal import conduct, devices_evidence, ending, scene
from lab.rehearsal.conduct import Rehearsal
from lab.rehearsal.ending import Ending
from lab.rehearsal.evidence import EvidenceError
from lab.rehearsal.faults import FaultResult
from lab.rehearsal.folders import ledger_folder
from lab.rehearsal.memory import PeakMemory
from lab.rehearsal.results import Results
from lab.rehearsal.scene import Scene
from lab.rehearsal.served import Moment, Served
from lab.rehearsal.settings import RehearsalSettings, results_file

REGION, SPOT = "ap-northeast-1", "spot_capacity"
START = {"node_pools": {}, "node_groups": {"old": {"desiredSize": 5}}}
EDGE = {"distribution": {"PriceClass": "PriceClass_All"}}
EDGE_READER = cast("Any", SimpleNamespace(specs=lambda: EDGE))
POWER = {"devices": {"jetson01": {"mode": "MAXN_SUPER"}}}
BEFORE = {REGION: START, ESTATE_WIDE: EDGE, DEVICES: POWER}
DAYS_REPORT = {"verdict": "promoted", "restored": False, "regions": {"a": 1}, "days": {"1": {}}}


class FakeRun:
    """An undo that has ended, a minute after the answer to its approval."""

    def __init__(self, ledger: Ledger, state: str) -> None:
        self.ledger, self.state = ledger, state
        self.answered_at = ending.time.monotonic() - 60.0

    def follow(self) -> str:
        return self.state

    def records(self, region: str, lever: str = "everything") -> list[Record]:
        return self.ledger.records(Chain(lever, region, "rollback", "u"))


class FakeTrigger:
    """``undoes`` writes what the rollback DAG would, and says how its run ended."""

    undoes: Callable[[Ledger], str]
    triggered: tuple[str, Sequence[str], Mapping[str, Any]]

    def __init__(self, of: Scene) -> None:
        self.scene = of

    def start(self, dag: str, levers: Sequence[str], conf: Any, strike: Any = None) -> Any:
        self.triggered = (dag, levers, conf)
        return FakeRun(self.scene.ledger(), self.undoes(self.scene.ledger()))


class FakeEnding(Ending):
    """An end whose trigger is a fake."""

    trigger: Any


def scene_of(folder: Path, now: Mapping[str, Any] = START) -> Scene:
    parts = {"processes": Processes(folder), "seconds": {"healthy": 1.0}, "memory_mib": lambda: 1, "stretch": 1.0}
    airflow = cast("Any", SimpleNamespace(**parts, url="http://a", passwords={"admin": "x"}))
    world = cast("Any", SimpleNamespace(**parts, state={}))
    lab = cast("Any", {REGION: SimpleNamespace(specs=lambda: now)})
    settings, speed = RehearsalSettings(folder, (REGION,)), Speed(REFERENCE_SECONDS)
    return Scene(settings, load_estate(), speed, airflow, world, lab, EDGE_READER, cast("Any", None))


@pytest.fixture
def rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEnding:
    """After day 1, which stands promoted in the ledger and in ``report.json``."""
    monkeypatch.setattr(scene.speeds, "measure", lambda: Speed(REFERENCE_SECONDS))
    monkeypatch.setattr(scene, "RESTORE_SECONDS", 0.0)
    monkeypatch.setattr(devices_evidence, "specs", lambda *_: POWER)
    of = scene_of(tmp_path)
    results = Results(of.settings, of.estate)
    results.report = dict(DAYS_REPORT)
    made = FakeEnding(of, cast("Any", FakeTrigger(of)), results, PeakMemory(dict))
    made._write()
    place = Chain(SPOT, REGION, "day1_spot", "r")
    for step in (Step.SNAPSHOT, Step.TOUCH, Step.PROMOTED):
        of.ledger().append(place, step, {"snapshot": {}} if step == Step.SNAPSHOT else {})
    return made


def undoes_all(ledger: Ledger, complete: bool = True) -> str:
    """What the rollback DAG leaves on record."""
    place = Chain(SPOT, REGION, "rollback", "u")
    origin = Chain(SPOT, REGION, "day1_spot", "r").path
    figures = {"complete": complete, "remaining": [] if complete else ["NodePool/akidb-spot: absent -> there"]}
    ledger.append(place, Step.UNDO)
    ledger.append(place, Step.RESTORED, figures, {"restores": origin})
    verdict = {
        "verdict": "rolled back" if complete else "unfinished",
        "message": "done" if complete else "Left behind:",
    }
    ledger.append(Chain("everything", WHOLE_RUN, "rollback", "u"), Step.VERDICT, verdict)
    return "success" if complete else "failed"


def undo(rehearsed: FakeEnding, now: Mapping[str, Any] = START) -> tuple[bool, dict[str, Any]]:
    rehearsed.scene.lab = cast("Any", {REGION: SimpleNamespace(specs=lambda: now)})
    restored = rehearsed._undo_everything(BEFORE)
    return restored, json.loads((rehearsed.scene.settings.folder / "report.json").read_text())


def test_everything_is_undone_after_the_figures_were_taken(
    rehearsed: FakeEnding, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearsed.trigger.undoes = undoes_all
    restored, report = undo(rehearsed)
    assert restored
    dag, levers, conf = rehearsed.trigger.triggered
    assert (dag, list(levers)) == ("rollback", ["everything", *LEVERS])
    assert (conf["lever"], conf["regions"], conf["dry_run"]) == ("everything", [REGION, ESTATE_WIDE, DEVICES], False)
    found = report.pop("undo")
    assert report == {**DAYS_REPORT, "levers": {}, "memory_mib": {}}
    assert found["restored"] is True
    assert found["remaining"] == []
    assert found["by_lever"][SPOT]["restored"] is True
    assert found["seconds"] >= 60.0
    assert "nothing remains" in capsys.readouterr().out
    measured = json.loads(results_file(rehearsed.scene.settings).read_text())
    assert measured["seconds"]["undo"] == found["seconds"]
    assert measured["report"]["undo"] == found


def test_the_measurements_name_the_command_that_would_make_them_again(rehearsed: FakeEnding) -> None:
    settings = replace(rehearsed.scene.settings, days=(1,), database="postgresql")
    rehearsed.results.settings = settings
    rehearsed._write()
    measured = json.loads(results_file(settings).read_text())
    assert measured["command"] == f"make rehearsal REGIONS={REGION} DAYS=1 FAULT= DATABASE=postgresql"


def test_an_undo_that_the_ledger_calls_complete_is_not_when_the_cluster_differs(rehearsed: FakeEnding) -> None:
    rehearsed.trigger.undoes = undoes_all
    restored, report = undo(rehearsed, {**START, "node_groups": {"old": {"desiredSize": 2}}})
    assert not restored
    assert report["undo"]["remaining"] == [
        {"region": REGION, "lever": SPOT, "what": "node_groups.old.desiredSize: 5 -> 2"}
    ]
    assert report["undo"]["by_lever"][SPOT]["restored"] is False


def test_what_the_undo_left_is_in_the_report(rehearsed: FakeEnding) -> None:
    rehearsed.trigger.undoes = lambda ledger: undoes_all(ledger, complete=False)
    restored, report = undo(rehearsed)
    assert not restored
    assert report["undo"]["remaining"] == [
        {"region": REGION, "lever": SPOT, "what": "NodePool/akidb-spot: absent -> there"}
    ]


def test_a_region_that_can_not_be_read_is_not_restored(rehearsed: FakeEnding) -> None:
    def unread() -> Any:
        raise EvidenceError(REGION, 60.0, TimeoutError("timed out"))

    rehearsed.trigger.undoes = undoes_all
    rehearsed.scene.lab = cast("Any", {REGION: SimpleNamespace(specs=unread)})
    assert not rehearsed._undo_everything(BEFORE)
    assert rehearsed.results.ended["undo"]["remaining"] == [
        {
            "region": REGION,
            "lever": "unknown",
            "what": f"{REGION} could not be read for 60 s (TimeoutError: timed out): see the log of its API server",
        }
    ]


NOTHING = Moment(0.0, {})


class FakeRehearsal(Rehearsal):
    """A rehearsal whose days end as ``verdicts`` say; ``done`` is what was called."""

    verdicts: Sequence[str]
    done: list[str]

    def _one_day(self, number: int, before: Any) -> str:
        self.done.append(f"day {number}")
        return self.verdicts[len(self.done) - 1]


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRehearsal:
    of = scene_of(tmp_path)
    made = FakeRehearsal(replace(of.settings, days=(1, 2)), of.estate, of.speed)
    made.scene, made.done, made.driver = of, [], cast("Any", SimpleNamespace(end=lambda: ""))
    monkeypatch.setattr(of, "counters", lambda: NOTHING)
    monkeypatch.setattr(of, "specs", lambda: BEFORE)
    monkeypatch.setattr(conduct, "first_figures", lambda *_: {})
    monkeypatch.setattr(made.beside, "start", lambda *_: None)
    for name in ("_connect", "_driver"):
        monkeypatch.setattr(made, name, lambda: made.__dict__.get("driver"))
    made.trigger, made.memory = cast("Any", None), PeakMemory(dict)
    return made


@pytest.mark.parametrize(
    ("verdicts", "restored", "good", "days"),
    [
        (["promoted", "promoted"], True, True, ["day 1", "day 2"]),
        (["promoted", "promoted"], False, False, ["day 1", "day 2"]),
        (["promoted", "rolled back"], True, False, ["day 1", "day 2"]),
        (["unfinished"], True, False, ["day 1"]),
    ],
)
def test_the_end_comes_after_the_last_day_and_compares_with_what_stood_before_the_first(
    week: FakeRehearsal, monkeypatch: pytest.MonkeyPatch, verdicts: list[str], restored: bool, good: bool,
    days: list[str],
) -> None:  # fmt: skip
    told: list[Any] = []

    def tell(_: Ending, verdict: str, counted: Any, start: Any) -> bool:
        told.append((verdict, counted, start))
        return restored

    monkeypatch.setattr(Ending, "tell", tell)
    week.verdicts = verdicts
    assert week._rehearse() is good
    assert week.done == days
    assert told == [(verdicts[-1], NOTHING, BEFORE)]


@pytest.mark.parametrize(("problems", "good"), [((), True), (("it never struck",), False)])
def test_a_fault_decides_by_what_was_expected_of_it_and_not_by_the_verdict(
    week: FakeRehearsal, monkeypatch: pytest.MonkeyPatch, problems: tuple[str, ...], good: bool
) -> None:
    monkeypatch.setattr(Ending, "tell", lambda *_: True)
    week.verdicts = ["rolled back"]
    week.results.fault = FaultResult("gate", SPOT, REGION, "", "rolled back", "restored", 41.0, problems)
    assert week._rehearse() is good


def test_a_week_that_ends_badly_after_its_days_is_not_good(
    week: FakeRehearsal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Ending, "tell", lambda *_: True)
    week.verdicts, week.driver = (
        ["promoted", "promoted"],
        cast("Any", SimpleNamespace(end=lambda: "week14 ended failed")),
    )
    assert week._rehearse() is False
    assert "week14 ended failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verdict", "fault", "undo_wanted", "calls"),
    [
        ("promoted", "", True, ["load", "days, drills, load", "judged", "undo", "days, drills, load, undo"]),
        ("promoted", "ice", True, ["days, drills", "judged", "undo", "days, drills, undo"]),
        ("rolled back", "", True, ["days, drills", "judged", "undo", "days, drills, undo"]),
        ("promoted", "", False, ["load", "days, drills, load"]),
    ],
)
def test_the_load_step_and_the_scorecard_come_before_the_undo_and_availability_covers_all(
    rehearsed: FakeEnding, monkeypatch: pytest.MonkeyPatch, verdict: str, fault: str, undo_wanted: bool,
    calls: list[str],
) -> None:  # fmt: skip
    done: list[str] = []
    rehearsed.scene.settings = replace(rehearsed.scene.settings, fault=fault, undo=undo_wanted)
    monkeypatch.setattr(rehearsed, "_load_step", lambda: done.append("load"))
    monkeypatch.setattr(rehearsed, "_undo_everything", lambda _: bool(done.append("undo")))
    monkeypatch.setattr(rehearsed, "_availability", lambda _, includes: done.append(", ".join(includes)))
    shown: list[Any] = []
    monkeypatch.setattr(ending, "scorecard", lambda _, name: done.append("judged") or ["| cost | pass |"])
    monkeypatch.setattr(rehearsed, "_show", shown.append)
    assert rehearsed.tell(verdict, NOTHING, BEFORE) is not undo_wanted
    assert done == calls
    assert shown == [["| cost | pass |"] if undo_wanted else []]


def test_availability_is_told_and_goes_on_record(
    rehearsed: FakeEnding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rehearsed.scene, "counters", lambda: Moment(60.0, {REGION: Served(1000.0, 999.0)}))
    rehearsed._availability(NOTHING, ["days", "undo"])
    assert capsys.readouterr().out == "\navailability over days, undo: 99.9000%\n"
    (chain,) = rehearsed.scene.ledger().chains("service", "estate")
    (record,) = rehearsed.scene.ledger().records(chain)
    assert record.figures == {
        "kind": "availability", "asked": 1000.0, "served": 999.0, "ratio": 0.999,
        "since": "1970-01-01T00:00:00+00:00", "until": "1970-01-01T00:01:00+00:00", "includes": ["days", "undo"],
    }  # fmt: skip
    assert rehearsed.results.ended["availability"][REGION]["ratio"] == 0.999


@pytest.mark.parametrize("stood", [[], ["| cost | pass |", "completion report: before_undo/report.md"]])
def test_the_scorecard_that_is_shown_is_the_one_from_before_the_undo(
    rehearsed: FakeEnding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stood: list[str]
) -> None:
    monkeypatch.setattr(ending, "scorecard", lambda _: ["| cost | unknown |", "completion report: report.md"])
    monkeypatch.setattr(ending.told, "waterfall", lambda: None)
    monkeypatch.setattr(ending.told, "page", lambda _: {})
    rehearsed._show(stood)
    text = capsys.readouterr().out
    assert ("| cost | unknown |" in text) is not bool(stood)
    assert ("as the week stood, before its undo\n| cost | pass |" in text) is bool(stood)
    assert "completion report: report.md" in text


def test_an_undo_that_was_never_begun_leaves_what_stands(rehearsed: FakeEnding) -> None:
    rehearsed.trigger.undoes = lambda _: "failed"
    restored, report = undo(rehearsed)
    assert not restored
    assert report["undo"]["remaining"] == [
        {"region": REGION, "lever": SPOT, "what": "the changes of day1_spot/r still stand"}
    ]
    assert report["undo"]["by_lever"] == {SPOT: {"restored": False, "seconds": None}}


def test_a_slower_machine_than_before_gets_longer_limits_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of = scene_of(tmp_path)
    monkeypatch.setattr(scene.speeds, "measure", lambda: Speed(3 * REFERENCE_SECONDS))
    of.measure_speed()
    stretches = [of.airflow.stretch, *(processes.stretch for processes in of.processes())]
    assert stretches == pytest.approx([3.0, 3.0, 3.0])
    assert capsys.readouterr().out == ("with all that runs now, this machine: 0.33 of the reference; time-outs x 3.0\n")
    monkeypatch.setattr(scene.speeds, "measure", lambda: Speed(REFERENCE_SECONDS))
    of.measure_speed()
    assert of.speed == Speed(3 * REFERENCE_SECONDS)


@pytest.mark.parametrize(("good", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_follows_days_and_undo(
    week: FakeRehearsal, monkeypatch: pytest.MonkeyPatch, good: bool, status: int
) -> None:
    monkeypatch.setattr(Scene, "boot", lambda *_: week.scene)
    monkeypatch.setattr(Scene, "take_down", lambda _: None)
    monkeypatch.setattr(week, "_rehearse", lambda: good)
    assert week.run() == status


def test_the_ledger_of_the_rehearsal_is_the_labs(rehearsed: FakeEnding, tmp_path: Path) -> None:
    same = Ledger(Folder(ledger_folder(tmp_path)))
    assert list(rehearsed.scene.standing()) == [(SPOT, REGION)]
    assert same.standing(SPOT, REGION) == rehearsed.scene.standing()[SPOT, REGION]
