"""deploy/values.yaml in the official chart: rendered by the real helm, tried on a real API server without a write.

The chart is not part of this project and can't be had everywhere: ``AKIDB_AIRFLOW_CHART`` names its .tgz or folder, as
``helm pull apache-airflow/airflow`` leaves it. Where it is not set the two tests are skipped, and what is known of the
values rests on ``tests/unit/deploy``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lab import world as worlds
from lab.machine.programs import find
from tests.lab.conftest import REGION

VALUES = worlds.REPOSITORY / "deploy" / "values.yaml"
CACHED_HELM = Path("~/.cache/akidb/helm/helm").expanduser()
NO_CHART = "the official chart is not here: set AKIDB_AIRFLOW_CHART to what `helm pull apache-airflow/airflow` leaves"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart's folder."""
    named = os.environ.get("AKIDB_AIRFLOW_CHART")
    if not named:
        pytest.skip(NO_CHART)
    if Path(named).is_dir():
        return Path(named)
    shutil.unpack_archive(named, folder := tmp_path_factory.mktemp("chart"), "gztar")
    return folder / "airflow"


@pytest.fixture(scope="module")
def rendered(chart: Path) -> list[dict[str, Any]]:
    """Every object that the chart makes of the values."""
    found = shutil.which("helm") or (str(CACHED_HELM) if CACHED_HELM.exists() else "")
    if not found:
        pytest.skip("helm is not here: `go install helm.sh/helm/v3/cmd/helm@v3.22.0`")
    command = [found, "template", "airflow", str(chart), "--namespace", "airflow", "--values", str(VALUES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def test_the_values_pass_the_charts_own_schema(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    values = yaml.safe_load(VALUES.read_text())
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(values)] == []
    assert sorted(set(values) - set(defaults)) == []


def test_an_api_server_accepts_what_the_chart_makes_of_them(
    rendered: list[dict[str, Any]], world: worlds.LabWorld, tmp_path: Path
) -> None:
    schedulers = [
        one for one in rendered if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("scheduler")
    ]
    assert [one["spec"]["replicas"] for one in schedulers] == [2]
    kubectl = [str(find("kubectl")), "--kubeconfig", world.state["regions"][REGION]["kubeconfig"]]
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    subprocess.run([*kubectl, "create", "namespace", "airflow"], check=True)
    subprocess.run([*kubectl, "label", "namespace", "airflow", restricted], check=True)
    objects = tmp_path / "objects.yaml"
    objects.write_text(yaml.safe_dump_all(rendered))
    tried = [*kubectl, "apply", "--dry-run=server", "--namespace", "airflow", "--filename", str(objects)]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "would violate PodSecurity" in line]) == (
        0,
        [],
    )
