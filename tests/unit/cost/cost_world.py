"""A small cost table for the tests of reports: every component of the estate, some of it by region and capacity."""

from __future__ import annotations

import atexit
import dataclasses
import datetime as dt
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from include.clients.storage import Folder
from include.cost.table.partition import billing_period, day_start, write_partition
from include.cost.table.store import CostTable, Facts

DAY = dt.date(2026, 11, 18)  # a Wednesday
# Dollars of a day: service -> (meter, region, resource, capacity, dollars).
AWS: tuple[tuple[str, str, str | None, str, str | None, str], ...] = (
    ("Amazon Elastic Compute Cloud", "BoxUsage:c7g.2xlarge", "us-east-1", "i-1", "on_demand", "20"),
    ("Amazon Elastic Compute Cloud", "SpotUsage:c7g.2xlarge", "us-east-1", "i-2", "spot", "6"),
    ("Amazon Elastic Compute Cloud", "EUC1-SpotUsage:c7g.2xlarge", "eu-central-1", "i-3", "spot", "7"),
    ("Amazon Elastic Kubernetes Service", "AmazonEKS-Hours:perCluster", "us-east-1", "akidb-us-east-1", None, "2.40"),
    ("Amazon CloudFront", "DataTransfer-Out", None, "E1", None, "13.50"),
    ("AWS Lambda", "Lambda-Edge-GB-Second", None, "akidb-edge-inference", None, "11"),
    ("Amazon Simple Storage Service", "TimedStorage-ByteHrs", "us-east-1", "akidb-ml-models", None, "3.90"),
    ("Amazon Route 53", "Health-Check", None, "hc-1", None, "2.50"),
    ("AWS Key Management Service", "Requests", "us-east-1", "key-1", None, "0.30"),
)


def received(day: dt.date, hours: int = 30) -> dt.datetime:
    """So many hours after the day has begun."""
    return day_start(day) + dt.timedelta(hours=hours)


def aws_row(
    day: dt.date,
    place: int,
    service: str,
    meter: str,
    region: str | None,
    resource: str,
    capacity: str | None,
    usd: str,
) -> dict[str, Any]:
    row = {
        **billing_period(day),
        "BilledCost": Decimal(usd),
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": day_start(day),
        "ChargePeriodEnd": day_start(day) + dt.timedelta(hours=24),
        "EffectiveCost": Decimal(usd),
        "RegionId": region,
        "ResourceId": resource,
        "ServiceName": service,
        "SkuMeter": meter,
        "x_CapacityType": capacity,
        "x_SourceFile": "test.csv",
        "x_SourceRow": place,
    }
    return row | ({"ConsumedQuantity": Decimal(24), "ConsumedUnit": "Hours"} if capacity else {})


def aws_rows(day: dt.date, factor: str = "1", **changed: str) -> list[dict[str, Any]]:
    """The rows of a day times ``factor``; ``changed`` is a resource (with _ for -) -> dollars."""
    rows = []
    for place, (*what, usd) in enumerate(AWS, 1):
        amount = changed.get(str(what[3]).replace("-", "_"), str(Decimal(usd) * Decimal(factor)))
        rows.append(aws_row(day, place, *what, amount))  # type: ignore[arg-type]
    return rows


def put(table: CostTable, source: str, day: dt.date, rows: Sequence[Mapping[str, Any]], **facts: Any) -> Facts:
    """Put a partition into the table."""
    about = Facts(source, day, 0, Decimal(0), 0, received(day), ("test.csv",))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        write_partition(rows, dataclasses.replace(about, **facts), path)
        return table.replace(path)


def other_rows(day: dt.date, **usd: str) -> list[dict[str, Any]]:
    """Rows of the sources that are no provider's: resource -> dollars."""
    return [
        aws_row(day, place, name, "", None, name, None, amount) | {"SkuMeter": None}
        for place, (name, amount) in enumerate(usd.items(), 1)
    ]


def put_day(table: CostTable, day: dt.date, factor: str = "1", jetson: bool = True, **changed: str) -> None:
    """All bill sources of a day: 66.60 of AWS, 1.20 + 20.40 of contracts, 0.30 of jetson."""
    put(table, "aws", day, aws_rows(day, factor, **changed))
    contracts = other_rows(day, monitoring="1.20", cost_platform="20.40")
    contracts[1]["ResourceId"] = "cost-platform"
    put(table, "contracts", day, contracts, received=day_start(day) + dt.timedelta(days=1))
    if jetson:
        put(table, "jetson", day, other_rows(day, jetson01="0.30"), received=day_start(day) + dt.timedelta(days=1))


def table_in(folder: Path, days: int = 0) -> CostTable:
    """A table with ``days`` days before DAY and the day itself; a copy, since many tests begin with the same one."""
    shutil.copytree(_template(days), folder, dirs_exist_ok=True)
    return CostTable(Folder(folder))


@cache
def _template(days: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="akidb-table-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    table = CostTable(Folder(folder))
    for back in range(days, -1, -1):
        put_day(table, DAY - dt.timedelta(days=back))
    return folder
