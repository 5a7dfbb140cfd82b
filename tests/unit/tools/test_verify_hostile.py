"""The verifier against files that are made to mislead it: a line for each, and never a word that is too good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from include.clients.storage import Folder
from include.rollout.ledger import Chain, Ledger, Signer, Step, digest
from tests.unit.rollout.ledger_world import CHAIN, Clock
from tests.unit.rollout.signed_world import promoted, signed_ledger, signer
from tools import verify_ledger

EVIL = Chain("spot_capacity", "estate", "evil", "r")
REPORT = "reports/evil--r.json"


def states(folder: Path) -> dict[str, str]:
    found = verify_ledger.Ledger(folder, [])
    found.verify("0:")
    return dict(found.states)


def written(folder: Path) -> Path:
    promoted(signed_ledger(folder))
    return folder


def reported(folder: Path, by: Signer | None) -> None:
    """A report of one figure, on record with the record that it is computed from; ``by`` None: nobody signs them."""
    ledger = Ledger(Folder(folder), Clock(), by)
    first = ledger.append(EVIL, Step.MEASURED, {"usd": 99})
    figure: dict[str, Any] = {
        "figure": "saving", "value": 99, "rule": "value", "at": ["figures", "usd"],
        "records": [[first.address, digest(first.encode())]],
    }  # fmt: skip
    data: bytes = rfc8785.dumps({"figures": [figure]})
    ledger.append(EVIL, Step.REPORTED, {"report": REPORT, "sha256": digest(data)})
    ledger.put_beside(REPORT, data)


def test_a_report_of_records_that_nobody_signed_is_never_valid(tmp_path: Path) -> None:
    reported(written(tmp_path), None)
    assert states(tmp_path) == {
        "index": "valid", CHAIN.path: "valid", EVIL.path: "unsigned", REPORT: "unsigned",
    }  # fmt: skip


def test_a_report_that_is_on_record_and_gone_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reported(written(tmp_path), signer())
    assert set(states(tmp_path).values()) == {"valid"}
    (tmp_path / REPORT).unlink()
    assert states(tmp_path)[REPORT] == "broken"
    assert f"broken   {REPORT}: {REPORT}: is missing" in capsys.readouterr().out


def test_a_report_under_the_name_of_another_is_not_on_record(tmp_path: Path) -> None:
    reported(written(tmp_path), signer())
    shutil.copy(tmp_path / REPORT, tmp_path / "reports" / "day1_spot--r.json")
    assert states(tmp_path)["reports/day1_spot--r.json"] == "broken"


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nothing")


@pytest.mark.parametrize(
    "spoil",
    [
        folder_instead,
        link_to_nothing,
        lambda path: path.write_bytes(b"[" * 200_000),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b"slot", b"sl\xfft")),
        lambda path: path.write_bytes(path.read_bytes().replace(b'{"dag_id"', b'{"step":"plan","dag_id"', 1)),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: path.write_bytes(b'{"run_id":' + b"9" * 5000 + b"}"),
    ],
    ids=["folder", "dangling link", "deep", "empty", "no UTF-8", "a key twice", "a blank at its end", "a long number"],
)
def test_a_record_that_can_not_be_read_is_the_first_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object]
) -> None:
    spoil(written(tmp_path) / CHAIN.path / "000003.json")
    assert states(tmp_path) == {"index": "valid", CHAIN.path: "broken"}
    assert f"broken   {CHAIN.path}: {CHAIN.path}/000003.json: " in capsys.readouterr().out


def test_a_folders_name_writes_no_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = written(tmp_path) / "x" / "y" / "z\nvalid    all of it: 9 records, 9 of them signed"
    evil.mkdir(parents=True)
    (evil / "000001.json").write_text("{}")
    states(tmp_path)
    assert [line[:16] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "valid    index: ", "valid    spot_ca", "broken   x/y/z?v",
    ]  # fmt: skip


def test_chains_and_heads_that_are_gone_are_missed_by_the_index_alone(tmp_path: Path) -> None:
    written(tmp_path)
    shutil.rmtree(tmp_path / "spot_capacity")
    shutil.rmtree(tmp_path / "heads")
    assert states(tmp_path) == {"index": "valid", CHAIN.path: "broken"}
