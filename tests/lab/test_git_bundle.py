"""A resumed run of a git bundle runs the code that began it, `include` too; a new run takes the newest. No lab."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import world
from tests.live_airflow import ISOLATED, LiveAirflow, live_airflow, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

DAG = """
from airflow.sdk import dag, task
from include.version import VERSION


@task(retries=0)
def tell(flag: str) -> str:
    from pathlib import Path

    from include.told import TOLD

    if not Path(flag).exists():
        raise RuntimeError("not yet")
    return f"{VERSION} {TOLD}"


@dag(schedule=None)
def resumed():
    tell(%r)


resumed()
"""


class Repository:
    """A git repository whose root is the bundle, as in production: dags/, include/ and .airflowignore."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "dags").mkdir(parents=True)
        (folder / "include").mkdir()
        (folder / ".airflowignore").write_text((world.REPOSITORY / ".airflowignore").read_text())
        (folder / "include" / "__init__.py").write_text("")
        (folder / "dags" / "resumed.py").write_text(DAG % str(folder / "flag"))
        self.git("init", "--quiet", "--initial-branch=main")
        self.version("one")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", str(self.folder), *who, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def version(self, text: str) -> str:
        """Commit another version of what the DAG imports, at its top and inside its task; returns the commit."""
        (self.folder / "include" / "version.py").write_text(f"VERSION = {text!r}\n")
        (self.folder / "include" / "told.py").write_text(f"TOLD = {text!r}\n")
        self.git("add", "--all", ".")
        self.git("commit", "--quiet", "--message", text)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def airflow(repository: Repository, tmp_path: Path) -> Iterator[LiveAirflow]:
    bundle = {
        "name": "akidb",
        "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
        "kwargs": {
            "repo_url": str(repository.folder),
            "tracking_ref": "main",
            "sparse_dirs": ["dags", "include"],
            "refresh_interval": 2,
        },
    }
    settings = {"dag_processor": {
        "dag_bundle_config_list": json.dumps([bundle]),
        "dag_bundle_storage_path": str(tmp_path / "bundles"),
        "bundle_refresh_check_interval": "1",
    }}  # fmt: skip
    # The project's own `include` must not be found before the bundle's: Airflow appends the bundle to sys.path.
    alone = {"PYTHONPATH": str(tmp_path), ISOLATED: "1"}
    with live_airflow(lambda _: None, alone, settings=settings) as started:
        yield started


def bundle_version(airflow: LiveAirflow) -> str:
    client = airflow.client()
    if errors := client.import_errors():
        pytest.fail(errors[0]["stack_trace"])
    return client.request("GET", "/dags/resumed")["bundle_version"] if "resumed" in client.dag_ids() else ""


def ended(airflow: LiveAirflow, run_id: str, state: str) -> str:
    """What the run's task returned, once the run has ended in ``state``."""
    client = airflow.client()
    until(lambda: client.run_state("resumed", run_id) == state, f"{run_id} being {state}", airflow)
    return str(client.xcom("resumed", run_id, "tell")) if state == "success" else ""


def test_a_resumed_run_runs_the_code_that_began_it(airflow: LiveAirflow, repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    until(lambda: bundle_version(airflow) == first, "the first version being parsed", airflow)
    client = airflow.client()
    client.unpause("resumed")
    client.trigger("resumed", "begun", {})
    ended(airflow, "begun", "failed")
    second = repository.version("two")
    until(lambda: bundle_version(airflow) == second, "the second version being parsed", airflow)
    (repository.folder / "flag").touch()
    client.request("POST", "/dags/resumed/clearTaskInstances", json={"dag_run_id": "begun", "dry_run": False})
    client.trigger("resumed", "new", {})
    assert ended(airflow, "begun", "success") == "one one"
    assert ended(airflow, "new", "success") == "two two"
