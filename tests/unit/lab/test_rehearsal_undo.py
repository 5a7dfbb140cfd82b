"""The end of a rehearsal: everything is undone, proved by the lab, written into the report, and decides the exit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from include.estate import load_estate
from include.levers import LEVERS
from include.rollout.ledger import WHOLE_RUN, Chain, FolderStore, Ledger, Record, Step
from lab import airflow as airflows
from lab import rehearsal
from lab.processes import Processes
from lab.rehearsal import Rehearsal, Settings
from lab.speed import REFERENCE_SECONDS, Speed

REGION, SPOT = "ap-northeast-1", "spot_capacity"
START = {"node_pools": {}, "node_group": {"desiredSize": 5}}
DAYS_REPORT = {"verdict": "promoted", "restored": False, "regions": {"a": 1}, "days": {"1": {}}}


class FakeRun:
    """An undo that has ended, a minute after the answer to its approval."""

    def __init__(self, ledger: Ledger, state: str) -> None:
        self.ledger, self.state = ledger, state
        self.answered_at = rehearsal.time.monotonic() - 60.0

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
    monkeypatch.setattr(rehearsal.speeds, "measure", lambda: Speed(REFERENCE_SECONDS))
    monkeypatch.setattr(rehearsal, "RESTORE_SECONDS", 0.0)
    made = FakeRehearsal(Settings(tmp_path, (REGION,)), load_estate(), Speed(REFERENCE_SECONDS))
    parts = {"processes": Processes(tmp_path), "seconds": {"healthy": 1.0}, "memory_mib": lambda: 1, "stretch": 1.0}
    made.airflow = cast("airflows.Airflow", SimpleNamespace(**parts, url="http://a", passwords={}))
    made.world = cast("rehearsal.worlds.World", SimpleNamespace(**parts, state={}))
    made.report = dict(DAYS_REPORT)
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
    restored = rehearsed._undo_everything(cast("Any", None), lab, {REGION: START})
    return restored, json.loads((rehearsed.settings.folder / "report.json").read_text())


def test_everything_is_undone_after_the_figures_were_taken(
    rehearsed: FakeRehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearsed.undoes = undoes_all
    restored, report = undo(rehearsed)
    assert restored
    dag, levers, conf = rehearsed.triggered
    assert (dag, list(levers)) == ("rollback", ["everything", *LEVERS])
    assert (conf["lever"], conf["regions"], conf["dry_run"]) == ("everything", [REGION], False)
    found = report.pop("undo")
    assert report == DAYS_REPORT
    assert found["restored"] is True
    assert found["remaining"] == []
    assert found["by_lever"][SPOT]["restored"] is True
    assert found["seconds"] >= 60.0
    assert "nothing remains" in capsys.readouterr().out
    measured = json.loads(rehearsal.results_file(rehearsed.settings).read_text())
    assert measured["seconds"]["undo"] == found["seconds"]
    assert measured["report"]["undo"] == found


def test_an_undo_that_the_ledger_calls_complete_is_not_when_the_cluster_differs(rehearsed: FakeRehearsal) -> None:
    rehearsed.undoes = undoes_all
    restored, report = undo(rehearsed, {**START, "node_group": {"desiredSize": 2}})
    assert not restored
    assert report["undo"]["remaining"] == [{"region": REGION, "lever": SPOT, "what": "node_group.desiredSize: 5 -> 2"}]
    assert report["undo"]["by_lever"][SPOT]["restored"] is False


def test_what_the_undo_left_is_in_the_report(rehearsed: FakeRehearsal) -> None:
    rehearsed.undoes = lambda ledger: undoes_all(ledger, complete=False)
    restored, report = undo(rehearsed)
    assert not restored
    assert report["undo"]["remaining"] == [
        {"region": REGION, "lever": SPOT, "what": "NodePool/akidb-spot: absent -> there"}
    ]


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
    monkeypatch.setattr(rehearsal.speeds, "measure", lambda: Speed(3 * REFERENCE_SECONDS))
    rehearsed._measure_speed()
    assert rehearsed.airflow is not None
    stretches = [rehearsed.airflow.stretch, *(processes.stretch for processes in rehearsed._processes())]
    assert stretches == pytest.approx([3.0, 3.0, 3.0])
    assert capsys.readouterr().out == ("slower than before: this machine: 0.33 of the reference; time-outs x 3.0\n")
    monkeypatch.setattr(rehearsal.speeds, "measure", lambda: Speed(REFERENCE_SECONDS))
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
    same = Ledger(FolderStore(airflows.ledger_folder(tmp_path)))
    assert list(rehearsed._standing()) == [(SPOT, REGION)]
    assert same.standing(SPOT, REGION) == rehearsed._standing()[SPOT, REGION]
