"""The command line: JSON, text, exit status, and what is kept."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import pytest

from include.clients.storage import Folder
from include.cost.__main__ import main
from include.cost.store import CostTable
from tests.unit.cost.export_files import RECEIVED, focus_row, write_csv


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    status = main(["ingest", *map(str, arguments)])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_json_of_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        focus_row(BilledCost="0.12345678"),
        focus_row(ServiceName="AWS Glue", BilledCost="2"),
        focus_row(ServiceName="AWS Glue", BilledCost="2"),
        focus_row(BillingCurrency="EUR"),
        focus_row(ChargePeriodStart="2026-11-21T10:00:00Z", ChargePeriodEnd="2026-11-21T11:00:00Z", BilledCost="-0.1"),
    ]
    status, out, err = run(capsys, write_csv(tmp_path / "a.csv", rows), "--json")
    assert (status, err) == (1, "")  # the euros count nowhere
    assert json.loads(out) == {
        "rows": 4,
        "rows_set_aside": 1,
        "billed_usd": 4.02345678,
        "days": 2,
        "first_day": "2026-11-20",
        "last_day": "2026-11-21",
        "components": {"central_dc": 0.02345678},
        "unallocated_usd": 4.0,
        "set_aside": {"currency EUR": 1},
        "set_aside_amounts": {"currency EUR": {"EUR": 0.1}},
        "unread": {},
        "files_set_aside": {},
        "missing_hours": {},
        "warnings": [],
    }


def test_a_table_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [focus_row(BilledCost="1234.5"), focus_row(BillingCurrency="EUR")]
    status, out, _ = run(capsys, write_csv(tmp_path / "a.csv", rows))
    assert status == 1
    assert out.splitlines() == [
        "1 rows of 1 days (2026-11-20 to 2026-11-20), 1 set aside",
        "  central_dc                                     1,234.50 USD",
        "  unallocated                                        0.00 USD",
        "  total                                          1,234.50 USD",
        "set aside: 1 rows, 0.10 EUR, currency EUR",
    ]


def test_an_unreadable_file_beside_a_good_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    good = write_csv(tmp_path / "a.csv", [focus_row()])
    status, out, err = run(capsys, tmp_path / "bad.parquet", good, "--json")
    assert status == 1
    assert json.loads(out)["rows"] == 1
    assert err.startswith("bad.parquet can't be read (")
    assert json.loads(out)["files_set_aside"] == {"bad.parquet": err.strip()}


def test_only_an_unreadable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.csv").write_bytes(b"")
    status, out, _ = run(capsys, tmp_path / "bad.csv", "--json")
    assert (status, json.loads(out)["rows"], json.loads(out)["first_day"]) == (1, 0, None)


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, tmp_path / "none.csv")[::2] == (2, f"{tmp_path}/none.csv is no file: correct the path\n")
    good = write_csv(tmp_path / "a.csv", [focus_row()])
    estate = tmp_path / "estate.yaml"
    estate.write_text("name: [")
    status, _, err = run(capsys, good, "--estate", estate)
    assert status == 2
    assert err.startswith("estate.yaml is not valid YAML")
    with pytest.raises(SystemExit) as caught:
        main(["ingest"])
    assert caught.value.code == 2


def test_into_a_folder_and_the_time_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "a.csv", [focus_row()])
    os.utime(path, (RECEIVED.timestamp(), RECEIVED.timestamp()))
    assert run(capsys, path, "--into", tmp_path / "table")[0] == 0
    facts = CostTable(Folder(tmp_path / "table")).facts("aws", dt.date(2026, 11, 20))
    assert facts is not None
    assert (facts.rows, facts.received, facts.inputs) == (1, RECEIVED, ("a.csv",))


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for folder, resource in (("x", "i-1"), ("y", "i-2")):
        (tmp_path / folder).mkdir()
        paths.append(write_csv(tmp_path / folder / "a.csv", [focus_row(ResourceId=resource)]))
    run(capsys, *paths, "--into", tmp_path / "table")
    facts = CostTable(Folder(tmp_path / "table")).facts("aws", dt.date(2026, 11, 20))
    assert facts is not None
    assert facts.inputs == tuple(map(str, paths))
