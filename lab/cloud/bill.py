"""The account's bill in the emulator's S3: an AWS Data Export in FOCUS 1.2, made up, the same for a seed and a time.

Node hours, volumes and control planes of every region of the estate stand at list prices (week 13: all on demand).
CloudFront, Lambda@Edge, S3 and Route 53 come to the plan's week 13 over a week, with the shape of its traffic, and
follow what the emulated AWS holds once the export is written again (:func:`refresh`). A few
services belong to no component, one month has tax, one hour a credit. Layout as AWS documents it:
``<prefix>/data/BILLING_PERIOD=YYYY-MM/`` and ``<prefix>/metadata/...``; of the manifest's fields only ``dataFiles`` is
known to be AWS's.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.cost.table.columns import AMOUNT, COLUMNS, MONEY, TIME
from include.estate import Estate, Export, load_estate
from include.prices import HOURS_PER_MONTH, AwsBook, load_aws_book
from lab.cloud import edge_costs
from lab.cloud.bill_line import BillLine, made_up_id
from lab.cloud.edge_costs import WEEK_13, EdgeState
from lab.cloud.notices import ACCOUNT
from lab.service.traffic import hourly_level

if TYPE_CHECKING:
    import pyarrow as pa

DAYS = 35
LAG = dt.timedelta(hours=6)  # the last hours are never billed yet
INVOICED_AFTER = dt.timedelta(days=3)  # the end of a month
NOISE = 0.02  # of a quantity that follows the traffic, to each side
HOUR = dt.timedelta(hours=1)
# AWS's names of regions in usage types; a region that isn't here has none of ours.
METER_PREFIX = {"us-east-1": "", "eu-central-1": "EUC1-", "ap-northeast-1": "APN1-"}
EC2, EKS = "Amazon Elastic Compute Cloud", "Amazon Elastic Kubernetes Service"
CREDIT_USD, TAX_RATE = Decimal("-25"), Decimal("0.05")
# AWS's own columns beside those of FOCUS 1.2.
OWN_COLUMNS = ("x_Operation", "x_ServiceCode")


def lines(estate: Estate, book: AwsBook, edge: EdgeState = WEEK_13) -> list[BillLine]:
    """Everything that the account uses in an hour, while the edge stands as ``edge`` says."""
    found = [line for name in estate.regions for line in _region_lines(estate, book, name)]
    return [*found, *edge_costs.lines(edge), *_unrelated_lines()]


def _region_lines(estate: Estate, book: AwsBook, name: str) -> Iterator[BillLine]:
    region = estate.region(name)
    group, prefix = region.node_group, METER_PREFIX.get(name, "")
    price = book.on_demand(name, group.instance_type)
    if price is None:
        raise ValueError(f"regions.{name}.node_group.instance_type {group.instance_type!r} has no price in the book")
    factor = Decimal(str(region.on_demand_price_factor))
    tags = {"CostCenter": estate.name, "aws:eks:cluster-name": region.cluster}
    yield BillLine(
        *(EKS, "AmazonEKS", "Compute", "Containers", f"{prefix}AmazonEKS-Hours:perCluster", "Hours"),
        *(Decimal("0.10"), Decimal(1)),
        resource=f"arn:aws:eks:{name}:{ACCOUNT}:cluster/{region.cluster}",
        region=name,
        kind="Cluster",
        tags=tags,
    )
    for number in range(group.size):
        where: dict[str, Any] = {"region": name, "zone": f"{name}{'abc'[number % 3]}", "tags": tags}
        yield BillLine(
            *(EC2, "AmazonEC2", "Compute", "Virtual Machines", f"{prefix}BoxUsage:{group.instance_type}", "Hrs"),
            *(price, Decimal(1)),
            resource=made_up_id("i-", name, number),
            kind="Instance",
            details={"InstanceType": group.instance_type, "OperatingSystem": "Linux"},
            **where,
        )
        yield BillLine(
            *(EC2, "AmazonEC2", "Storage", "Block Storage", f"{prefix}EBS:VolumeUsage.gp3", "GB-Mo"),
            *(Decimal("0.08") * factor, Decimal(estate.spot.volume_gib) / HOURS_PER_MONTH),
            resource=made_up_id("vol-", name, number),
            kind="Volume",
            **where,
        )


def _unrelated_lines() -> Iterator[BillLine]:
    """What no component of the estate asks for."""
    usd = {"AmazonCloudWatch": "18", "AWS Key Management Service": "4", "Amazon Simple Queue Service": "1"}
    rest = {
        "AmazonCloudWatch": ("AmazonCloudWatch", "Management and Governance", "Observability", "CW:MetricMonitorUsage"),
        "AWS Key Management Service": ("awskms", "Security", "Security", "KMS-Keys"),
        "Amazon Simple Queue Service": ("AWSQueueService", "Integration", "Messaging", "Requests-Tier1"),
    }
    for service, (code, category, subcategory, meter) in rest.items():
        yield BillLine(
            *(service, code, category, subcategory, meter, "Units"),
            *(Decimal("0.01"), Decimal(usd[service]) / HOURS_PER_MONTH / Decimal("0.01")),
            region="us-east-1",
        )


def weights(estate: Estate, hours: Sequence[dt.datetime]) -> list[float]:
    """Traffic of each hour against the mean of a week."""
    week = [hourly_level(estate.traffic, hour) for hour in range(168)]
    mean = sum(week) / len(week)
    return [hourly_level(estate.traffic, int(hour.timestamp()) // 3600) / mean for hour in hours]


def noise(seed: int, line: BillLine, hour: dt.datetime) -> float:
    """A factor within NOISE of 1 that depends on seed, line and hour only."""
    text = f"{seed}/{line.meter}/{line.resource}/{hour.isoformat()}"
    digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
    return 1 + NOISE * (2 * int.from_bytes(digest, "big") / (2**32 - 1) - 1)


def billed_hours(end: dt.datetime, days: int = DAYS) -> list[dt.datetime]:
    """The hours that an export written at ``end`` (UTC) holds: ``days`` full days and today's, less LAG."""
    begin = dt.datetime.combine(end.date() - dt.timedelta(days=days), dt.time(), dt.UTC)
    count = math.floor((end - LAG - begin) / HOUR)
    return [begin + n * HOUR for n in range(count)]


def newest_day(end: dt.datetime) -> dt.datetime:
    """The beginning of the newest day that an export written at ``end`` (UTC) holds whole."""
    return dt.datetime.combine((end - LAG).date() - dt.timedelta(days=1), dt.time(), dt.UTC)


def period_of(moment: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """The billing period of ``moment``: its calendar month."""
    start = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, (start + dt.timedelta(days=32)).replace(day=1)


def tables(
    estate: Estate, end: dt.datetime, days: int = DAYS, seed: int = 0, edge: EdgeState = WEEK_13
) -> dict[str, pa.Table]:
    """The export's rows by billing period (``2026-11``), as AWS types them.

    Until the newest whole day the edge stood as in week 13, from then on as ``edge`` says.
    """
    import pyarrow as pa

    book, found = load_aws_book(estate), {}
    since = newest_day(end)
    by_period: dict[dt.datetime, list[dt.datetime]] = {}
    for hour in billed_hours(end, days):
        by_period.setdefault(period_of(hour)[0], []).append(hour)
    for start, hours in by_period.items():
        common = _common(start, end)
        parts = [([h for h in hours if h < since], WEEK_13), ([h for h in hours if h >= since], edge)]
        if edge == WEEK_13:
            parts = [(hours, edge)]
        rows = [
            _batch(line, some, weights(estate, some), seed, common)
            for some, state in parts
            if some
            for line in lines(estate, book, state)
        ]
        usage = sum((sum(row["BilledCost"]) for row in rows if isinstance(row["BilledCost"], list)), 0.0)
        rows += [_extra(estate, kind, hours, common, usage) for kind in _extras(start, end, min(by_period))]
        found[f"{start:%Y-%m}"] = pa.concat_tables([_table(row) for row in rows])
    return found


def _extras(start: dt.datetime, end: dt.datetime, first: dt.datetime) -> list[str]:
    """A closed month has its tax; the first month a credit."""
    return [*(["Tax"] if period_of(start)[1] <= end else []), *(["Credit"] if start == first else [])]


def _common(start: dt.datetime, end: dt.datetime) -> dict[str, Any]:
    closes = period_of(start)[1]
    return {
        "BillingAccountId": ACCOUNT,
        "BillingAccountName": "AkiDB lab",
        "BillingAccountType": "Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": start,
        "BillingPeriodEnd": closes,
        "InvoiceId": made_up_id("", start.isoformat())[:10] if closes + INVOICED_AFTER <= end else None,
        "InvoiceIssuerName": "Amazon Web Services, Inc.",
        "ProviderName": "AWS",
        "PublisherName": "Amazon Web Services, Inc.",
        "SubAccountId": ACCOUNT,
        "SubAccountName": "AkiDB lab",
        "SubAccountType": "Account",
    }


Columns = dict[str, Any]  # a list for each hour, or one value for all of them


def _batch(
    line: BillLine, hours: Sequence[dt.datetime], busy: Sequence[float], seed: int, common: Mapping[str, Any]
) -> Columns:
    flat = float(line.quantity)
    quantities = (
        [round(flat * weight * noise(seed, line, hour), 8) for hour, weight in zip(hours, busy, strict=True)]
        if line.busy
        else [flat] * len(hours)
    )
    price = float(line.price)
    costs = [round(quantity * price, 10) for quantity in quantities]
    return {
        **common,
        **_sku(line),
        "AvailabilityZone": line.zone,
        "BilledCost": costs,
        "ChargeCategory": "Usage",
        "ChargeDescription": f"${line.price} per {line.unit} {line.meter}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": list(hours),
        "ChargePeriodEnd": [hour + HOUR for hour in hours],
        "ConsumedQuantity": quantities,
        "ConsumedUnit": line.unit,
        "ContractedCost": costs,
        "ContractedUnitPrice": price,
        "EffectiveCost": costs,
        "ListCost": costs,
        "ListUnitPrice": price,
        "PricingCategory": "Standard",
        "PricingCurrency": "USD",
        "PricingQuantity": quantities,
        "PricingUnit": line.unit,
        "RegionId": line.region,
        "RegionName": line.region,
        "ResourceId": line.resource,
        "ResourceType": line.kind,
    }


def _sku(line: BillLine) -> Columns:
    sku = made_up_id("", line.code, line.meter)[:16].upper()
    return {
        "ServiceCategory": line.category,
        "ServiceName": line.service,
        "ServiceSubcategory": line.subcategory,
        "SkuId": sku,
        "SkuMeter": line.meter,
        "SkuPriceDetails": line.details or None,
        "SkuPriceId": f"{sku}.JRTCKXETXF.6YS6EN2CT7",
        "Tags": line.tags or None,
        "x_Operation": "RunInstances" if line.kind == "Instance" else None,
        "x_ServiceCode": line.code,
    }


def _extra(estate: Estate, kind: str, hours: Sequence[dt.datetime], common: Mapping[str, Any], usage: float) -> Columns:
    """A row of a month's tax, or of a credit for the first hour; both without a resource."""
    usd = float(round(Decimal(usage) * TAX_RATE, 2)) if kind == "Tax" else float(CREDIT_USD)
    ends = common["BillingPeriodEnd"] if kind == "Tax" else hours[0] + HOUR
    costs = {name: [usd] for name in ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")}
    return {
        **common,
        **costs,
        "ChargeCategory": kind,
        "ChargeDescription": f"{kind} of {estate.name}",
        "ChargeFrequency": "One-Time",
        "ChargePeriodStart": [hours[0]],
        "ChargePeriodEnd": [ends],
        "ServiceCategory": "Management and Governance",
        "ServiceName": "AmazonCloudWatch",
        "ServiceSubcategory": "Observability",
        "x_ServiceCode": "AmazonCloudWatch",
    }


def _table(row: Columns) -> pa.Table:
    import pyarrow as pa

    types = _types()
    count = len(row["ChargePeriodStart"])
    made = []
    for name, kind in types.items():
        value = row.get(name)
        if isinstance(value, list):
            made.append(pa.array(value, kind))
        else:
            entries = list(value.items()) if isinstance(value, Mapping) else value
            made.append(pa.nulls(count, kind) if entries is None else pa.repeat(pa.scalar(entries, kind), count))
    return pa.table(dict(zip(types, made, strict=True)))


def _types() -> dict[str, pa.DataType]:
    """Column types as AWS documents them for FOCUS 1.2."""
    import pyarrow as pa

    texts = pa.map_(pa.string(), pa.string())
    kinds = {MONEY: pa.float64(), AMOUNT: pa.float64(), TIME: pa.timestamp("ms", "UTC")}
    named = {"Tags": texts, "SkuPriceDetails": texts}
    columns = [name for name in COLUMNS if not name.startswith("x_")]
    return {name: named.get(name) or kinds.get(COLUMNS.get(name, ""), pa.string()) for name in (*columns, *OWN_COLUMNS)}


def publish(s3: Any, export: Export, estate: Estate, end: dt.datetime) -> list[str]:
    """Create the export's bucket and put data and manifest of each billing period there; returns the data's keys."""
    s3.create_bucket(Bucket=export.bucket)
    return refresh(s3, export, estate, end, WEEK_13)


def refresh(s3: Any, export: Export, estate: Estate, end: dt.datetime, edge: EdgeState) -> list[str]:
    """Write the export again, as AWS does several times a day; returns the data's keys.

    A rehearsal has no day to wait for, so the newest whole day, which the validation reads, is billed as if the edge
    had stood all day as it does now: that day says what a day costs after the change.
    """
    import pyarrow.parquet as pq

    name = export.prefix.rstrip("/").rpartition("/")[2]
    keys = []
    for period, table in tables(estate, end, edge=edge).items():
        data = io.BytesIO()
        pq.write_table(table, data, compression="snappy")
        key = f"{export.prefix}/data/BILLING_PERIOD={period}/{name}-00001.snappy.parquet"
        s3.put_object(Bucket=export.bucket, Key=key, Body=data.getvalue())
        manifest = {
            "executionId": made_up_id("", export.name, end.isoformat()),
            "executionTime": end.isoformat(),
            "dataFiles": [f"s3://{export.bucket}/{key}"],
            "columns": table.column_names,
        }
        where = f"{export.prefix}/metadata/BILLING_PERIOD={period}/{name}-Manifest.json"
        s3.put_object(Bucket=export.bucket, Key=where, Body=json.dumps(manifest, indent=1).encode())
        keys.append(key)
    return keys


def main() -> None:
    """Write the export of a running lab again, as its edge stands now."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--state", type=Path, default=Path(".lab"), help="the lab's folder, which holds state.json")
    state = json.loads((parser.parse_args().state / "state.json").read_text(encoding="utf-8"))
    for key in refresh_of(state["aws_endpoint"], load_estate(), dt.datetime.now(dt.UTC)):
        print(key)


def refresh_of(endpoint: str, estate: Estate, end: dt.datetime) -> list[str]:
    """:func:`refresh` for the emulator at ``endpoint``; the account has one export, further ones would repeat it."""
    clients = edge_costs.clients_at(endpoint)
    edge = edge_costs.read_edge(clients, estate, end)
    s3 = clients("us-east-1", "s3")
    return [key for export in estate.cost.exports[:1] for key in refresh(s3, export, estate, end, edge)]


if __name__ == "__main__":
    main()
