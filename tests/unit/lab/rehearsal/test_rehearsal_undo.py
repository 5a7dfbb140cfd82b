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
from include.rollout.place import ESTATE_WIDE
from lab.machine.processes import Processes
from lab.machine.speed import REFERENCE_SECONDS, Speed
from lab.rehearsal import airflow as airflows
from lab.rehearsal import conduct
from lab.rehearsal.conduct import Rehearsal
from lab.rehearsal.evidence import EvidenceError
from lab.rehearsal.folders import ledger_folder
from lab.rehearsal.settings import RehearsalSettings, results_file

REGION, SPOT = "ap-northeast-1", "spot_capacity"
START = {"node_pools": {}, "node_groups": {"old": {"desiredSize": 5}}}
EDGE = {"distribution": {"PriceClass": "PriceClass_All"}}
EDGE_READER = cast("Any", SimpleNamespace(specs=lambda: EDGE))
DAYS_REPORT = {"verdict": "promoted", "restored": False, "regions": {"a": 1}, "days": {"1": {}}}


class FakeRun:
    """An undo that has ended, a minute after the answer to its approval."""

    def __init__(self, ledger: Ledger, state: str) -> None:
        self.ledger, self.state = ledger, state
        self.answered_at = conduct.time.monotonic() - 60.0

    def follow(self) -> str:
        return self.state

    def records(self, region: str, lever: str = "everything") -> list[Record]:
        return self.ledger.records(Chain(lever, region, "rollback", "u"))


class FakeRehearsal(Rehearsal):
    """A rehearsal whose days are over; ``undoes`` writes what the rollback DAG would, and says how its run ended."""

    undoes: Callable[[Ledger], str]
    triggered: tuple[str, Sequence[str], Mapping[str, Any]]

    def _trigger(self, client: Any, dag: str, levers: Sequence[str], conf: Any, faults: Any = None) -> Any:
        self.triggered = (dag, levers, conf)
        return FakeRun(self._ledger(), self.undoes(self._ledger()))


@pytest.fixture
def rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRehearsal:
    """After day 1, which stands promoted in the ledger and in ``report.json``."""
    monkeypatch.setattr(conduct.speeds, "measure", lambda: Speed(REFERENCE_SECONDS))
    monkeypatch.setattr(conduct, "RESTORE_SECONDS", 0.0)
    made = FakeRehearsal(RehearsalSettings(tmp_path, (REGION,)), load_estate(), Speed(REFERENCE_SECONDS))
    parts = {"processes": Processes(tmp_path), "seconds": {"healthy": 1.0}, "memory_mib": lambda: 1, "stretch": 1.0}
    made.airflow = cast("airflows.Airflow", SimpleNamespace(**parts, url="http://a", passwords={}))
    made.world = cast("conduct.worlds.LabWorld", SimpleNamespace(**parts, state={}))
    made.at_edge = EDGE_READER
    made.results.report = dict(DAYS_REPORT)
    made._write_report()
    place = Chain(SPOT, REGION, "day1_spot", "r")
    for step in (Step.SNAPSHOT, Step.TOUCH, Step.PROMOTED):
        made._ledger().append(place, step, {"snapshot": {}} if step == Step.SNAPSHOT else {})
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


def undo(rehearsed: FakeRehearsal, now: Mapping[str, Any] = START) -> tuple[bool, dict[str, Any]]:
    lab = cast("Any", {REGION: SimpleNamespace(specs=lambda: now)})
    restored = rehearsed._undo_everything(cast("Any", None), lab, {REGION: START, ESTATE_WIDE: EDGE})
    return restored, json.loads((rehearsed.settings.folder / "report.json").read_text())


def test_everything_is_undone_after_the_figures_were_taken(
    rehearsed: FakeRehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearsed.undoes = undoes_all
    restored, report = undo(rehearsed)
    assert restored
    dag, levers, conf = rehearsed.triggered
    assert (dag, list(levers)) == ("rollback", ["everything", *LEVERS])
    assert (conf["lever"], conf["regions"], conf["dry_run"]) == ("everything", [REGION, ESTATE_WIDE], False)
    found = report.pop("undo")
    assert report == DAYS_REPORT
    assert found["restored"] is True
    assert found["remaining"] == []
    assert found["by_lever"][SPOT]["restored"] is True
    assert found["seconds"] >= 60.0
    assert "nothing remains" in capsys.readouterr().out
    measured = json.loads(results_file(rehearsed.settings).read_text())
    assert measured["seconds"]["undo"] == found["seconds"]
    assert measured["report"]["undo"] == found


def test_an_undo_that_the_ledger_calls_complete_is_not_when_the_cluster_differs(rehearsed: FakeRehearsal) -> None:
    rehearsed.undoes = undoes_all
    restored, report = undo(rehearsed, {**START, "node_groups": {"old": {"desiredSize": 2}}})
    assert not restored
    assert report["undo"]["remaining"] == [
        {"region": REGION, "lever": SPOT, "what": "node_groups.old.desiredSize: 5 -> 2"}
    ]
    assert report["undo"]["by_lever"][SPOT]["restored"] is False


def test_what_the_undo_left_is_in_the_report(rehearsed: FakeRehearsal) -> None:
    rehearsed.undoes = lambda ledger: undoes_all(ledger, complete=False)
    restored, report = undo(rehearsed)
    assert not restored
    assert report["undo"]["remaining"] == [
        {"region": REGION, "lever": SPOT, "what": "NodePool/akidb-spot: absent -> there"}
    ]


def test_a_region_that_can_not_be_read_is_not_restored(rehearsed: FakeRehearsal) -> None:
    def unread() -> Any:
        raise EvidenceError(REGION, 60.0, TimeoutError("timed out"))

    rehearsed.undoes = undoes_all
    lab = cast("Any", {REGION: SimpleNamespace(specs=unread)})
    assert not rehearsed._undo_everything(cast("Any", None), lab, {REGION: START, ESTATE_WIDE: EDGE})
    assert rehearsed.results.report["undo"]["remaining"] == [
        {
            "region": REGION,
            "lever": "unknown",
            "what": f"{REGION} could not be read for 60 s (TimeoutError: timed out): see the log of its API server",
        }
    ]


@pytest.mark.parametrize(
    ("undo_wanted", "verdicts", "restored", "good", "calls"),
    [
        (True, ["promoted", "promoted"], True, True, ["day 1", "day 2", "undo"]),
        (True, ["promoted", "promoted"], False, False, ["day 1", "day 2", "undo"]),
        (True, ["promoted", "rolled back"], True, False, ["day 1", "day 2", "undo"]),
        (True, ["unfinished"], True, False, ["day 1", "undo"]),
        (False, ["promoted", "promoted"], True, True, ["day 1", "day 2"]),
    ],
)
def test_the_undo_comes_after_the_last_day_and_compares_with_what_stood_before_the_first(
    rehearsed: FakeRehearsal, monkeypatch: pytest.MonkeyPatch, undo_wanted: bool, verdicts: list[str], restored: bool,
    good: bool, calls: list[str],
) -> None:  # fmt: skip
    done: list[str] = []
    world = {"state": "before day 1"}
    reader = SimpleNamespace(figures=lambda _: SimpleNamespace(p95_ms=12.0), specs=lambda: dict(world))

    def one_day(_client: Any, number: int, _lab: Any, _before: Any) -> str:
        done.append(f"day {number}")
        world["state"] = f"after day {number}"
        return verdicts[len(done) - 1]

    def undone(_client: Any, _lab: Any, start: Any) -> bool:
        done.append("undo")
        assert start == {REGION: {"state": "before day 1"}, ESTATE_WIDE: EDGE}
        return restored

    rehearsed.settings = replace(rehearsed.settings, days=(1, 2), undo=undo_wanted)
    rehearsed.airflow.passwords["admin"] = "x"  # type: ignore[union-attr]
    monkeypatch.setattr(conduct, "readers", lambda *_: {REGION: reader})
    monkeypatch.setattr(conduct.edge, "reader", lambda *_: EDGE_READER)
    monkeypatch.setattr(rehearsed.beside, "start", lambda *_: None)
    for name, value in {"_boot": None, "_connect": None}.items():
        monkeypatch.setattr(rehearsed, name, lambda value=value: value)
    monkeypatch.setattr(rehearsed, "_one_day", one_day)
    monkeypatch.setattr(rehearsed, "_undo_everything", undone)
    assert rehearsed._rehearse() is good
    assert done == calls


def test_an_undo_that_was_never_begun_leaves_what_stands(rehearsed: FakeRehearsal) -> None:
    rehearsed.undoes = lambda _: "failed"
    restored, report = undo(rehearsed)
    assert not restored
    assert report["undo"]["remaining"] == [
        {"region": REGION, "lever": SPOT, "what": "the changes of day1_spot/r still stand"}
    ]
    assert report["undo"]["by_lever"] == {SPOT: {"restored": False, "seconds": None}}


def test_a_slower_machine_than_before_gets_longer_limits_everywhere(
    rehearsed: FakeRehearsal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conduct.speeds, "measure", lambda: Speed(3 * REFERENCE_SECONDS))
    rehearsed._measure_speed()
    assert rehearsed.airflow is not None
    stretches = [rehearsed.airflow.stretch, *(processes.stretch for processes in rehearsed._processes())]
    assert stretches == pytest.approx([3.0, 3.0, 3.0])
    assert capsys.readouterr().out == ("with all that runs now, this machine: 0.33 of the reference; time-outs x 3.0\n")
    monkeypatch.setattr(conduct.speeds, "measure", lambda: Speed(REFERENCE_SECONDS))
    rehearsed._measure_speed()
    assert rehearsed.speed == Speed(3 * REFERENCE_SECONDS)


@pytest.mark.parametrize(("good", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_follows_days_and_undo(
    rehearsed: FakeRehearsal, monkeypatch: pytest.MonkeyPatch, good: bool, status: int
) -> None:
    monkeypatch.setattr(rehearsed, "_rehearse", lambda: good)
    monkeypatch.setattr(rehearsed, "_take_down", lambda: None)
    assert rehearsed.run() == status


def test_the_ledger_of_the_rehearsal_is_the_labs(rehearsed: FakeRehearsal, tmp_path: Path) -> None:
    same = Ledger(Folder(ledger_folder(tmp_path)))
    assert list(rehearsed._standing()) == [(SPOT, REGION)]
    assert same.standing(SPOT, REGION) == rehearsed._standing()[SPOT, REGION]
