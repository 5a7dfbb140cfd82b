"""The cost table: partitions replaced whole, facts inside, history kept, batches set aside; in a folder and in S3."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from include.clients.storage import S3, Folder
from include.cost.table.columns import CostError
from include.cost.table.partition import write_partition
from include.cost.table.store import Aside, CostTable, Facts, Reach, facts_of
from tests.unit.cost.export_files import collected, focus_row, write_csv

DAY = dt.date(2026, 11, 20)
AT = dt.datetime(2026, 11, 21, 6, tzinfo=dt.UTC)
FACTS = Facts(
    "contracts", DAY, 0, Decimal(0), 2, AT, ("estate.yaml",), invoiced=True, missing_hours=(3, 4), content="ab",
    aside=(
        Aside("s3", "currency EUR", 2, "EUR", Decimal("50.10"), "AWS/1/2/2026-11-01"),
        Aside("s3", "BilledCost can't be read", 1, "USD", None, "AWS/1/2/2026-11-01"),
    ),
)  # fmt: skip


@pytest.fixture(params=["folder", "s3"])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CostTable]:
    if request.param == "folder":
        yield CostTable(Folder(tmp_path / "table"))
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="costs")
        yield CostTable(S3(client, "costs", "akidb"))


def partition(path: Path, usd: str = "1", **changed: object) -> Path:
    facts = dataclasses.replace(FACTS, **changed)  # type: ignore[arg-type]
    start = dt.datetime(facts.day.year, facts.day.month, facts.day.day, tzinfo=dt.UTC)
    row = {"ChargePeriodStart": start, "BilledCost": Decimal(usd), "x_SourceFile": "estate.yaml", "x_SourceRow": 1}
    write_partition([row], facts, path)
    return path


def test_facts_survive_json() -> None:
    assert Facts.from_json(FACTS.to_json()) == FACTS


def test_facts_of_an_older_release_have_nothing_aside() -> None:
    raw = {name: value for name, value in FACTS.to_json().items() if name != "aside"}
    assert Facts.from_json(raw) == dataclasses.replace(FACTS, aside=())


def test_what_is_aside_in_words() -> None:
    assert list(map(str, FACTS.aside)) == [
        "2 row(s), 50.10 EUR: currency EUR", "1 row(s), amount unknown: BilledCost can't be read",
    ]  # fmt: skip


def test_the_days_that_a_file_corrects_are_remembered_until_it_is_received_anew(table: CostTable) -> None:
    assert table.reach("aws", "bill/a.csv") is None
    reach = Reach(AT, (DAY - dt.timedelta(days=1), DAY), (DAY + dt.timedelta(days=1),))
    table.keep_reach("aws", "bill/a.csv", reach)
    assert table.reach("aws", "bill/a.csv") == reach
    assert table.reach("aws", "bill/b.csv") is None


def test_a_partition_is_found_by_source_and_day(table: CostTable, tmp_path: Path) -> None:
    facts = table.replace(partition(tmp_path / "p.parquet", "1.50"))
    assert facts.billed_usd == Decimal("1.50")
    assert table.facts("contracts", DAY) == facts
    assert table.days("contracts") == [DAY]
    assert table.facts("contracts", DAY + dt.timedelta(days=1)) is None
    assert table.days("aws") == []


def test_the_last_one_stands_and_every_one_is_in_history(table: CostTable, tmp_path: Path) -> None:
    for usd, hours in (("1", 0), ("2", 24), ("2", 24)):
        table.replace(partition(tmp_path / "p.parquet", usd, received=AT + dt.timedelta(hours=hours)))
    facts = table.facts("contracts", DAY)
    assert facts is not None
    assert facts.billed_usd == 2
    assert [past.billed_usd for past in table.history("contracts", DAY)] == [1, 2]


def test_two_exports_that_agree_are_two_records_of_equal_content(table: CostTable, tmp_path: Path) -> None:
    for hours in (0, 24):
        table.replace(partition(tmp_path / "p.parquet", received=AT + dt.timedelta(hours=hours)))
    first, second = table.history("contracts", DAY)
    assert (first.content == second.content, first.received < second.received) == (True, True)


def test_removed_it_is_gone_and_its_history_stays(table: CostTable, tmp_path: Path) -> None:
    table.replace(partition(tmp_path / "p.parquet"))
    table.remove("contracts", DAY)
    table.remove("contracts", DAY)
    assert (table.facts("contracts", DAY), table.days("contracts")) == (None, [])
    assert len(table.history("contracts", DAY)) == 1


def test_files_of_days_and_sources(table: CostTable, tmp_path: Path) -> None:
    next_day = DAY + dt.timedelta(days=1)
    for day in (next_day, DAY):
        table.replace(partition(tmp_path / "p.parquet", day=day))
    table.replace(collected(tmp_path, write_csv(tmp_path / "a.csv", [focus_row()])).paths[0])
    with table.files([next_day, DAY]) as paths:
        found = [(facts_of(path).source, facts_of(path).day) for path in paths]
    assert found == [("aws", DAY), ("contracts", DAY), ("contracts", next_day)]
    with table.files([DAY], ["contracts"]) as paths:
        assert len(paths) == 1


def test_a_batch_set_aside_twice_is_kept_once(table: CostTable, tmp_path: Path) -> None:
    rows = partition(tmp_path / "p.parquet")
    for _ in range(2):
        key = table.set_aside("aws", "currency EUR/1", "currency EUR", rows)
    assert key == "aside/source=aws/currency-EUR-1"
    table.set_aside("aws", "bad.csv", "bad.csv is empty")
    assert table.aside("aws") == {"aside/source=aws/bad.csv": "bad.csv is empty", key: "currency EUR"}
    assert table.storage.read(f"{key}.parquet") == rows.read_bytes()
    assert table.aside("jetson") == {}


def test_an_unknown_source_is_refused(table: CostTable, tmp_path: Path) -> None:
    with pytest.raises(CostError, match="source 'azure' is not known: use one of aws, jetson"):
        table.replace(partition(tmp_path / "p.parquet", source="azure"))
    with pytest.raises(CostError, match="'azure'"):
        table.days("azure")
    assert table.storage.keys() == []


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_partition_cut_short_is_never_put(table: CostTable, tmp_path: Path, share: float) -> None:
    path = partition(tmp_path / "p.parquet")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CostError, match=r"p\.parquet is no partition of the cost table .* ingest its day again"):
        table.replace(path)
    assert table.storage.keys() == []


def test_parquet_without_facts_is_no_partition(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "p.parquet")
    with pytest.raises(CostError, match="is no partition"):
        facts_of(tmp_path / "p.parquet")
