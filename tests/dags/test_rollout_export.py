"""A rollout that delivers files in place of changes, end to end: no approval, no lock, no write."""

from __future__ import annotations

import json
from pathlib import Path

from include.rollout.ledger import Ledger
from tests.dags.toy import World
from tests.dags.toy_dags import AP, QUICK, START, Runner, estate_of, holders, records, rollout_dag, steps


def test_an_export_writes_files_and_nothing_else(world: World, ledger: Ledger, run_dag: Runner, tmp_path: Path) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK | {"deliver": "export"})
    assert (run.state, run.verdict["verdict"]) == ("success", "exported")
    assert {task for task, state in run.tasks.items() if state == "success"} == {
        "check_preflight", "make_plan", "is_real_run", "write_export", "verdict",
    }  # fmt: skip
    assert run.tasks["await_approval"] == "skipped"
    assert (world.sizes(), world.events, holders(world)) == (START, [], {})
    assert steps(ledger, run, "estate") == ["preflight", "plan", "export", "verdict"]
    found = records(ledger, run, "estate")[2].figures["places"][AP]
    told = json.loads((tmp_path / "ledger" / found["folder"] / "changes.json").read_text())
    assert [(one["path"], one["before"], one["after"]) for one in told["changes"]] == [("toy size", 1, 2)]
    assert found["folder"] in run.verdict["message"]


def test_a_run_that_applies_skips_the_export_and_keeps_one_with_its_promotion(
    world: World, ledger: Ledger, run_dag: Runner
) -> None:
    run = run_dag(rollout_dag(world, estate_of(AP)), QUICK)
    assert (run.verdict["verdict"], run.tasks["write_export"]) == ("promoted", "skipped")
    kept = records(ledger, run, AP)[-1].figures["export"]
    assert kept["folder"].startswith(f"toy/{AP}/toy_rollout--")
    assert [*kept["files"]] == ["changes.json"]
