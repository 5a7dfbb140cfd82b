"""What the levers' conformance proves, and safety records that go from one ledger to another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.clients.storage import Folder
from include.rollout.safety import Fault, SafetyRecords, code_version
from tests.conformance.levers.__main__ import LAB, UNIT
from tools.safety import PROVES, copied, from_conformance, main

WHEN = "2026-11-29T13:15:00+00:00"
HELD = {name: "ok" for names in PROVES.values() for name in names}


def test_a_lever_that_holds_every_property_has_a_record_of_each_proof() -> None:
    found = from_conformance({"cost_cap": HELD}, WHEN)
    assert [(r.fault, r.outcome, r.seconds, r.source) for r in found] == [
        (Fault.UNDO, "restored", None, "conformance on fakes"),
        (Fault.KILL, "restored", None, "conformance on fakes"),
        (Fault.KILL, "restored", None, "conformance on a real API server"),
    ]
    assert {(r.lever, r.code_version, r.plan_hash, r.when) for r in found} == {
        ("cost_cap", code_version("cost_cap"), "", WHEN)
    }


@pytest.mark.parametrize("text", ["FAILED: it wrote", "left out: needs a lab"])
def test_what_failed_or_was_left_out_proves_nothing(text: str) -> None:
    row = HELD | {"test_a_crash_after_any_write_of_apply_is_undone": text}
    assert [(r.fault, r.source) for r in from_conformance({"cost_cap": row}, WHEN)] == [
        (Fault.UNDO, "conformance on fakes"),
        (Fault.KILL, "conformance on a real API server"),
    ]
    assert from_conformance({"cost_cap": {}}, WHEN) == []


def test_the_properties_are_those_of_the_tests() -> None:
    root = Path(__file__).parents[3]
    known = "".join((root / path).read_text(encoding="utf-8") for path in (UNIT, LAB))
    assert [name for names in PROVES.values() for name in names if f"def {name}(" not in known] == []


def test_the_command_records_a_table_and_copies_it_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, first, second = tmp_path / "conformance.json", tmp_path / "a", tmp_path / "b"
    table.write_text(json.dumps({"cost_cap": HELD}))
    assert main(["conformance", "--file", str(table), "--ledger", str(first)]) == 0
    assert main(["copy", str(first), str(second)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"3 records of 1 levers beside {first}",
        f"2 records copied to {second}",
    ]
    # Of two records of one lever, fault, version and plan the newest is read: here those of kill are of one moment.
    assert {record.fault for record in SafetyRecords(Folder(second)).read().records} == {Fault.UNDO, Fault.KILL}


def test_a_record_that_can_not_be_read_is_named_and_not_copied(tmp_path: Path) -> None:
    first, second = Folder(tmp_path / "a"), Folder(tmp_path / "b")
    first.put("safety/stranger.json", b"{}")
    assert copied(first, second) == (
        0, ["safety/stranger.json has not the name of a safety record: take it away"],
    )  # fmt: skip
    assert second.keys() == []


def test_a_table_that_is_not_there_is_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "--file", str(tmp_path / "none.json"), "--ledger", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("nothing was recorded: [Errno 2] No such file")
