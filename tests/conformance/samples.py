"""A day of each source of the cost table, made from small inputs of the sources' own shapes."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from include.clients.opencost import OpenCost
from include.clients.prometheus import Series
from include.cost.sources.allocation import allocation_partition
from include.cost.sources.contracts import contracts_partition
from include.cost.sources.devices import energy_partition
from include.cost.sources.exports import SourceFile, collect
from include.estate import Estate, load_estate
from lab.cloud import bill

DAY = dt.date(2026, 11, 23)
REAL = Path(__file__).parents[2] / "../shared/data/billing/aws_cur_2018q4.parquet"
RECEIVED = dt.datetime(2026, 11, 24, 6, tzinfo=dt.UTC)


def write_samples(folder: Path) -> dict[str, Path]:
    """Name -> the file of a partition in ``folder``; a name is the source, with what tells its samples apart."""
    estate = load_estate()
    files = {name: folder / f"{name}.parquet" for name in ("contracts", "jetson", "opencost", "kubecost")}
    contracts_partition(estate, DAY, RECEIVED, files["contracts"])
    energy_partition(Devices(estate), estate, DAY, RECEIVED, files["jetson"])  # type: ignore[arg-type]
    for flavour in ("opencost", "kubecost"):
        allocators = {
            name: OpenCost(f"http://{flavour}.{name}", flavour, session=Allocator(name)) for name in estate.regions
        }
        allocation_partition(allocators, estate, DAY, RECEIVED, files[flavour])
    return _aws(estate, folder) | files


def _aws(estate: Estate, folder: Path) -> dict[str, Path]:
    """A day of each layout of AWS's exports; the real one only where the shared data lies beside the project."""
    made = {}
    for name, write, day in (
        ("aws-focus", _write_focus, DAY),
        ("aws-cur2", _write_cur_2, DAY),
        ("aws-cur", _write_cur, DAY),
        ("aws-cur-2018", None, dt.date(2018, 11, 15)),
    ):
        into = folder / name
        into.mkdir()
        path = write(into) if write else REAL
        if path.is_file():
            found = collect([SourceFile(path.name, path, RECEIVED)], estate, [day], into)
            made[name] = found.paths[0]
    return made


def _write_focus(folder: Path) -> Path:
    import pyarrow.parquet as pq

    end = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
    pq.write_table(bill.tables(load_estate(), end, days=2)["2026-11"], folder / "focus.parquet")
    return folder / "focus.parquet"


def _write_cur_2(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    maps = pa.map_(pa.string(), pa.string())
    rows = list(_cur_lines())
    columns = {name: pa.array([row.get(name) for row in rows]) for name in rows[0]}
    product = [[(key, row[f"product_{key}"]) for key in ("region", "sku") if row[f"product_{key}"]] for row in rows]
    columns |= {"product": pa.array(product, maps)}
    columns |= {"resource_tags": pa.array([[("user_cost_center", "akidb")]] * len(rows), maps)}
    columns |= {
        name: pa.array(["AkiDB"] * len(rows)) for name in ("bill_payer_account_name", "line_item_usage_account_name")
    }
    pq.write_table(pa.table(columns), folder / "cur2.parquet")
    return folder / "cur2.parquet"


def _write_cur(folder: Path) -> Path:
    path = folder / "cur.csv"
    rows = [{_in_csv(name): value for name, value in row.items()} for row in _cur_lines()]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {
                name: f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, dt.datetime) else value
                for name, value in row.items()
            }
            for row in rows
        )
    return path


def _in_csv(name: str) -> str:
    """``line_item_usage_type`` -> ``lineItem/UsageType``, as the legacy report heads its columns."""
    for group in ("line_item", "savings_plan", "identity", "bill", "product", "pricing", "reservation"):
        if name.startswith(f"{group}_"):
            head, *rest = group.split("_")
            words = name.removeprefix(f"{group}_").split("_")
            first = head + "".join(word.title() for word in rest)
            if group == "product":
                return f"{first}/{words[0]}{''.join(word.title() for word in words[1:])}"
            return f"{first}/{''.join(word.title() for word in words)}"
    raise ValueError(name)


def _cur_lines() -> Iterator[dict[str, Any]]:
    """One line of each kind: on demand, spot, reserved, under a Savings Plan with its negation, fees, credit, tax."""
    start = dt.datetime(DAY.year, DAY.month, DAY.day, tzinfo=dt.UTC)
    node, volume = "i-0123456789abcdef0", "vol-0123456789abcdef0"
    month = {
        "line_item_usage_start_date": start,
        "line_item_usage_end_date": dt.datetime(2026, 11, 30, 23, 59, 59, tzinfo=dt.UTC),
    }
    arn = "arn:aws:ec2:us-east-1:123456789012:reserved-instances/1"
    plan = "arn:aws:savingsplans::123456789012:savingsplan/1"
    ec2, box = "AmazonEC2", "BoxUsage:c7g.2xlarge"
    yield _line("Usage", ec2, box, 1.0, 0.29, 0.29, "Hrs", node)
    yield _line("Usage", ec2, "SpotUsage:c7g.2xlarge", 1.0, 0.0899, 0.29, "Hrs", node)
    yield _line("Usage", ec2, "EBS:VolumeUsage.gp3", 0.0685, 0.00548, 0.08, "GB-Mo", volume)
    yield _line("Usage", "AmazonS3", "TimedStorage-ByteHrs", 8.2, 0.1886, 0.023, "GB-Mo", "akidb-ml-models")
    yield _line("DiscountedUsage", ec2, box, 1.0, 0.0, 0.29, "Hrs", node) | {
        "reservation_effective_cost": 0.18,
        "reservation_reservation_a_r_n": arn,
    }
    yield _line("SavingsPlanCoveredUsage", ec2, box, 1.0, 0.29, 0.29, "Hrs", node) | {
        "savings_plan_savings_plan_effective_cost": 0.21,
        "savings_plan_savings_plan_a_r_n": plan,
    }
    yield _line("SavingsPlanNegation", ec2, box, 1.0, -0.29, None, None, node) | {
        "savings_plan_savings_plan_a_r_n": plan
    }
    yield (
        _line("RIFee", ec2, "HeavyUsage:c7g.2xlarge", 192.0, 34.56, None, "Hrs", None)
        | month
        | {
            "reservation_reservation_a_r_n": arn,
            "reservation_unused_recurring_fee": 1.25,
        }
    )
    yield _line(
        "SavingsPlanRecurringFee", "ComputeSavingsPlans", "ComputeSP:1yrNoUpfront", 1.0, 0.5, None, "Hrs", None
    ) | {
        "savings_plan_savings_plan_a_r_n": plan,
        "savings_plan_total_commitment_to_date": 0.5,
        "savings_plan_used_commitment": 0.5,
    }
    yield _line("Credit", ec2, box, None, -5.0, None, None, None)
    yield _line("Tax", ec2, "", None, 1.75, None, None, None) | month


def _line(
    kind: str,
    code: str,
    meter: str,
    amount: float | None,
    cost: float,
    rate: float | None,
    unit: str | None,
    resource: str | None,
) -> dict[str, Any]:
    start = dt.datetime(DAY.year, DAY.month, DAY.day, 5, tzinfo=dt.UTC)
    optional = dict.fromkeys(
        (
            "reservation_effective_cost",
            "reservation_reservation_a_r_n",
            "reservation_unused_recurring_fee",
            "savings_plan_savings_plan_effective_cost",
            "savings_plan_savings_plan_a_r_n",
            "savings_plan_total_commitment_to_date",
            "savings_plan_used_commitment",
        )
    )
    return {
        "identity_line_item_id": f"{kind}-{meter}",
        "bill_invoice_id": "1234567890",
        "bill_invoicing_entity": "Amazon Web Services, Inc.",
        "bill_payer_account_id": "123456789012",
        "bill_billing_period_start_date": dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        "bill_billing_period_end_date": dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        "line_item_usage_account_id": "123456789012",
        "line_item_line_item_type": kind,
        "line_item_usage_start_date": start,
        "line_item_usage_end_date": start + dt.timedelta(hours=1),
        "line_item_product_code": code,
        "line_item_usage_type": meter,
        "line_item_operation": "RunInstances" if code == "AmazonEC2" else "",
        "line_item_availability_zone": "us-east-1a" if resource and code == "AmazonEC2" else None,
        "line_item_resource_id": resource,
        "line_item_usage_amount": amount,
        "line_item_currency_code": "USD",
        "line_item_unblended_cost": cost,
        "line_item_legal_entity": "Amazon Web Services, Inc.",
        "line_item_line_item_description": f"{kind} of {meter or code}",
        "product_region": "us-east-1",
        "product_sku": None if kind == "Tax" else "ABCDEF0123456789",
        "pricing_rate_code": None if rate is None else "ABCDEF0123456789.JRTCKXETXF.6YS6EN2CT7",
        "pricing_currency": "USD",
        "pricing_public_on_demand_cost": None if rate is None or amount is None else round(rate * amount, 10),
        "pricing_public_on_demand_rate": rate,
        "pricing_unit": unit,
        **optional,
    }


class Devices:
    """A Prometheus that holds a value a minute of each device."""

    def __init__(self, estate: Estate) -> None:
        self._count = estate.cost.devices.count

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        times = [start + step * place for place in range(int((end - start) / step) + 1)]
        names = (f"jetson{number:02d}" for number in range(1, self._count + 1))
        return [Series({"device": name}, tuple((at, 12.5) for at in times)) for name in names]


class Allocator:
    """The HTTP side of an allocator with two workloads and idle capacity in each hour."""

    def __init__(self, region: str) -> None:
        self._cluster = f"akidb-{region}"

    def get(self, url: str, params: dict[str, str], **_: Any) -> Any:
        start = dt.datetime.fromisoformat(params["window"].partition(",")[0].replace("Z", "+00:00"))
        hours = [start + dt.timedelta(hours=hour) for hour in range(24)]
        return SimpleNamespace(status_code=200, text=json.dumps({"code": 200, "data": [self._set(h) for h in hours]}))

    def _set(self, start: dt.datetime) -> dict[str, Any]:
        end = start + dt.timedelta(hours=1)
        names = {
            f"{self._cluster}/akidb/deployment/akidb-rest": ("akidb", "deployment", "akidb-rest", 0.81, 15.0),
            f"{self._cluster}/akidb/deployment/akidb-grpc": ("akidb", "deployment", "akidb-grpc", 0.79, 15.0),
            f"{self._cluster}/__idle__": (None, None, None, 0.13, 2.5),
        }
        return {name: self._allocation(name, start, end, *values) for name, values in names.items()}

    def _allocation(
        self,
        name: str,
        start: dt.datetime,
        end: dt.datetime,
        namespace: str | None,
        kind: str | None,
        controller: str | None,
        cost: float,
        core_hours: float,
    ) -> dict[str, Any]:
        window = {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        own = {"namespace": namespace, "controllerKind": kind, "controller": controller}
        return {
            "name": name,
            "properties": {"cluster": self._cluster} | {key: value for key, value in own.items() if value},
            "window": window,
            **window,
            "minutes": 60.0,
            "cpuCoreHours": core_hours,
            "cpuCost": cost,
            "totalCost": cost,
        }
