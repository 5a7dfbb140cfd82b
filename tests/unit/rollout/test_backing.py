"""What an approver may lean on is read when the plan is made, and nothing that can't be read stops the approval."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from include.rollout import steps
from include.rollout.decisions import Outlook
from include.rollout.safety import Fault, Outcome, Proved, SafetyRecords
from include.rollout.steps import Run
from tests.unit.rollout.toy_runs import AP, promoted


def planned(run: Run, **changed: Any) -> str:
    alone = replace(run, params={**run.params, "regions": [AP]}, **changed)
    return steps.make_plan(alone)["text"]


def test_records_of_another_version_are_shown_and_prove_nothing(run: Run) -> None:
    record = Proved("toy", Fault.GATE, Outcome.RESTORED, 41, "f" * 12, "", "2026-11-29T13:15:00Z", "rehearsal")
    SafetyRecords(run.ledger.store).add(record)
    assert "| toy `no version` | nothing | gate restored in 41 s (code ffffffffffff) | undo, kill, " in planned(run)


def test_a_record_that_was_changed_is_named_in_the_form(run: Run) -> None:
    run.ledger.store.put("safety/toy/gate/notes.json", b"{}")
    assert (
        "\n\n**Safety records:** safety/toy/gate/notes.json has not the name of a safety record: take it away\n\n"
        in planned(run)
    )


def test_records_that_can_not_be_listed_do_not_stop_the_approval(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ConnectionError("no route to S3")

    monkeypatch.setattr(SafetyRecords, "read", broken)
    text = planned(run)
    assert "\n\n**Safety records:** can't be read (ConnectionError: no route to S3)\n\n" in text
    assert "- `toy size: 1 -> 3`" in text


def test_the_month_of_the_lever_is_shown_and_why_when_it_is_not_known(run: Run) -> None:
    known = planned(run, outlook=lambda lever: Outlook(Decimal("12.5"), Decimal(11), lever, 0.031))
    assert "| P50 $12.50, P90 $11.00 (price book toy); a rehearsal missed it by 3% |" in known

    def fails(lever: str) -> Outlook:
        raise ValueError(f"no traffic for {lever}")

    assert "| not known: ValueError: no traffic for toy |" in planned(run, outlook=fails)


def test_the_form_names_the_record_that_has_the_whole_plan(run: Run) -> None:
    alone = replace(run, params={**run.params, "regions": [AP]})
    steps.make_plan(alone)
    (address,) = [record.address for record in alone.records("estate") if record.step == "plan"]
    assert address == "toy/estate/toy_rollout--manual__1/000001.json"


def test_the_plan_that_a_change_was_approved_with_is_found_by_its_chain(run: Run) -> None:
    done = promoted(run, "manual__2", 2)
    (plan,) = [record.figures["hash"] for record in done.records("estate") if record.step == "plan"]
    assert steps.plan_hash_of(done.ledger, done.chain(AP)) == plan
    assert steps.plan_hash_of(done.ledger, replace(done, run_id="nobody").chain(AP)) == ""
