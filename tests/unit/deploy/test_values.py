"""deploy/values.yaml: only keys that the chart has, no secret, least rights, and a rollout that keeps its code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.estate import load_estate

ROOT = Path(__file__).parents[3]
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "values.yaml").read_text())
KEYS = yaml.safe_load((Path(__file__).parent / "chart_keys.yaml").read_text())
PODS = ("dagProcessor", "scheduler", "apiServer", "triggerer", "workers")


def unknown(values: Any, known: Any, path: str = "") -> list[str]:
    """Paths of what the chart does not have."""
    if known == "any" or not isinstance(values, dict):
        return [] if not isinstance(known, dict) or values is None else [f"{path} is not a mapping"]
    if not isinstance(known, dict):
        return [f"{path} is a mapping"]
    strange = [f"{path}.{name}".lstrip(".") for name in values if name not in known]
    below = [unknown(values[name], known[name], f"{path}.{name}".lstrip(".")) for name in values if name in known]
    return strange + [one for found in below for one in found]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, f"{path}[{number}]")
    else:
        yield path, str(value)


def env(component: str) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in (*VALUES["env"], *VALUES[component].get("env", ()))}


def test_every_key_is_one_of_the_chart() -> None:
    assert unknown(VALUES, KEYS) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"scheduler": {"replica": 2}}, "scheduler.replica"),
        ({"executor": {"name": "x"}}, "executor is a mapping"),
        ({"scheduler": 2}, "scheduler is not a mapping"),
    ],
)
def test_a_misspelt_key_is_named(values: dict[str, Any], problem: str) -> None:
    assert unknown(values, KEYS) == [problem]


def test_no_value_looks_like_a_secret() -> None:
    secret = re.compile(r"(password|passwd|token|secret|private_key)$", re.IGNORECASE)
    assert [path for path, value in leaves(VALUES) if secret.search(path) and value not in {"True", "False"}] == []
    assert [path for path, value in leaves(VALUES) if re.search(r"://[^/@\s]+:[^/@\s]+@", value)] == []


def test_pods_meet_the_restricted_profile() -> None:
    assert VALUES["securityContexts"]["pod"] == {
        "runAsNonRoot": True,
        "runAsUser": 50000,
        "runAsGroup": 0,
        "fsGroup": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    least = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert VALUES["securityContexts"]["containers"] == least
    assert [one["securityContext"] for one in VALUES["apiServer"]["extraInitContainers"]] == [least]


def test_only_who_needs_a_token_of_the_cluster_has_one() -> None:
    with_token = {
        name
        for name, section in VALUES.items()
        if isinstance(section, dict) and section.get("serviceAccount", {}).get("automountServiceAccountToken")
    }
    assert with_token == {"scheduler", "apiServer"}
    assert all("serviceAccount" in VALUES[name] for name in (*PODS, "migrateDatabaseJob"))


def test_every_component_has_requests_and_a_limit_of_memory() -> None:
    for name in (*PODS, "migrateDatabaseJob"):
        resources = VALUES[name]["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}, name
        assert set(resources["limits"]) == {"memory"}, name


def test_two_schedulers_need_an_external_postgresql() -> None:
    assert VALUES["scheduler"]["replicas"] == 2
    assert (VALUES["postgresql"]["enabled"], VALUES["data"]) == (
        False,
        {"metadataSecretName": "akidb-airflow-metadata"},
    )


def test_the_bundle_is_the_repositorys_root_with_all_that_a_dag_imports() -> None:
    (bundle,) = VALUES["dagProcessor"]["dagBundleConfigList"]
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "deploy" / "Containerfile").read_text(), re.MULTILINE)
    assert bundle["classpath"] == "airflow.providers.git.bundles.git.GitDagBundle"
    assert "subdir" not in bundle["kwargs"]
    assert sorted(bundle["kwargs"]["sparse_dirs"]) == sorted(copied)
    assert VALUES["dags"]["gitSync"] == {"enabled": False}
    assert VALUES["config"]["core"]["rerun_with_latest_version"] == "False"


def test_tasks_take_the_code_of_their_bundle_and_never_that_of_the_image() -> None:
    for setting in ("PYTHONPATH", "AIRFLOW__CORE__PLUGINS_FOLDER"):
        assert {name for name in PODS if setting in env(name)} == {"apiServer", "triggerer"}


def test_the_four_places_of_records_are_variables_of_every_component() -> None:
    places = {name.removeprefix("AIRFLOW_VAR_").lower() for name in env("workers") if name.startswith("AIRFLOW_VAR_")}
    assert {"akidb_ledger", "akidb_costs", "akidb_traffic", "akidb_models"} <= places
    assert all(
        str(value).startswith("s3://akidb_storage@") for name, value in env("workers").items() if "_VAR_" in name
    )
    assert json.loads(env("apiServer")["AIRFLOW_CONN_AKIDB_STORAGE"])["conn_type"] == "aws"


def test_the_estates_approvers_can_log_in() -> None:
    users = dict(one.split(":") for one in VALUES["config"]["core"]["simple_auth_manager_users"].split(","))
    assert {name: users.get(name) for name in load_estate().governance.approvers} == dict.fromkeys(
        load_estate().governance.approvers, "user"
    )
    assert users["akidb-service"] == "viewer"
