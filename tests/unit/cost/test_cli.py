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
from include.cost.table.store import CostTable
from tests.unit.cost.export_files import RECEIVED, cur_row, focus_row, write_csv


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


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([focus_row(), focus_row()], 0),
        ([focus_row(BillingCurrency="EUR")], 1),
        ([focus_row(BilledCost="?")], 1),
        ([focus_row(EffectiveCost="?")], 1),
        ([focus_row(ListCost="?")], 0),  # no dollar depends on it
        ([focus_row(Tags="?")], 0),
    ],
)
def test_the_exit_status_says_whether_every_dollar_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]], status: int
) -> None:
    path = write_csv(tmp_path / "a.csv", rows)
    assert run(capsys, path)[0] == status
    assert run(capsys, path, "--reconcile")[0] == status


def test_what_cant_be_read_is_counted_by_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "a.csv", [focus_row(Tags="?"), focus_row(Tags="?", ListCost="?")])
    assert json.loads(run(capsys, path, "--json")[1])["unread"] == {"ListCost": 1, "Tags": 1}
    assert "Tags can't be read in 1 rows that count" in run(capsys, path)[1]


def test_reconcile_shows_that_every_dollar_is_somewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write_csv(tmp_path / "old.csv", [focus_row(BilledCost="1.5", ResourceId=name) for name in "ab"])
    new = [focus_row(BilledCost="2", ResourceId="a"), focus_row(BilledCost="50", BillingCurrency="EUR", ResourceId="b")]
    new.append(focus_row(BilledCost="?", ResourceId="c"))
    status, out, _ = run(capsys, old, write_csv(tmp_path / "new.csv", new), "--reconcile")
    assert status == 1
    assert out.splitlines()[-7:] == [
        "files      50.00 EUR, 5.00 USD (5 rows)",
        "kept       2.00 USD (1 rows)",
        "set aside  unknown USD: BilledCost can't be read",
        "set aside  50.00 EUR: currency EUR",
        "set aside  3.00 USD: superseded by a newer export",
        "set aside  4 rows in all",
        "adds up: files = kept + set aside",
    ]
    found = json.loads(run(capsys, old, tmp_path / "new.csv", "--reconcile", "--json")[1])
    assert (found["rows"], found["billed_usd"]) == (1, 2.0)
    assert found["reconcile"] == {
        "adds_up": True,
        "files": {"EUR": 50.0, "USD": 5.0},
        "kept": {"USD": 2.0},
        "difference": {},
        "set_aside": {
            "BilledCost can't be read": {"USD": None},
            "currency EUR": {"EUR": 50.0},
            "superseded by a newer export": {"USD": 3.0},
        },
        "rows": {"files": 5, "kept": 1, "set_aside": 4},
        "left_out": [],
    }


def test_reconcile_of_a_download_that_took_over_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        write_csv(tmp_path / name, [focus_row(BilledCost=usd)]) for name, usd in (("old.csv", "1"), ("new.csv", "2"))
    ]
    assert run(capsys, *files, "--reconcile")[0] == 0


def test_reconcile_names_a_file_that_cant_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.csv").write_bytes(b"")
    status, out, _ = run(capsys, tmp_path / "bad.csv", write_csv(tmp_path / "a.csv", [focus_row()]), "--reconcile")
    assert status == 1
    assert "left out   bad.csv: it can't be read" in out
    assert "DOES NOT ADD UP" in out


def test_covered_usage_and_its_negation_add_up_to_the_files_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (("SavingsPlanCoveredUsage", "0.3333333333"), ("SavingsPlanNegation", "-0.3333333332"), ("Usage", "1"))
    rows = [cur_row(line_item_line_item_type=kind, line_item_unblended_cost=usd) for kind, usd in lines]
    status, out, _ = run(capsys, write_csv(tmp_path / "a.csv", rows), "--reconcile", "--json")
    assert (status, json.loads(out)["reconcile"]["files"]) == (0, {"USD": 1.0})
    assert json.loads(out)["reconcile"]["difference"] == {}


def test_a_word_settles_what_the_files_dont_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"a.csv": (0, 1), "b.csv": (1, 2)}
    files = [write_csv(tmp_path / name, [focus_row(ResourceId=f"i-{n}") for n in own]) for name, own in names.items()]
    status, out, err = run(capsys, *files)
    assert (status, out) == (2, "")
    assert "1 of 2 charges are in both: say --parts if they are one download, or say --later if b.csv takes" in err
    assert json.loads(run(capsys, *files, "--parts", "--json")[1])["rows"] == 4
    assert json.loads(run(capsys, *files, "--later", "--json")[1])["rows"] == 2


def test_json_is_of_the_files_whatever_the_table_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, usd in (("111", "7"), ("222", "3")):
        path = write_csv(tmp_path / f"{name}.csv", [focus_row(SubAccountId=name, BilledCost=usd)])
        out = run(capsys, path, "--into", tmp_path / "table", "--json")[1]
        assert (json.loads(out)["billed_usd"], json.loads(out)["rows"]) == (float(usd), 1)
    facts = CostTable(Folder(tmp_path / "table")).facts("aws", dt.date(2026, 11, 20))
    assert facts is not None
    assert facts.billed_usd == 10


def test_a_file_without_a_currency_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {name: value for name, value in focus_row().items() if name != "BillingCurrency"}
    status, out, err = run(capsys, write_csv(tmp_path / "a.csv", [plain]), "--json")
    assert status == 0
    assert err == "a.csv has no column BillingCurrency: its amounts are taken for USD, the estate's\n"
    assert json.loads(out)["warnings"] == [err.strip()]
