"""Real Chromium on a small live Airflow: a real lever, its rollback and the page, with S3 in memory in place of AWS.

``make ci-long`` runs these and skips nothing. With ``AKIDB_UI`` (an address) and ``AKIDB_UI_PASSWORD`` set, those of
``test_running.py`` look at an Airflow that is up already, such as a rehearsal's.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from include.estate import ESTATE_FILE, load_estate
from lab import world
from lab.cloud import moto_s3
from lab.cloud.storage import seed_models
from tests.browser.person import Person, browser_problem, chromium
from tests.live_airflow import LiveAirflow, live_airflow, skip_or_fail, until

# It needs a running Airflow: without one there is nothing to skip.
collect_ignore = [] if os.environ.get("AKIDB_UI") else ["test_running.py"]
DAGS = ("rollout/storage_tiering.py", "operations/rollback.py")
WINDOWS = {"soak_seconds": 3, "gate_window_seconds": 1, "approval_timeout_seconds": 600}


@dataclass(frozen=True)
class Stage:
    """A live Airflow, the S3 that its lever changes, and the bucket."""

    airflow: LiveAirflow
    s3: Any
    bucket: str

    def rules(self) -> list[dict[str, Any]]:
        """The lifecycle rules of the models' bucket, as S3 tells them."""
        found: list[dict[str, Any]] = self.s3.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
        return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A slow machine takes minutes for what a person sees in one."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def _browser_is_there() -> None:
    skip_or_fail(browser_problem())


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[str, Any]]:
    """An S3 with the models of one region, and its address."""
    moto_s3.as_aws()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{server._server.server_port}"  # type: ignore[union-attr]
    key = {"aws_access_key_id": "lab", "aws_secret_access_key": "lab", "region_name": "us-east-1"}
    yield address, boto3.client("s3", endpoint_url=address, **key)
    server.stop()


def short_windows(folder: Path) -> Path:
    """The estate with its change window open and short windows; everything else is as it is."""
    raw = yaml.safe_load(ESTATE_FILE.read_text())
    raw["windows"] |= WINDOWS
    raw["governance"]["freeze_days"] = []
    raw["governance"]["change_window"] = {"weekdays": list(range(7)), "from_hour": 0, "to_hour": 24}
    (folder / "estate.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return folder / "estate.yaml"


def copied_dags(folder: Path) -> None:
    for name in DAGS:
        shutil.copy(world.REPOSITORY / "dags" / name, folder)


@pytest.fixture(scope="session")
def stage(s3: tuple[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    address, client = s3
    estate, kept = load_estate(), tmp_path_factory.mktemp("kept")
    seed_models(client, estate.slice("us-east-1"), dt.datetime.now(dt.UTC))
    aws = {"conn_type": "aws", "login": "lab", "password": "lab", "extra": {"endpoint_url": address}}
    environment = {
        "AKIDB_ESTATE": str(short_windows(kept)),
        f"AIRFLOW_CONN_{estate.global_aws().upper()}": json.dumps(aws),
        "AIRFLOW_VAR_AKIDB_LEDGER": str(kept / "ledger"),
        "AIRFLOW_VAR_AKIDB_MODELS": f"s3://{estate.global_aws()}@{estate.edge.models.bucket}/traffic-predictor",
        "AIRFLOW_VAR_AKIDB_COSTS": str(kept / "costs"),
    }
    database = os.environ.get("DATABASE") or "sqlite"
    with live_airflow(copied_dags, environment, database) as airflow:
        api = airflow.client()
        until(lambda: {"storage_tiering", "rollback"} <= api.dag_ids(), "the DAGs being parsed", airflow)
        for dag in ("storage_tiering", "rollback"):
            api.unpause(dag)
        yield Stage(airflow, client, estate.edge.models.bucket)


@pytest.fixture
def lead(stage: Stage) -> Iterator[Person]:
    """The platform lead, logged in."""
    with chromium(stage.airflow.url, stage.airflow.stretch) as person:
        person.log_in("platform-lead", stage.airflow.passwords["platform-lead"])
        yield person
