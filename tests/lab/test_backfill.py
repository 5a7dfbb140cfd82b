"""Backfills of the cost report beside two live schedulers on PostgreSQL: every day is published, and nobody waits.

On SQLite the same ends in "database is locked" now and then: it has one writer. No lab is needed.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import pytest
from moto.server import ThreadedMotoServer

from include.clients.storage import Folder
from include.cost.report.revisions import pointer
from include.estate import load_estate
from lab import world
from tests.live_airflow import EmptyPrometheus, LiveAirflow, live_airflow, needs_postgresql, until
from tests.unit.cost.sources.test_refresh import export_of

FIRST, LAST = dt.date(2026, 11, 5), dt.date(2026, 11, 18)
DAYS = [FIRST + dt.timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
BUCKET, KEY = "akidb-billing", "exports/akidb-focus/data/BILLING_PERIOD=2026-11/part.csv"
BAD_NEWS = ("database is locked", "OperationalError", "DeadlockDetected", "deadlock detected", "IntegrityError")

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def without_catchup(folder: Path) -> None:
    """The DAG as it is, but for the runs that it would start by itself for every day since its first one."""
    source = (world.REPOSITORY / "dags" / "recurring" / "cost_report.py").read_text()
    assert source.count("catchup=True") == 1
    (folder / "cost_report.py").write_text(source.replace("catchup=True", "catchup=False"))


@pytest.fixture
def bill() -> Iterator[str]:
    """Address of an S3 whose bucket holds the bill of all days."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = f"http://127.0.0.1:{server._server.server_port}"  # type: ignore[union-attr]
    keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "lab", "endpoint_url": address}
    s3 = boto3.client("s3", region_name="us-east-1", **keys)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=export_of(DAYS))
    yield address
    server.stop()


@pytest.fixture
def airflow(bill: str, tmp_path: Path) -> Iterator[LiveAirflow]:
    needs_postgresql()
    aws = {"conn_type": "aws", "login": "lab", "password": "lab", "extra": {"endpoint_url": bill}}
    with EmptyPrometheus() as prometheus:
        environment = {
            "AIRFLOW_VAR_AKIDB_COSTS": str(tmp_path),
            "AIRFLOW_CONN_AWS_US_EAST_1": json.dumps(aws),
            **{
                f"AIRFLOW_CONN_{region.connections.prometheus.upper()}": prometheus.connection()
                for region in load_estate().regions.values()
            },
        }
        with live_airflow(without_catchup, environment, database="postgresql") as started:
            client = started.client()
            until(lambda: "cost_report" in client.dag_ids(), "cost_report being parsed", started)
            client.unpause("cost_report")
            yield started


def backfill(airflow: LiveAirflow, behaviour: str) -> None:
    """Start a backfill as a person does; it returns as soon as its runs are queued."""
    span = ["--from-date", FIRST.isoformat(), "--to-date", LAST.isoformat(), "--max-active-runs", "4"]
    command = airflow._command(
        "backfill", "create", "--dag-id", "cost_report", *span, "--reprocess-behavior", behaviour
    )
    done = subprocess.run(command, env={**os.environ, **airflow._environment()}, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-2000:]


def over(airflow: LiveAirflow) -> bool:
    """Whether the schedulers have ended every backfill: Airflow refuses a second one of a DAG while one is running."""
    found = airflow.client().request("GET", "/backfills", params={"dag_id": "cost_report"})["backfills"]
    return all(one["completed_at"] for one in found)


def states(airflow: LiveAirflow) -> Counter[str]:
    runs = airflow.client().request("GET", "/dags/cost_report/dagRuns", params={"run_type": "backfill", "limit": 100})
    return Counter(run["state"] for run in runs["dag_runs"])


def rows(airflow: LiveAirflow, query: str) -> list[tuple[Any, ...]]:
    """What the metadata database answers; only a test may look into it."""
    config = (airflow.home / "airflow.cfg").read_text()
    address = next(line for line in config.splitlines() if line.startswith("sql_alchemy_conn")).partition(" = ")[2]
    connection = psycopg2.connect(address.replace("+psycopg2", ""))
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        return cursor.fetchall()
    finally:
        connection.close()


ALIVE = "SELECT id FROM job WHERE job_type = 'SchedulerJob' AND state = 'running'"
QUEUED = "SELECT queued_by_job_id, count(*) FROM task_instance WHERE dag_id = 'cost_report' GROUP BY 1"


def test_two_backfills_beside_two_schedulers_publish_every_day(airflow: LiveAirflow, tmp_path: Path) -> None:
    until(lambda: len(rows(airflow, ALIVE)) == 2, "two schedulers running", airflow)
    for behaviour in ("none", "completed"):
        backfill(airflow, behaviour)
        until(lambda: over(airflow), "the end of the backfill", airflow, 600)
        assert states(airflow) == {"success": len(DAYS)}
    costs = Folder(tmp_path)
    assert [day for day in DAYS if not pointer(costs, day).current] == []
    assert {job for job, _ in rows(airflow, QUEUED) if job} == {job for (job,) in rows(airflow, ALIVE)}
    logs = {path.name: path.read_text(errors="replace") for path in airflow.processes.logs.glob("*.log")}
    assert {"scheduler.log", "scheduler-2.log"} <= set(logs)
    assert [(name, words) for name, text in logs.items() for words in BAD_NEWS if words in text] == []
