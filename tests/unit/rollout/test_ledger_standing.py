"""What stands in a ledger, by its marks and by its records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.clients.storage import Folder
from include.rollout.ledger import (
    FIRST_LINK,
    Chain,
    Ledger,
    LedgerError,
    Record,
    Step,
    digest,
)
from tests.unit.rollout.ledger_world import Clock, restore, touch


def run(name: str, region: str = "us-east-1", dag_id: str = "day1_spot") -> Chain:
    return Chain("spot_capacity", region, dag_id, name)


def standing(ledger: Ledger) -> list[tuple[str, bool]]:
    return [(r.chain.run_id, r.promoted) for r in ledger.standing("spot_capacity", "us-east-1")]


def test_a_snapshot_alone_is_no_change(ledger: Ledger) -> None:
    ledger.append(run("one"), Step.SNAPSHOT)
    assert standing(ledger) == []


def test_promoted_runs_stand_until_they_are_restored_by_any_run(ledger: Ledger) -> None:
    for name in ("one", "two"):
        touch(ledger, run(name))
        ledger.append(run(name), Step.PROMOTED)
    assert standing(ledger) == [("one", True), ("two", True)]
    assert ledger.unfinished("spot_capacity", "us-east-1") is None
    restore(ledger, run("two"), by=run("undo", dag_id="rollback"))
    assert standing(ledger) == [("one", True)]


def test_an_unfinished_run_is_found_until_it_is_wholly_restored(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    restore(ledger, run("one"), complete=False)
    unfinished = ledger.unfinished("spot_capacity", "us-east-1")
    assert unfinished is not None
    assert unfinished.chain == run("one")
    restore(ledger, run("one"))
    assert ledger.unfinished("spot_capacity", "us-east-1") is None


def test_a_run_that_resumes_another_stands_for_both(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    touch(ledger, run("two"), origin=run("one"))
    assert standing(ledger) == [("two", False)]
    restore(ledger, run("two"))
    assert standing(ledger) == []


def test_touched_regions_come_in_the_order_that_is_asked_for(ledger: Ledger) -> None:
    for region in ("ap-northeast-1", "eu-central-1", "us-east-1"):
        touch(ledger, run("one", region))
    ledger.append(run("one", "ap-northeast-1"), Step.TOUCH)
    restore(ledger, run("one", "eu-central-1"))
    regions = ["us-east-1", "eu-central-1", "ap-northeast-1"]
    assert ledger.touched(run("one", "estate"), regions) == ["us-east-1", "ap-northeast-1"]


@pytest.mark.parametrize("step", [-5, 0, 1], ids=["backwards", "stopped", "forwards"])
def test_no_clock_decides_what_stands(store: Folder, step: int) -> None:
    ledger = Ledger(store, Clock(step))
    touch(ledger, run("one"))
    assert standing(ledger) == [("one", False)]
    restore(ledger, run("one"))
    assert standing(ledger) == []
    for name in ("b", "a", "c"):
        touch(ledger, run(name))
        ledger.append(run(name), Step.PROMOTED)
    assert standing(ledger) == [("b", True), ("a", True), ("c", True)]
    restore(ledger, run("c"), by=run("undo", dag_id="rollback"))
    assert standing(ledger) == [("b", True), ("a", True)]
    assert [r.order for r in ledger.standing("spot_capacity", "us-east-1")] == [2, 3]


def test_a_run_that_writes_after_it_was_restored_stands_again(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    restore(ledger, run("one"), by=run("undo", dag_id="rollback"))
    ledger.append(run("one"), Step.TOUCH)
    assert standing(ledger) == [("one", False)]
    restore(ledger, run("one"))
    ledger.append(run("one"), Step.STOPPED)
    assert standing(ledger) == []


def test_what_was_accepted_no_longer_stands(ledger: Ledger) -> None:
    touch(ledger, run("one"))
    ledger.append(run("one"), Step.RESTORED, {"complete": False, "accepted": True}, {"restores": run("one").path})
    assert standing(ledger) == []


class CountingStore(Folder):
    """Counts requests; ``lost`` marks are not written, as when a process ends right after a record."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lists: list[str] = []
        self.reads: list[str] = []
        self.lost: set[str] = set()

    def create(self, key: str, data: bytes) -> None:
        if any(key.endswith(f"-{step}") for step in self.lost):
            raise ConnectionError("the process was killed")
        super().create(key, data)

    def keys(self, prefix: str) -> list[str]:
        self.lists.append(prefix)
        return super().keys(prefix)

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        return super().read(key)


@pytest.fixture
def counted(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path)


def test_what_a_run_touched_is_answered_by_one_list(counted: CountingStore) -> None:
    ledger = Ledger(counted, Clock())
    for number in range(5):
        for region in ("us-east-1", "eu-central-1"):
            touch(ledger, run(f"r{number}", region))
            ledger.append(run(f"r{number}", region), Step.PROMOTED)
            restore(ledger, run(f"r{number}", region)) if number % 2 else None
    counted.lists.clear()
    counted.reads.clear()
    assert ledger.touched(run("r2", "estate"), ["us-east-1", "eu-central-1"]) == ["us-east-1", "eu-central-1"]
    assert ledger.touched(run("r3", "estate"), ["us-east-1", "eu-central-1"]) == []
    assert (counted.lists, counted.reads) == (["spot_capacity/"] * 2, [])
    survey = ledger.survey()
    assert [r.chain.run_id for r in survey.standing if r.chain.place == "us-east-1"] == ["r0", "r2", "r4"]
    assert survey.places == {"us-east-1", "eu-central-1"}
    assert (counted.lists[2:], len(counted.reads)) == ([""], 6)


@pytest.mark.parametrize("lost", [{"touch"}, {"snapshot-n1", "touch"}, {"restored"}])
def test_a_record_whose_mark_was_lost_counts_all_the_same(counted: CountingStore, lost: set[str]) -> None:
    ledger = Ledger(counted, Clock())
    counted.lost = lost
    touch(ledger, run("one"))
    assert standing(ledger) == [("one", False)]
    restore(ledger, run("one"))
    assert standing(ledger) == []
    counted.lost = set()
    assert standing(ledger) == []  # read once more, and marked
    counted.reads.clear()
    assert standing(ledger) == []
    assert counted.reads == []


def test_a_mark_never_stands_for_a_record_that_is_not_there(ledger: Ledger, tmp_path: Path) -> None:
    touch(ledger, run("one"))
    (tmp_path / run("one").path / "000002.json").unlink()
    survey = ledger.survey("spot_capacity/us-east-1")
    assert survey.standing == ()
    assert survey.bad == {
        run("one").path: f"{run('one').path}/000002.json is missing: restore it from a backup of the ledger"
    }
    with pytest.raises(LedgerError, match="is missing"):
        ledger.standing("spot_capacity", "us-east-1")


def test_a_bad_chain_blocks_no_other(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("one", "two"):
        touch(ledger, run(name))
    (tmp_path / run("one").path / "000001.json").write_text("{")
    survey = ledger.survey()
    assert [r.chain.run_id for r in survey.standing] == ["two"]
    assert list(survey.bad) == [run("one").path]
    assert ledger.touched(run("two", "estate"), ["us-east-1"]) == ["us-east-1"]


def test_a_touch_without_a_snapshot_is_a_bad_chain(ledger: Ledger) -> None:
    ledger.append(run("one"), Step.TOUCH)
    assert ledger.survey().bad == {
        run(
            "one"
        ).path: f"{run('one').path} was written to but holds no snapshot: restore it from a backup of the ledger"
    }


def test_the_audit_reads_what_marks_do_not_prove(ledger: Ledger, tmp_path: Path) -> None:
    touch(ledger, run("one"))
    touch(ledger, run("two"))
    path = tmp_path / run("one").path / "000001.json"
    path.write_text(path.read_text().replace('"snapshot"', '"snapshoT"'))
    assert list(ledger.audit()) == [run("one").path]
    assert "000002.json does not follow" in ledger.audit("spot_capacity")[run("one").path]
    assert ledger.audit("another_lever") == {}


OLD = (  # (run, records) as a release without marks wrote them: step, time, figures, links
    ("one", (("snapshot", "10:00", {}, {}), ("touch", "10:01", {}, {}), ("promoted", "10:02", {}, {}))),
    ("two", (("snapshot", "11:00", {}, {}), ("touch", "11:01", {}, {}), ("gate", "11:02", {}, {}))),
    ("three", (("snapshot", "12:00", {}, {"origin": "two"}), ("touch", "12:01", {}, {}))),
    ("four", (("snapshot", "09:00", {}, {}), ("touch", "09:01", {}, {}), ("promoted", "09:02", {}, {}))),
    ("undo", (("undo", "09:10", {}, {}), ("restored", "09:11", {"complete": True}, {"restores": "four"}))),
    ("five", (("plan", "13:00", {}, {}), ("stopped", "13:01", {}, {}))),
)


def write_old(folder: Path) -> None:
    """The records of OLD, byte for byte as they were: numbered names only, no order, no marks."""
    for name, records in OLD:
        previous = FIRST_LINK
        for number, (step, time, figures, links) in enumerate(records, start=1):
            data = json.dumps(
                {
                    "lever": "spot_capacity", "region": "us-east-1", "dag_id": "day1_spot", "run_id": name,
                    "sequence": number, "previous": previous, "step": step,
                    "time": f"2026-11-24T{time}:00+00:00", "figures": figures,
                    "links": {key: f"spot_capacity/us-east-1/day1_spot--{to}" for key, to in links.items()},
                },
                sort_keys=True,
                indent=1,
            ).encode() + b"\n"  # fmt: skip
            path = folder / "spot_capacity" / "us-east-1" / f"day1_spot--{name}" / f"{number:06}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            previous = digest(data)


def test_a_ledger_of_an_older_release_is_read_and_gone_on_with(tmp_path: Path, counted: CountingStore) -> None:
    write_old(tmp_path)
    ledger = Ledger(counted, Clock(-1))
    assert standing(ledger) == [("one", True), ("three", False)]
    unfinished = ledger.unfinished("spot_capacity", "us-east-1")
    assert unfinished is not None
    assert unfinished.chain == run("three")
    assert ledger.audit() == {}
    touch(ledger, run("new"))
    restore(ledger, run("three"), by=run("undo two", dag_id="rollback"))
    assert standing(ledger) == [("one", True), ("new", False)]
    counted.reads.clear()
    assert ledger.touched(run("new", "estate"), ["us-east-1"]) == ["us-east-1"]
    assert counted.reads == []
    ledger.append(run("three"), Step.STOPPED, {"where": "x", "reason": "y"})
    assert [r.step for r in ledger.records(run("three"))] == ["snapshot", "touch", "stopped"]


def test_records_of_an_older_release_are_never_rewritten(tmp_path: Path, ledger: Ledger) -> None:
    write_old(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    ledger.survey()
    touch(ledger, run("new"))
    assert {path: path.read_bytes() for path in before} == before


def test_a_store_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    write_old(tmp_path)

    class ReadOnly(Folder):
        def create(self, key: str, data: bytes) -> None:
            raise PermissionError(key)

    ledger = Ledger(ReadOnly(tmp_path))
    assert standing(ledger) == [("one", True), ("three", False)]
    assert list(tmp_path.rglob("*-touch")) == []


def test_the_orders_of_two_regions_and_levers_are_their_own(ledger: Ledger) -> None:
    other = Chain("predictive_scaling", "us-east-1", "day2", "one")
    for chain in (run("one"), run("one", "eu-central-1"), run("two"), other):
        touch(ledger, chain)
    orders = [record.figures["order"] for c in (run("one"), run("one", "eu-central-1"), run("two"), other)
              if isinstance(record := ledger.snapshot(c), Record)]  # fmt: skip
    assert orders == [1, 1, 2, 1]


def test_who_has_undone_a_run_is_answered_by_one_list_and_one_read(counted: CountingStore) -> None:
    ledger = Ledger(counted, Clock())
    touch(ledger, run("one"))
    ledger.append(run("one"), Step.UNDO, {}, {"restores": run("one").path})
    assert ledger.undone_by(run("one")) is None
    undo = run("undo", dag_id="rollback")
    ledger.append(undo, Step.UNDO, {}, {"restores": run("one").path})
    assert standing(ledger) == [("one", False)]  # begun is not done
    counted.lists.clear()
    counted.reads.clear()
    assert ledger.undone_by(run("one")) == undo
    assert ledger.undone_by(run("two")) is None
    assert (len(counted.lists), len(counted.reads)) == (2, 1)


def test_a_list_that_shows_a_mark_before_its_record_is_not_taken_for_a_loss(tmp_path: Path) -> None:
    class Lagging(Folder):
        """Lists a folder while somebody writes to it."""

        def keys(self, prefix: str) -> list[str]:
            return [key for key in super().keys(prefix) if not key.endswith("000002.json")]

    writer = Ledger(Folder(tmp_path), Clock())
    touch(writer, run("one"))
    reader = Ledger(Lagging(tmp_path))
    assert standing(reader) == [("one", False)]
    assert reader.touched(run("one", "estate"), ["us-east-1"]) == ["us-east-1"]
    assert [record.step for record in reader.records(run("one"))] == ["snapshot", "touch"]
    assert reader.audit() == {}
