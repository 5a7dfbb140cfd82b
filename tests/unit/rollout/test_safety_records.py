"""Records of proved faults: what is kept, what is refused by name, and which of them count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.rollout.ledger import Ledger
from include.rollout.safety import Fault, Outcome, Proved, SafetyError, SafetyRecords, proved

RECORD = Proved(
    "spot_capacity",
    Fault.GATE,
    Outcome.RESTORED,
    41.25,
    "0123456789ab",
    "89a7a1af48b0",
    "2026-11-29T14:15:16.5+01:00",
    "rehearsal",
    "us-east-1",
)
KEY = "safety/spot_capacity/gate/20261129T131516Z.0123456789ab.89a7a1af48b0.f8b70849931242dc.json"


@pytest.fixture
def records(store: Folder) -> SafetyRecords:
    return SafetyRecords(store)


def test_a_record_is_read_as_it_was_written_and_its_time_is_utc_to_the_second(records: SafetyRecords) -> None:
    records.add(RECORD)
    (found,) = records.read().records
    assert found == RECORD
    assert found.when == "2026-11-29T13:15:16+00:00"


def test_its_name_tells_lever_fault_time_version_and_plan_and_ends_in_the_hash_of_its_content(
    records: SafetyRecords,
) -> None:
    assert records.add(RECORD) == KEY
    without_plan = replace(RECORD, plan_hash="")
    assert without_plan.key.startswith("safety/spot_capacity/gate/20261129T131516Z.0123456789ab.-.")


def test_the_same_record_twice_is_one_object(records: SafetyRecords, store: Folder) -> None:
    assert records.add(RECORD) == records.add(RECORD)
    assert store.keys("safety/") == [KEY]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lever", "Spot!", "lever 'Spot!' of a safety record can't be used: give the lever's name"),
        ("fault", "rain", "fault 'rain' of a safety record can't be used: use one of undo, gate, kill, api-server, "
         "karpenter, prometheus, spot-storm, etag, oom, ice, forecast-down, zone-loss, cost-spike"),
        ("outcome", "fine", "outcome 'fine' of a safety record can't be used: use one of survived, restored"),
        ("seconds", -1.0, "seconds -1.0 of a safety record can't be used: give seconds, zero or more, or null"),
        ("seconds", float("nan"), "seconds nan of a safety record can't be used: give seconds, zero or more, or null"),
        ("seconds", True, "seconds True of a safety record can't be used: give seconds, zero or more, or null"),
        ("code_version", "", "code_version '' of a safety record can't be used: give what code_version() returns"),
        ("plan_hash", "x", "plan_hash 'x' of a safety record can't be used: give 12 hex digits or ''"),
        ("when", "2026-11-29T13:15:16", "when '2026-11-29T13:15:16' of a safety record can't be used: give ISO 8601 "
         "with an offset, such as 2026-11-29T13:15:00Z"),
        ("source", "", "source '' of a safety record can't be used: say in a line who proved it"),
        ("source", "a\nb", "source 'a\\nb' of a safety record can't be used: say in a line who proved it"),
        ("place", "x" * 201, f"place '{'x' * 201}' of a safety record can't be used: give a place's name or ''"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_with_its_value_and_the_remedy(field: str, value: Any, message: str) -> None:
    with pytest.raises(SafetyError) as caught:
        replace(RECORD, **{field: value})
    assert str(caught.value) == message


def test_a_credential_is_refused_and_nothing_is_written(records: SafetyRecords, store: Folder) -> None:
    with pytest.raises(SafetyError, match="safety record of spot_capacity: source holds what looks like a credential"):
        records.add(replace(RECORD, source="by AKIAIOSFODNN7EXAMPLE"))
    assert store.keys() == []


def test_a_record_that_was_changed_is_refused_by_name_and_no_older_one_stands_in(
    records: SafetyRecords, store: Folder
) -> None:
    records.add(replace(RECORD, when="2026-11-28T00:00:00Z"))
    records.add(RECORD)
    raw = json.loads(store.read(KEY))
    store.put(KEY, replace(RECORD, outcome=Outcome.SURVIVED).encode())
    assert raw["outcome"] == "restored"
    reading = records.read()
    assert reading.records == ()
    assert reading.bad == {
        KEY: f"{KEY} counts for nothing: its content is not what its name says: it was changed; restore it from a "
        "backup of the ledger, or take it away"
    }


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is no safety record (Expecting value: line 1 column 1 (char 0))"),
        (b"[]", "it is no safety record (include.rollout.safety.records.Proved() argument after ** must be a mapping, "
         "not list)"),
        (b"\xff", "it is no safety record ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)"),
        (b" " * 5000, "it has 5000 bytes, more than 4096"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused_by_name(records: SafetyRecords, store: Folder, data: bytes, why: str) -> None:
    store.put(KEY, data)
    assert records.read().bad == {
        KEY: f"{KEY} counts for nothing: {why}; restore it from a backup of the ledger, or take it away"
    }


def test_a_stranger_in_the_folder_is_named_and_does_not_keep_the_records(records: SafetyRecords, store: Folder) -> None:
    records.add(RECORD)
    store.put("safety/notes.txt", b"hello")
    reading = records.read()
    assert reading.records == (RECORD,)
    assert reading.bad == {"safety/notes.txt": "safety/notes.txt has not the name of a safety record: take it away"}


def test_only_the_newest_of_each_version_and_plan_is_opened(records: SafetyRecords, store: Folder) -> None:
    for day in range(10, 20):
        records.add(replace(RECORD, when=f"2026-11-{day}T00:00:00Z"))
    records.add(replace(RECORD, code_version="f" * 12, when="2026-11-01T00:00:00Z"))
    opened: list[str] = []

    class Counting(Folder):
        def read(self, key: str) -> bytes:
            opened.append(key)
            return super().read(key)

    found = SafetyRecords(Counting(store.root)).read().records
    assert [(record.code_version, record.when[:10]) for record in found] == [
        ("0123456789ab", "2026-11-19"),
        ("ffffffffffff", "2026-11-01"),
    ]
    assert len(opened) == 2


def test_no_more_are_opened_than_the_limit_and_what_was_left_out_is_counted(records: SafetyRecords) -> None:
    for day in range(10, 15):
        records.add(replace(RECORD, code_version=f"{day:012}", when=f"2026-11-{day}T00:00:00Z"))
    reading = records.read(most=2)
    assert [record.when[:10] for record in reading.records] == ["2026-11-14", "2026-11-13"]
    assert reading.left_out == 3


def test_only_the_levers_that_are_asked_for_are_read(records: SafetyRecords) -> None:
    records.add(RECORD)
    records.add(replace(RECORD, lever="right_sizing"))
    assert [record.lever for record in records.read(["right_sizing", "consolidation"]).records] == ["right_sizing"]


def test_a_record_of_the_code_as_it_is_now(records: SafetyRecords) -> None:
    made = proved("cost_cap", Fault.KILL, Outcome.SURVIVED, None, source="conformance on fakes")
    assert len(made.code_version) == 12
    with pytest.raises(SafetyError, match="lever 'made_up' has no folder or module in include/levers"):
        proved("made_up", Fault.KILL, Outcome.SURVIVED, None, source="nobody")


def test_the_ledger_takes_them_for_no_chain(records: SafetyRecords, store: Folder, tmp_path: Path) -> None:
    records.add(RECORD)
    survey = Ledger(store).survey()
    assert (survey.standing, survey.bad, survey.places) == ((), {}, frozenset())
