"""What a rehearsal leaves on record: the service's figures, and how far predictions were off."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from include.clients.storage import Folder
from include.rollout.ledger import WHOLE_RUN, Chain, Ledger, Step
from lab.rehearsal import against, on_record
from lab.rehearsal.folders import ledger_folder
from lab.rehearsal.scene import forget_old

AP = "ap-northeast-1"


def scene(folder: Path) -> Any:
    settings = SimpleNamespace(folder=folder)
    return cast("Any", SimpleNamespace(settings=settings, ledger=lambda: Ledger(Folder(ledger_folder(folder)))))


def test_the_services_figures_are_records_of_a_chain_of_their_own_by_place(tmp_path: Path) -> None:
    figures = {AP: {"kind": "throughput", "served_qps": 6420.0}, "estate": {"kind": "availability", "ratio": 1.0}}
    on_record.measured(scene(tmp_path), figures)
    ledger = Ledger(Folder(ledger_folder(tmp_path)))
    for place, found in figures.items():
        (chain,) = ledger.chains("service", place)
        assert chain.dag_id == "rehearsal"
        assert [(record.step, record.figures) for record in ledger.records(chain)] == [("measured", found)]


def test_the_hash_of_a_lever_is_that_of_its_newest_plan(tmp_path: Path) -> None:
    ledger = Ledger(Folder(ledger_folder(tmp_path)))
    for run, found in (("a", "111111111111"), ("b", "222222222222")):
        ledger.append(Chain("spot_capacity", WHOLE_RUN, "day1_spot", run), Step.PLAN, {"hash": found})
    assert on_record.plan_hash(scene(tmp_path), "spot_capacity") == "222222222222"
    assert on_record.plan_hash(scene(tmp_path), "right_sizing") == ""


def test_a_levers_prediction_is_kept_beside_the_ledger(tmp_path: Path) -> None:
    results = cast("Any", SimpleNamespace(levers={"consolidation": against.row(1.3, 1.35, 11, 12)}))
    on_record.keep_predictions(scene(tmp_path), results)
    found = json.loads((ledger_folder(tmp_path) / "predictions" / "consolidation.json").read_text())
    assert (found["lever"], found["error"], found["usd_hour_realised"]) == ("consolidation", -0.037, 1.35)


def test_a_new_lab_forgets_the_old_ledger_and_keeps_what_was_proved_of_safety(tmp_path: Path) -> None:
    old = ledger_folder(tmp_path)
    for name in ("safety/spot_capacity/gate/a.json", "spot_capacity/estate/r/000001.json", "index/000001.json"):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text("{}")
    (tmp_path / "costs").mkdir()
    forget_old(tmp_path)
    assert [path.relative_to(old).as_posix() for path in old.rglob("*.json")] == ["safety/spot_capacity/gate/a.json"]
    assert not (tmp_path / "costs").exists()
