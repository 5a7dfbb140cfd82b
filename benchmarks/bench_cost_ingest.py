"""How fast exports become the cost table: ``nice python -m benchmarks.bench_cost_ingest`` (50 M rows are slow).

First the real CUR of the shared data against a bare DuckDB COPY of the same rows, alternating, medians of three. Then
generated rows of the same shape, each count in a process of its own: seconds a row and peak memory. ``ROWS=1000000``
sets other counts. Writes benchmarks/results/cost_ingest.json. Limits of the issue: 5 s, 4 x, 2 GiB, ratio 1.2.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet  # noqa: F401 - the limits count from after the imports

from benchmarks.bench_lab_boot import machine
from include.cost.sources.exports import SourceFile, collect
from include.cost.sources.exports.normalise import normalised, prepare
from include.cost.sources.exports.source import open_source
from include.cost.table.columns import COLUMNS
from include.cost.table.components import component_sql
from include.estate import load_estate

RESULTS = Path(__file__).parent / "results"
CUR = Path(__file__).parents[1] / "../shared/data/billing/aws_cur_2018q4.parquet"
TIMES = 3
COUNTS = (1_000_000, 50_000_000)
UNITS = {"microseconds": "seconds", "cpu_microseconds": "cpu_seconds"}
RECEIVED = dt.datetime(2019, 1, 5, tzinfo=dt.UTC)


def source(path: Path) -> SourceFile:
    return SourceFile(path.name, path, RECEIVED)


def ingest(path: Path) -> dict[str, Any]:
    """Normalise, check, allocate, write partitions, and sum up by day and component from what was written."""
    estate = load_estate()
    with tempfile.TemporaryDirectory() as folder:
        begun, used = time.perf_counter(), time.process_time()
        made = collect([source(path)], estate, None, Path(folder))
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'; SET threads = 2; SET memory_limit = '500MB'")
            summary = connection.execute(
                f"SELECT CAST(ChargePeriodStart AS DATE) AS day, {component_sql(estate)} AS component, sum(BilledCost) "
                f"FROM (SELECT *, 'aws' AS source FROM read_parquet('{folder}/2*.parquet')) GROUP BY ALL"
            ).fetchall()
        seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    return {
        "seconds": seconds,
        "cpu_seconds": round(cpu, 2),
        "rows": made.rows,
        "rows_set_aside": made.rows_set_aside,
        "days": len(made.facts),
        "billed_usd": str(made.billed_usd),
        "summary_usd": str(sum(row[2] for row in summary)),
        "peak_rss_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def bare_copy(path: Path) -> float:
    """Seconds of a COPY that projects the same columns to one file: nothing checked, ordered, summed or split."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
        begun = time.perf_counter()
        prepare(connection)
        query = normalised(open_source(connection, source(path)), 0, "USD", None)
        columns = ", ".join(f'"{name}"' for name in COLUMNS)
        connection.execute(
            f"COPY (SELECT {columns} FROM ({query})) TO '{folder}/bare.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )
        return time.perf_counter() - begun


def real() -> dict[str, Any]:
    if not CUR.exists():
        return {"skipped": "the shared billing data is not there (../shared/data/billing)"}
    runs, bare = [], []
    for _ in range(TIMES):
        bare.append(bare_copy(CUR))
        runs.append(ingest(CUR))
    with duckdb.connect() as connection:
        sql = f"SELECT round(sum(CAST(line_item_unblended_cost AS DECIMAL(28, 12))), 2) FROM '{CUR}'"
        (expected,) = connection.execute(sql).fetchone()
    seconds = statistics.median(run["seconds"] for run in runs)
    return {
        "rows": runs[0]["rows"],
        "rows_set_aside": runs[0]["rows_set_aside"],
        "billed_usd": runs[0]["billed_usd"],
        "source_usd": str(expected),
        "summary_usd": runs[0]["summary_usd"],
        "seconds": round(seconds, 2),
        "bare_copy_seconds": round(statistics.median(bare), 2),
        "ratio": round(seconds / statistics.median(bare), 2),
        "runs": [round(run["seconds"], 2) for run in runs],
        "bare_runs": [round(value, 2) for value in bare],
    }


def generate(path: Path, rows: int) -> None:
    """So many lines in the shape of the real CUR, in no order of time: 92 days, ten services, tags and reservations."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 2; SET memory_limit = '2GB'")
        connection.execute(
            f"""COPY (SELECT
            date_trunc('month', moment) AS bill_billing_period_start_date,
            CASE WHEN h % 7 = 0 THEN '011254002932' ELSE '836060457634' END AS line_item_usage_account_id,
            CASE WHEN h % 15 = 0 THEN 'DiscountedUsage' ELSE 'Usage' END AS line_item_line_item_type,
            moment AS line_item_usage_start_date, moment + INTERVAL 1 HOUR AS line_item_usage_end_date,
            ['AmazonEC2', 'AmazonS3', 'AmazonGuardDuty', 'AWSCloudTrail', 'AmazonRDS', 'AWSGlue', 'AmazonSNS',
             'AmazonCloudWatch', 'AmazonQuickSight', 'AWSEvents'][h % 10 + 1] AS line_item_product_code,
            CASE WHEN h % 10 = 0 THEN ['BoxUsage', 'SpotUsage'][h % 2 + 1] || ':t2.micro'
                 ELSE 'Requests-Tier' || (h % 200) END AS line_item_usage_type,
            'Operation' || (h % 80) AS line_item_operation,
            CASE WHEN h % 3 = 0 THEN 'us-east-1' || chr(CAST(97 + h % 6 AS INTEGER)) ELSE '' END
              AS line_item_availability_zone,
            'i-' || (h % 1100) AS line_item_resource_id,
            (h % 57264) / 1000.0 AS line_item_usage_amount,
            (h % 12000) / 100000.0 AS line_item_unblended_rate,
            (h % 55800) / 1000000.0 AS line_item_unblended_cost,
            (h % 55800) / 1000000.0 AS line_item_blended_cost,
            CASE WHEN h % 10 = 0 THEN 't2.micro' ELSE '' END AS product_instance_type,
            '' AS product_instance_family, '' AS product_vcpu, '' AS product_memory,
            'us-east-1' AS product_region, '' AS product_operating_system,
            CASE WHEN h % 15 = 0 THEN 'Reserved' ELSE 'OnDemand' END AS pricing_term, 'Hrs' AS pricing_unit,
            (h % 209232) / 100000.0 AS pricing_public_on_demand_cost,
            (h % 12000) / 100000.0 AS pricing_public_on_demand_rate,
            CASE WHEN h % 15 = 0 THEN (h % 150) / 10000.0 ELSE 0 END AS reservation_effective_cost,
            CASE WHEN h % 15 = 0 THEN 'arn:aws:ec2:us-east-1:1:reserved-instances/r' || (h % 10) ELSE '' END
              AS reservation_reservation_a_r_n,
            CASE WHEN h % 4 = 0 THEN 'group ' || (h % 4) ELSE '' END AS resource_tags_aws_autoscaling_group_name,
            'Cost00' || (h % 6) AS resource_tags_user_cost_center, 'Sales' || (h % 6) AS resource_tags_user_department,
            'line-' || i AS identity_line_item_id
            FROM (SELECT i, CAST(hash(i) >> 1 AS BIGINT) AS h,
                  TIMESTAMPTZ '2018-10-01 00:00:00+00' + to_hours(CAST(hash(i + {rows}) % 2208 AS BIGINT)) AS moment
                  FROM range({rows}) AS r (i))) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"""
        )


def in_a_process(path: Path) -> dict[str, Any]:
    """The same work in a fresh process, whose peak memory is that of this work."""
    command = [sys.executable, "-m", "benchmarks.bench_cost_ingest", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def generated(counts: list[int]) -> list[dict[str, Any]]:
    found = []
    for rows in counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "generated.parquet"
            generate(path, rows)
            size = path.stat().st_size
            # Small counts several times: their share of fixed costs and noise would hide a slope.
            runs = [in_a_process(path) for _ in range(TIMES if rows <= COUNTS[0] else 1)]
            run = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
        run["seconds"] = round(run["seconds"], 2)
        each = {f"{name}_a_row": round(run[key] / rows * 1e6, 2) for name, key in UNITS.items()}
        found.append(run | each | {"source_bytes": size})
        print(json.dumps(found[-1]), flush=True)
    return found


def measure() -> dict[str, Any]:
    counts = [int(count) for count in os.environ.get("ROWS", "").split()] or list(COUNTS)
    result: dict[str, Any] = {"machine": machine(), "real": real()}
    print(json.dumps(result["real"]), flush=True)
    result["generated"] = generated(counts)
    if len(result["generated"]) > 1:
        first, *_, last = result["generated"]
        # Processor time beside it: it shows the slope on a machine that does other work as well.
        for name in UNITS:
            result[f"{name}_a_row_ratio"] = round(last[f"{name}_a_row"] / first[f"{name}_a_row"], 2)
    return result


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(ingest(Path(sys.argv[1]))))
    else:
        measured = measure()
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "cost_ingest.json").write_text(json.dumps(measured, indent=1) + "\n")
        print(json.dumps(measured, indent=1))
