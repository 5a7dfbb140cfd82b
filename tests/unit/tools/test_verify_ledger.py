"""The verifier: what is whole is valid, what nobody signed is unsigned, and each kind of tampering is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import rfc8785

from include.clients.storage import Folder
from include.rollout.ledger import FIRST_LINK, Ledger, Record, Step, digest
from tests.unit.rollout.ledger_world import CHAIN, Clock
from tests.unit.rollout.signed_world import EU, promoted, signed_ledger, signer
from tools import verify_ledger

ROOT = Path(__file__).parents[3]
BEFORE = ROOT / "tests" / "unit" / "rollout" / "written_before"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chains of one run, signed, with its verdict."""
    folder = tmp_path_factory.mktemp("written")
    ledger = signed_ledger(folder)
    for chain in (CHAIN, EU):
        promoted(ledger, chain)
    ledger.append(CHAIN.of("estate"), Step.VERDICT, {"verdict": "promoted"})
    ledger.seal([CHAIN, EU, CHAIN.of("estate")])
    return folder


@pytest.fixture
def ledger(written: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    shutil.copytree(written, tmp_path / "ledger")
    return tmp_path / "ledger"


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[str]]]:
    """The exit status of the verifier and the lines that it printed."""

    def run(*arguments: object) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["verify_ledger.py", *map(str, arguments)])
        capsys.readouterr()
        return verify_ledger._main(), capsys.readouterr().out.splitlines()

    return run


Verify = Callable[..., tuple[int, list[str]]]


def record(ledger: Path, number: int, chain: str = CHAIN.path) -> Path:
    return ledger / chain / f"{number:06}.json"


def broken(lines: list[str]) -> list[str]:
    return [line.removeprefix("broken").strip() for line in lines if line.startswith("broken")]


def test_a_signed_ledger_is_valid_chain_by_chain(ledger: Path, verify: Verify) -> None:
    status, lines = verify(ledger)
    assert (status, lines[0]) == (0, f"keys: ['{signer().key_id}']")
    assert [line.partition(" ")[0] for line in lines[1:]] == ["valid"] * 4
    assert lines[1].startswith("valid    index: its newest entry is 6:")
    assert lines[4] == f"valid    {CHAIN.path}: 6 records, 6 of them signed"


def test_it_needs_nothing_of_this_project(ledger: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    shutil.copy(ROOT / "tools" / "verify_ledger.py", alone)
    shutil.move(ledger, alone / "ledger")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "verify_ledger.py", "ledger"], cwd=alone, env=plain, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.count("valid ")) == (0, 4)
    imports = [line for line in (alone / "verify_ledger.py").read_text().splitlines() if "import " in line]
    assert not [line for line in imports if line.startswith(("from include", "from lab", "from tools"))]


def test_it_has_fewer_than_150_lines() -> None:
    assert len((ROOT / "tools" / "verify_ledger.py").read_text().splitlines()) < 150


def test_a_changed_field_is_found_at_the_record_that_follows(ledger: Path, verify: Verify) -> None:
    path = record(ledger, 2)
    path.write_bytes(path.read_bytes().replace(b'"size":3', b'"size":4'))
    status, lines = verify(ledger)
    assert (status, broken(lines)) == (1, [f"{CHAIN.path}: {CHAIN.path}/000002.json: InvalidSignature()"])


def test_a_changed_last_record_is_found_by_its_signature(ledger: Path, verify: Verify) -> None:
    path = record(ledger, 6)
    path.write_bytes(path.read_bytes().replace(b'"nodes":5', b'"nodes":6'))
    assert broken(verify(ledger)[1]) == [f"{CHAIN.path}: {CHAIN.path}/000006.json: InvalidSignature()"]


def test_two_records_that_changed_places_are_found(ledger: Path, verify: Verify) -> None:
    third, fourth = record(ledger, 3).read_bytes(), record(ledger, 4).read_bytes()
    record(ledger, 3).write_bytes(fourth)
    record(ledger, 4).write_bytes(third)
    (line,) = broken(verify(ledger)[1])
    assert line.startswith(f"{CHAIN.path}: {CHAIN.path}/000003.json: does not follow the one before")


def test_a_record_that_is_gone_from_the_middle_is_named(ledger: Path, verify: Verify) -> None:
    record(ledger, 3).unlink()
    assert broken(verify(ledger)[1]) == [f"{CHAIN.path}: {CHAIN.path}/000003.json: is missing"]


def test_records_cut_off_the_end_are_missed_with_and_without_their_marks(ledger: Path, verify: Verify) -> None:
    record(ledger, 6).unlink()
    assert broken(verify(ledger)[1]) == [f"{CHAIN.path}: {CHAIN.path}/000006.json: is missing"]
    for path in (*record(ledger, 6).parent.glob("000006*"), *record(ledger, 6).parent.glob("000005*")):
        path.unlink()
    (line,) = broken(verify(ledger)[1])
    assert line.startswith(f"{CHAIN.path}: {CHAIN.path}/000006.json: is missing, but index/00000")
    shutil.rmtree(ledger / "index")  # then the head alone says so
    assert any("000006.json: is missing, but heads/" in line for line in broken(verify(ledger)[1]))


def test_a_whole_chain_that_is_gone_is_missed(ledger: Path, verify: Verify) -> None:
    shutil.rmtree(ledger / CHAIN.path)
    (ledger / "heads" / f"{CHAIN.path}.json").unlink()
    (line,) = broken(verify(ledger)[1])
    assert line.startswith(f"{CHAIN.path}: {CHAIN.path}/000001.json: is missing, but index/000001.json has it")


def test_entries_cut_off_the_index_are_missed_by_the_chains_that_began_after_them(ledger: Path, verify: Verify) -> None:
    (ledger / "index" / "000003.json").unlink()
    assert any(line.startswith("index: index/000003.json: is missing, or") for line in broken(verify(ledger)[1]))
    for number in range(2, 7):
        (ledger / "index" / f"{number:06}.json").unlink(missing_ok=True)
    lines = broken(verify(ledger)[1])
    assert f"{EU.path}: {EU.path}/000001.json: links to an entry of the index that is not there: the index was cut" in (
        lines
    )


def test_an_entry_that_was_seen_before_must_still_be_there(ledger: Path, verify: Verify) -> None:
    newest = verify(ledger)[1][1].rpartition(" ")[2]
    assert verify(ledger, "--index", newest)[0] == 0
    (ledger / "index" / "000006.json").unlink()
    assert verify(ledger)[0] == 0  # nothing inside the ledger knows of it
    status, lines = verify(ledger, "--index", newest)
    assert (status, broken(lines)) == (1, [f"index: index/000005.json: does not hold {newest}: the index was cut"])


def test_a_record_added_without_the_key_is_found(ledger: Path, verify: Verify) -> None:
    Ledger(Folder(ledger), Clock()).append(CHAIN, Step.RESTORED, {"complete": True})
    assert broken(verify(ledger)[1]) == [
        f"{CHAIN.path}: {CHAIN.path}/000007.json: is not signed, but those before are: it was added"
    ]


def test_a_record_added_with_another_key_is_found_when_ones_own_is_pinned(ledger: Path, verify: Verify) -> None:
    pinned = ledger.parent / "mine.pem"
    pinned.write_bytes(signer().public_pem)
    assert verify(ledger, "--key", pinned)[0] == 0
    signed_ledger(ledger, seed=9).append(CHAIN, Step.RESTORED, {"complete": True})
    status, lines = verify(ledger, "--key", pinned)
    assert status == 1
    assert any(f"000007.json: is signed by {signer(9).key_id}, not by a known key" in line for line in broken(lines))


def test_the_wrong_key_makes_nothing_valid(ledger: Path, verify: Verify) -> None:
    wrong = ledger.parent / "wrong.pem"
    wrong.write_bytes(signer(2).public_pem)
    status, lines = verify(ledger, "--key", wrong)
    assert (status, [line for line in lines if line.startswith("valid")]) == (1, [])
    assert f"index: index/000001.json: is signed by {signer().key_id}, not by a known key" in broken(lines)[0]


def test_records_and_heads_of_another_chain_prove_nothing_here(ledger: Path, verify: Verify) -> None:
    shutil.copy(ledger / "heads" / f"{EU.path}.json", ledger / "heads" / f"{CHAIN.path}.json")
    assert broken(verify(ledger)[1]) == [f"{CHAIN.path}: heads/{CHAIN.path}.json: is the head of another chain"]
    shutil.copy(record(ledger, 2, EU.path), record(ledger, 2))
    assert broken(verify(ledger)[1]) == [f"{CHAIN.path}: {CHAIN.path}/000002.json: is a record of another chain"]
    document = json.loads(record(ledger, 1).read_bytes())
    document["signature"] = json.loads(record(ledger, 1, EU.path).read_bytes())["signature"]
    record(ledger, 1).write_bytes(rfc8785.dumps(document))
    assert broken(verify(ledger)[1]) == [f"{CHAIN.path}: {CHAIN.path}/000001.json: InvalidSignature()"]


def hashed_again(ledger: Path) -> None:
    """Change the chain and make its hashes fit again, without the key: signatures and head are taken off."""
    previous = FIRST_LINK
    for path in sorted((ledger / CHAIN.path).glob("*.json")):
        body = json.loads(path.read_bytes())
        body = {name: value for name, value in body.items() if name not in {"key", "signature"}} | {
            "previous": previous
        }
        body["figures"]["nodes"] = 1
        path.write_bytes(rfc8785.dumps(body))
        previous = digest(path.read_bytes())
    (ledger / "heads" / f"{CHAIN.path}.json").unlink()


def test_a_chain_hashed_again_without_the_key_is_not_unsigned_but_broken(ledger: Path, verify: Verify) -> None:
    hashed_again(ledger)
    Ledger(Folder(ledger)).records(CHAIN)  # its own hashes add up
    (line,) = broken(verify(ledger)[1])
    assert line.startswith(f"{CHAIN.path}: {CHAIN.path}/000001.json: is not the record that index/000001.json has")


def test_a_record_in_another_form_of_json_is_found(ledger: Path, verify: Verify) -> None:
    path = record(ledger, 6)
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    assert broken(verify(ledger)[1]) == [f"{CHAIN.path}: {CHAIN.path}/000006.json: is not canonical JSON (RFC 8785)"]


def test_an_older_ledger_is_unsigned_and_still_checked(tmp_path: Path, verify: Verify) -> None:
    shutil.copytree(BEFORE, tmp_path / "before")
    status, lines = verify(tmp_path / "before")
    assert (status, {line.partition(" ")[0] for line in lines[1:]}) == (3, {"unsigned"})
    path = next((tmp_path / "before").rglob("000002.json"))
    path.write_bytes(path.read_bytes().replace(b'"time": "2', b'"time": "3'))
    assert verify(tmp_path / "before")[0] == 1


def test_a_chain_that_began_before_the_key_stays_unsigned(tmp_path: Path, verify: Verify) -> None:
    Ledger(Folder(tmp_path), Clock()).append(CHAIN, Step.PLAN)
    signed_ledger(tmp_path).append(CHAIN, Step.SNAPSHOT)
    status, lines = verify(tmp_path)
    assert (status, lines[2]) == (3, f"unsigned {CHAIN.path}: 2 records, 1 of them signed")
    path = record(tmp_path, 1)
    path.write_bytes(path.read_bytes().replace(b"plan", b"plot"))
    assert verify(tmp_path)[0] == 1


def test_after_a_change_of_keys_both_count(ledger: Path, verify: Verify) -> None:
    signed_ledger(ledger, seed=2).append(CHAIN, Step.RESTORED, {"complete": True})
    status, lines = verify(ledger)
    assert (status, lines[0]) == (0, f"keys: {sorted([signer(1).key_id, signer(2).key_id])}")


def test_a_process_that_ended_between_record_and_head_broke_nothing(ledger: Path, verify: Verify) -> None:
    written = signed_ledger(ledger)
    chain = ledger / "heads" / f"{CHAIN.path}.json"
    head = chain.read_bytes()
    written.append(CHAIN, Step.UNDO)
    chain.write_bytes(head)  # as if the record alone had been written
    status, lines = verify(ledger)
    assert (status, lines[4]) == (
        0, f"valid    {CHAIN.path}: 7 records, 7 of them signed, the newest 1 not in a head yet"
    )  # fmt: skip
    written.append(CHAIN, Step.UNDONE)  # the next record mends it
    assert verify(ledger)[1][4] == f"valid    {CHAIN.path}: 8 records, 8 of them signed"


def test_what_can_not_be_read_has_its_own_status(tmp_path: Path, ledger: Path, verify: Verify) -> None:
    assert verify(tmp_path / "nowhere")[0] == 2
    (tmp_path / "empty").mkdir()
    assert verify(tmp_path / "empty") == (2, [f"can't be read: {tmp_path / 'empty'}: no ledger is there"])
    (tmp_path / "no.pem").write_text("no key")
    assert verify(ledger, "--key", tmp_path / "no.pem")[0] == 2


def test_numbers_beyond_2_to_the_53_that_were_floats_stay_what_they_were(tmp_path: Path, verify: Verify) -> None:
    signed_ledger(tmp_path).append(CHAIN, Step.APPLIED, {"figures": {"bytes": 1e20, "share": 0.1, "none": -0.0}})
    assert verify(tmp_path)[0] == 0
    data = record(tmp_path, 1).read_bytes()
    assert b'{"bytes":100000000000000000000,"none":0,"share":0.1}' in data
    assert Record.decode(data).encode() == data
