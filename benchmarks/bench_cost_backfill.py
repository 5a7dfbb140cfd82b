"""A backfill of 90 days of cost reports: the 90 computations alone, and all of it through Airflow.

``python -m benchmarks.bench_cost_backfill`` makes a cost table of 90 days (hourly rows, and two months before), reports
each day without Airflow, deletes the reports and lets `airflow backfill create` make them again on an Airflow of its
own (LocalExecutor, SQLite): both must give the same bytes. Writes benchmarks/results/cost_backfill.json.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench_lab_boot import machine
from include.clients.storage import Folder
from include.cost.report.publish import due_again, report_day
from include.cost.sources.contracts import contracts_partition
from include.cost.sources.refresh import SourceClients, admit, end_of, gather
from include.cost.sources.requests import count_day
from include.cost.table.partition import billing_period, day_start, write_partition
from include.cost.table.store import CostTable, Facts
from include.estate import ESTATE_FILE, Estate, load_estate
from include.wiring.connections import SettingMissingError
from lab.rehearsal.airflow import Airflow

RESULTS = Path(__file__).parent / "results"
DAYS = int(os.environ.get("DAYS", "90"))
LAST = dt.date(2026, 10, 31)
ACTIVE_RUNS = 6
TIMEOUT_SECONDS = 2 * 3600
# Service, meter, region, dollars an hour, resources.
LINES = (
    ("Amazon Elastic Compute Cloud", "BoxUsage:c7g.2xlarge", "us-east-1", "0.29", 5),
    ("Amazon Elastic Compute Cloud", "EUC1-BoxUsage:c7g.2xlarge", "eu-central-1", "0.3451", 5),
    ("Amazon Elastic Compute Cloud", "APN1-BoxUsage:c7g.2xlarge", "ap-northeast-1", "0.3683", 5),
    ("Amazon Elastic Kubernetes Service", "AmazonEKS-Hours:perCluster", "us-east-1", "0.10", 3),
    ("Amazon CloudFront", "DataTransfer-Out-Bytes", "", "0.82", 1),
    ("AWS Lambda", "Lambda-Edge-GB-Second", "", "0.57", 1),
    ("Amazon Simple Storage Service", "TimedStorage-ByteHrs", "us-east-1", "0.20", 1),
    ("Amazon Route 53", "Health-Check-AWS", "", "0.13", 1),
    ("AWS Key Management Service", "Requests", "us-east-1", "0.01", 1),
)


def aws_rows(day: dt.date) -> list[dict[str, Any]]:
    """A row an hour and resource, weekends cheaper, with a little noise from a seed."""
    noise = random.Random(str(day))
    level = Decimal("0.7") if day.weekday() >= 5 else Decimal(1)
    rows: list[dict[str, Any]] = []
    for service, meter, region, usd, count in LINES:
        for resource in range(count):
            for hour in range(24):
                cost = Decimal(usd) * level * Decimal(round(noise.uniform(0.97, 1.03), 4))
                start = day_start(day) + dt.timedelta(hours=hour)
                rows.append(
                    {
                        **billing_period(day),
                        "BilledCost": cost,
                        "BillingCurrency": "USD",
                        "ChargeCategory": "Usage",
                        "ChargePeriodStart": start,
                        "ChargePeriodEnd": start + dt.timedelta(hours=1),
                        "ConsumedQuantity": Decimal(1),
                        "ConsumedUnit": "Hours",
                        "EffectiveCost": cost,
                        "RegionId": region or None,
                        "ResourceId": f"{meter}-{resource}",
                        "ServiceName": service,
                        "SkuMeter": meter,
                        "x_CapacityType": "on_demand" if "BoxUsage" in meter else None,
                        "x_SourceFile": "benchmark",
                        "x_SourceRow": len(rows) + 1,
                    }
                )
    return rows


def fill(table: CostTable, estate: Estate, days: list[dt.date]) -> int:
    """Put the bill and the contracts of each day into the table; returns the number of rows."""
    rows = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        for day in days:
            about = Facts("aws", day, 0, Decimal(0), 0, end_of(day) + dt.timedelta(hours=6), ("benchmark",))
            rows += write_partition(aws_rows(day), about, path).rows
            table.replace(path)
            facts = contracts_partition(estate, day, end_of(day), path)
            if facts:
                rows += facts.rows
                table.replace(path)
    return rows


def estate_file(folder: Path) -> Path:
    """The estate without exports: the table is filled already."""
    raw = yaml.safe_load(ESTATE_FILE.read_text(encoding="utf-8"))
    raw["cost"]["exports"] = []
    path = folder / "estate.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return path


def away(_: str) -> Any:
    """No connection of this benchmark exists."""
    raise SettingMissingError("not there")


def compute(table: CostTable, estate: Estate, day: dt.date) -> None:
    """What the tasks of one run do."""
    now = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    found = gather(table, day, estate, SourceClients(away, away, dict), f"bench-{day}", now)
    admit(table, found.staged, estate)
    count_day(table.storage, day, estate, away, now)
    report_day(table, day, estate)
    for one in due_again(table, day, estate):
        report_day(table, one, estate)


def digest(storage: Folder, days: list[dt.date]) -> dict[str, str]:
    """SHA-256 of every file of the days' reports, but the pointers (the scheduler reports yesterday as well)."""
    keys = [key for day in days for key in storage.keys(f"reports/day={day}/") if not key.endswith("current.json")]
    return {key: hashlib.sha256(storage.read(key)).hexdigest() for key in keys}


class Private(Airflow):
    """An Airflow that knows this DAG only, without catch-up: hardly anything but the backfill shall run."""

    def __init__(self, folder: Path, days: tuple[dt.date, dt.date]) -> None:
        super().__init__(folder)
        self.days = days
        self.create_seconds = 0.0

    def _write_files(self, port: int) -> None:
        super()._write_files(port)
        dags = self.home / "dags"
        dags.mkdir()
        source = (Path(__file__).parents[1] / "dags" / "recurring" / "cost_report.py").read_text(encoding="utf-8")
        (dags / "cost_report.py").write_text(source.replace("catchup=True", "catchup=False"), encoding="utf-8")
        config = self.home / "airflow.cfg"
        lines = config.read_text(encoding="utf-8").splitlines()
        changed = [f"dags_folder = {dags}" if line.startswith("dags_folder") else line for line in lines]
        # A busy SQLite makes its writers wait; five seconds, the default, are too few for 90 runs on two cores.
        changed = [
            line.partition("?")[0] + "?timeout=120" if line.startswith("sql_alchemy_conn") else line for line in changed
        ]
        config.write_text("\n".join(changed) + "\n", encoding="utf-8")

    def _migrate(self) -> None:
        # Created before the other components start: a SQLite that others write to refuses a long transaction at once
        # ("database is locked"), whatever its timeout is. The DAG is paused until all is up.
        super()._migrate()
        self._run("dags", "reserialize")
        begun = time.monotonic()
        first, last = self.days
        self._run(
            "backfill", "create", "--dag-id", "cost_report", "--from-date", str(first), "--to-date", str(last),
            "--max-active-runs", str(ACTIVE_RUNS),
        )  # fmt: skip
        self.create_seconds = time.monotonic() - begun

    def _run(self, *arguments: str) -> None:
        environment = {**os.environ, **self._environment()}
        done = subprocess.run(self._command(*arguments), env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(arguments)}: {(done.stdout + done.stderr)[-3000:]}")

    def backfill(self) -> tuple[float, dict[str, int]]:
        """Let the created runs run; seconds until all have ended, and how many ended how."""
        client = self.client()
        begun = time.monotonic()
        client.unpause("cost_report")
        wanted, states = (self.days[1] - self.days[0]).days + 1, dict[str, int]()
        while time.monotonic() - begun < TIMEOUT_SECONDS:
            states = {state: self._count(client, state) for state in ("success", "failed")}
            if sum(states.values()) >= wanted:
                break
            time.sleep(2)
        return time.monotonic() - begun, states

    def _count(self, client: Any, state: str) -> int:
        query = {"run_type": "backfill", "state": state, "limit": 1}
        return int(client.request("GET", "/dags/cost_report/dagRuns", params=query)["total_entries"])


def alone(table: CostTable, estate: Estate, days: list[dt.date]) -> float:
    """Seconds of the computations without Airflow."""
    begun = time.monotonic()
    for day in days:
        compute(table, estate, day)
    return time.monotonic() - begun


def through_airflow(folder: Path, days: list[dt.date]) -> dict[str, Any]:
    """The same days by `airflow backfill create`."""
    airflow = Private(folder, (days[0], days[-1]))
    airflow.start()
    try:
        seconds, states = airflow.backfill()
    finally:
        airflow.stop()
    return {
        "through_airflow_seconds": round(airflow.create_seconds + seconds, 1),
        "create_seconds": round(airflow.create_seconds, 1),
        "runs": states,
        "airflow_start_seconds": airflow.seconds,
    }


def measure() -> dict[str, object]:
    """Both ways over the same table."""
    days = [LAST - dt.timedelta(days=n) for n in range(DAYS - 1, -1, -1)]
    before = [days[0] - dt.timedelta(days=n) for n in range(59, 0, -1)]
    with tempfile.TemporaryDirectory(prefix="akidb-backfill-") as name:
        folder = Path(name)
        os.environ["AKIDB_ESTATE"] = str(estate_file(folder))
        os.environ["AIRFLOW_VAR_AKIDB_COSTS"] = str(folder / "costs")
        storage, estate = Folder(folder / "costs"), load_estate()
        table = CostTable(storage)
        rows = fill(table, estate, before + days)
        compute(table, estate, days[0])  # imports, and the contracts of the days before
        shutil.rmtree(storage.root / "reports")
        seconds_alone = alone(table, estate, days)
        wanted = digest(storage, days)
        shutil.rmtree(storage.root / "reports")
        airflow = through_airflow(folder / "lab", days)
        found = digest(storage, days)
    return {
        "machine": machine(),
        "load_average_at_end": os.getloadavg()[0],
        "days": DAYS,
        "rows": rows,
        "computations_alone_seconds": round(seconds_alone, 1),
        "seconds_a_day_alone": round(seconds_alone / DAYS, 2),
        **airflow,
        "share_of_the_computations": round(seconds_alone / airflow["through_airflow_seconds"], 3),
        "max_active_runs": ACTIVE_RUNS,
        "tasks_a_run": 4,
        "files": len(found),
        "same_bytes_both_ways": found == wanted,
        "different": sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))[:20],
    }


if __name__ == "__main__":
    result = measure()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cost_backfill.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    sys.exit(0 if result["same_bytes_both_ways"] else 1)
