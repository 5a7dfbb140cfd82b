"""Small exports for tests, in each layout, and what collecting them gives."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.cost.sources.exports import Collected, SourceFile, collect
from include.estate import Estate, load_estate

RECEIVED = dt.datetime(2026, 11, 25, 6, tzinfo=dt.UTC)
ESTATE = load_estate()


def focus_row(**changed: Any) -> dict[str, Any]:
    """One FOCUS line of an hour of a spot machine."""
    return {
        "BilledCost": "0.10",
        "BillingAccountId": "111111111111",
        "BillingCurrency": "USD",
        "BillingPeriodStart": "2026-11-01T00:00:00Z",
        "BillingPeriodEnd": "2026-12-01T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-11-20T10:00:00Z",
        "ChargePeriodEnd": "2026-11-20T11:00:00Z",
        "EffectiveCost": "0.10",
        "InvoiceId": "",
        "ListCost": "0.29",
        "PricingCategory": "Dynamic",
        "RegionId": "us-east-1",
        "ResourceId": "i-1",
        "ServiceCategory": "Compute",
        "ServiceName": "Amazon Elastic Compute Cloud",
        "SkuMeter": "SpotUsage:c7g.2xlarge",
        "SubAccountId": "222222222222",
        "Tags": '{"user:b": "2", "aws:a": "1"}',
    } | changed


def cur_row(**changed: Any) -> dict[str, Any]:
    """One CUR line (snake case) of an hour of a machine on demand."""
    return {
        "bill_billing_period_start_date": "2026-11-01T00:00:00Z",
        "bill_payer_account_id": "111111111111",
        "line_item_usage_account_id": "222222222222",
        "line_item_line_item_type": "Usage",
        "line_item_usage_start_date": "2026-11-20T10:00:00Z",
        "line_item_usage_end_date": "2026-11-20T11:00:00Z",
        "line_item_product_code": "AmazonEC2",
        "line_item_usage_type": "EUC1-BoxUsage:c7g.2xlarge",
        "line_item_operation": "RunInstances",
        "line_item_resource_id": "i-1",
        "line_item_usage_amount": "1",
        "line_item_currency_code": "USD",
        "line_item_unblended_cost": "0.3451",
        "pricing_public_on_demand_cost": "0.3451",
        "pricing_unit": "Hrs",
    } | changed


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The rows as CSV, gzipped when the name says so."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_parquet(
    path: Path, rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType] | None = None
) -> Path:
    """The rows as Parquet; ``types`` of columns that aren't text."""
    schema = pa.schema([(name, (types or {}).get(name, pa.string())) for name in rows[0]])
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), path)
    return path


def source(path: Path, **changed: Any) -> SourceFile:
    """The file as a source; without a delivery it is one that a person named."""
    return SourceFile(**{"key": path.name, "path": path, "received": RECEIVED} | changed)


def collected(folder: Path, *files: Path | SourceFile, estate: Estate = ESTATE, **options: Any) -> Collected:
    """What the files give, with the partitions in ``folder / "out"``."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    sources = [file if isinstance(file, SourceFile) else source(file) for file in files]
    return collect(sources, estate, options.pop("days", None), out, **options)


def table(made: Collected, *columns: str) -> list[tuple[Any, ...]]:
    """The rows of the partitions by source row."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        files = [str(path) for path in made.paths]
        order = "ORDER BY ChargePeriodStart, x_SourceFile, x_SourceRow"
        return connection.execute(f"SELECT {', '.join(columns)} FROM read_parquet(?) {order}", [files]).fetchall()


def aside(made: Collected, *columns: str) -> list[tuple[Any, ...]]:
    """The rows that were set aside."""
    with duckdb.connect() as connection:
        files = [str(path) for _, path in made.aside_files]
        sql = f"SELECT {', '.join(columns)} FROM read_parquet(?) ORDER BY x_SourceFile, x_SourceRow"
        return connection.execute(sql, [files]).fetchall()
