from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.clients.storage import Folder
from include.overview.ledger_copy import LedgerContent, LedgerCopy, standing_changes
from include.rollout.ledger import Chain, Ledger, Step
from include.rollout.marks import Standing
from tests.unit.overview.sample_week import REGIONS, Scribe, write_week

CHAIN = Chain("spot_capacity", "us-east-1", "day1_spot", "manual__1")
LAST = "spot_capacity/us-east-1/day1_spot--manual__1"


class Counting(Folder):
    """A folder that counts what is read, and refuses every write."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = 0

    def read(self, key: str) -> bytes:
        self.reads += 1
        return super().read(key)

    def create(self, key: str, data: bytes) -> None:
        raise AssertionError(f"the page wrote {key}")

    put = create


def content_of(folder: Path) -> LedgerContent:
    return LedgerCopy(Counting(folder)).refresh()


@pytest.fixture
def scribe(tmp_path: Path) -> Scribe:
    made = Scribe(tmp_path)
    for step in (Step.PLAN, Step.SNAPSHOT, Step.TOUCH):
        made.write(CHAIN, step, {})
    return made


def test_a_folder_that_is_not_there_is_an_empty_ledger(tmp_path: Path) -> None:
    content = content_of(tmp_path / "nothing")
    assert (content.chains, content.records, content.problems) == ({}, 0, {})


def test_only_new_records_are_read_the_next_time(scribe: Scribe) -> None:
    store = Counting(scribe.folder)
    copy = LedgerCopy(store)
    first = copy.refresh()
    assert store.reads == 3
    assert copy.refresh() == first
    assert store.reads == 3
    scribe.write(CHAIN, Step.APPLIED, {})
    assert copy.refresh().records == 4
    assert store.reads == 4


def test_the_version_changes_with_every_record(scribe: Scribe) -> None:
    before = content_of(scribe.folder).version
    assert content_of(scribe.folder).version == before
    scribe.write(CHAIN, Step.APPLIED, {})
    assert content_of(scribe.folder).version != before


def test_a_record_that_was_changed_breaks_its_chain_and_the_rest_is_shown(scribe: Scribe) -> None:
    path = scribe.folder / LAST / "000002.json"
    path.write_text(path.read_text().replace("us-east-1", "us-east-1", 1).replace('"step"', ' "step"', 1))
    content = content_of(scribe.folder)
    assert content.problems == {
        LAST: f"{LAST}/000003.json does not follow from the record before it: a record was changed, added or removed; "
        "restore the chain from a backup of the ledger"
    }
    assert content.records == 2


def test_a_record_that_was_changed_after_it_was_read_is_found_by_a_full_reading(scribe: Scribe) -> None:
    copy = LedgerCopy(Counting(scribe.folder))
    copy.refresh()
    path = scribe.folder / LAST / "000001.json"
    path.write_text(path.read_text().replace('"step"', ' "step"', 1))
    assert copy.refresh().problems == {}
    assert list(copy.refresh(full=True).problems) == [LAST]


def test_a_record_that_is_missing_is_named(scribe: Scribe) -> None:
    (scribe.folder / LAST / "000002.json").unlink()
    assert content_of(scribe.folder).problems == {
        LAST: f"{LAST}/000002.json is missing: restore it from a backup of the ledger"
    }


def test_a_last_record_that_only_its_mark_remembers_is_missed(scribe: Scribe) -> None:
    (scribe.folder / LAST / "000003.json").unlink()
    assert content_of(scribe.folder).problems == {
        LAST: f"{LAST}/000003.json is missing: restore it from a backup of the ledger"
    }


def test_an_end_that_only_the_verdict_remembers_is_missed(scribe: Scribe) -> None:
    scribe.verdict(CHAIN, "promoted", "promoted", [CHAIN])
    for name in ("000003.json", "000003-touch"):
        (scribe.folder / LAST / name).unlink()
    (text,) = content_of(scribe.folder).problems.values()
    assert text.startswith(
        f"{LAST} has lost its end: the verdict in spot_capacity/estate/day1_spot--manual__1 names a "
    )


def test_what_is_no_record_is_named(scribe: Scribe) -> None:
    (scribe.folder / LAST / "000003.json").write_text("{")
    (text,) = content_of(scribe.folder).problems.values()
    assert text.startswith(f"{LAST}/000003.json is not a record (")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"figures":{', b'"figures":[],"other":{', "not a record ("),
        (b'"links":{', b'"links":[1],"figures":{', "figures and links must be objects"),
        (b"{", b"[" * 100_000, "its JSON is nested too deep"),
    ],
)
def test_a_record_of_another_shape_spoils_its_own_chain_alone(scribe: Scribe, old: bytes, new: bytes, why: str) -> None:
    path = scribe.folder / LAST / "000003.json"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    (text,) = content_of(scribe.folder).problems.values()
    assert text.startswith(f"{LAST}/000003.json is not a record (")
    assert why in text


@pytest.mark.parametrize(("name", "value"), [("step", []), ("step", None), ("time", 1764000000), ("time", {})])
def test_a_record_whose_step_or_time_is_no_text_spoils_its_own_chain_alone(
    scribe: Scribe, name: str, value: object
) -> None:
    path = scribe.folder / LAST / "000003.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {name: value}))
    (text,) = content_of(scribe.folder).problems.values()
    assert text.startswith(f"{LAST}/000003.json is not a record (step and time must be texts): restore it")


def test_exports_and_safety_records_beside_the_chains_are_left_alone(scribe: Scribe) -> None:
    for key in (f"{LAST}/export/0123456789ab/main.tf.json", "safety/spot_capacity/gate/x.json", "locks/a.json"):
        path = scribe.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert list(content_of(scribe.folder).chains) == [LAST]


def test_what_stands_is_what_the_engine_says(tmp_path: Path) -> None:
    write_week(tmp_path)
    survey = Ledger(Folder(tmp_path)).survey()
    found = standing_changes(content_of(tmp_path))
    assert sorted((change.path, change.promoted) for change in found) == sorted(
        (run.chain.path, run.promoted) for run in survey.standing
    )
    assert len(found) == 9


def test_a_chain_that_does_not_add_up_stands_for_nothing(scribe: Scribe) -> None:
    assert standing_changes(content_of(scribe.folder)) == [Standing(LAST, 0, 2, False)]
    (scribe.folder / LAST / "000001.json").unlink()
    assert standing_changes(content_of(scribe.folder)) == []


def test_progress_is_told_in_records(tmp_path: Path) -> None:
    write_week(tmp_path)
    told: list[tuple[int, int]] = []
    content = LedgerCopy(Folder(tmp_path)).refresh(progress=lambda done, of: told.append((done, of)))
    assert max(told) == (content.records, content.records)
    assert len(REGIONS) == 3
