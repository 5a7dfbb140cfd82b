"""The safety matrix: what a record proves of the code and the plan that are to be rolled out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.rollout.safety import Cell, Fault, Outcome, Proved, State, Version, matrix

NOW, OLD = "0123456789ab", "ba9876543210"
PLAN, OTHER = "89a7a1af48b0", "111111111111"
RECORD = Proved(
    "spot_capacity", Fault.GATE, Outcome.RESTORED, 41.4, NOW, PLAN, "2026-11-29T13:15:00Z", "rehearsal", "us-east-1"
)


def cell(*records: Proved, version: Version | None = None) -> Cell:
    return matrix({"spot_capacity": version or Version(NOW, PLAN)}, records)["spot_capacity"][Fault.GATE]


def test_a_record_of_this_version_and_plan_is_a_proof() -> None:
    assert (cell(RECORD).state, cell(RECORD).text) == (State.REHEARSED, "restored in 41 s")
    survived = replace(RECORD, outcome=Outcome.SURVIVED)
    assert cell(survived).text == "survived, well again after 41 s"
    assert cell(replace(survived, seconds=None)).text == "survived"
    assert cell(replace(RECORD, seconds=None)).text == "restored"


def test_without_a_record_it_is_not_rehearsed() -> None:
    assert (cell().state, cell().text) == (State.NEVER, "not rehearsed")
    assert cell(replace(RECORD, fault=Fault.KILL), replace(RECORD, lever="right_sizing")).state is State.NEVER


def test_an_older_version_is_named_and_proves_nothing() -> None:
    found = cell(replace(RECORD, code_version=OLD))
    assert found.state is State.OTHER_VERSION
    assert found.text == (
        "not rehearsed for this version (restored in 41 s with version ba9876543210 on 2026-11-29, rehearsal)"
    )


def test_another_plan_is_named_and_proves_nothing() -> None:
    found = cell(replace(RECORD, plan_hash=OTHER))
    assert found.state is State.OTHER_PLAN
    assert (
        found.text == "not rehearsed for this plan (restored in 41 s with plan 111111111111 on 2026-11-29, rehearsal)"
    )
    on_fakes = cell(replace(RECORD, plan_hash="", seconds=None, source="conformance on fakes"))
    assert on_fakes.text == (
        "not rehearsed for this plan (restored with no plan of an estate on 2026-11-29, conformance on fakes)"
    )


def test_where_no_plan_is_asked_for_any_plan_of_this_version_counts() -> None:
    assert cell(replace(RECORD, plan_hash=OTHER), version=Version(NOW)).state is State.REHEARSED


def test_of_several_records_the_newest_that_proves_most_counts() -> None:
    old_code = replace(RECORD, code_version=OLD, seconds=9, when="2026-11-30T00:00:00Z")
    other_plan = replace(RECORD, plan_hash=OTHER, seconds=8, when="2026-11-30T00:00:00Z")
    earlier = replace(RECORD, seconds=7, when="2026-11-28T00:00:00Z")
    assert cell(old_code, other_plan, earlier, RECORD).text == "restored in 41 s"
    assert cell(old_code, other_plan).record == other_plan


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, code_version=OLD)])
def test_code_without_a_version_is_never_proved(record: Proved) -> None:
    assert cell(record, version=Version(None, PLAN)).state is State.OTHER_VERSION


def test_every_lever_has_a_cell_for_every_fault() -> None:
    found = matrix({"spot_capacity": Version(NOW), "right_sizing": Version(OLD)}, [RECORD])
    assert {lever: list(cells) for lever, cells in found.items()} == {
        "spot_capacity": list(Fault),
        "right_sizing": list(Fault),
    }
