"""The exported files as the tools read that they are for: kustomize and Terraform, where these are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.rollout.export import Export, export_of, files
from tests.conformance.levers.scenes import SCENES, Scene

needs_kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl, which has kustomize, is not installed")
needs_terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")
Make = Callable[[str], tuple[Scene, Export]]


@pytest.fixture
def exported(tmp_path: Path) -> Iterator[Make]:
    """A lever's scene and its export, whose files lie in ``tmp_path/export``."""
    made: list[Scene] = []

    def make(lever: str) -> tuple[Scene, Export]:
        scene = SCENES[lever](tmp_path / "scene")
        made.append(scene)
        plan = scene.lever.plan(scene.target)
        export = export_of(scene.lever, scene.target, plan)
        folder = tmp_path / "export"
        folder.mkdir()
        for name, data in files(export, lever, plan.place, getattr(scene.lever, "manager", "")).items():
            (folder / name).write_bytes(data)
        return scene, export

    yield make
    for scene in made:
        scene.close()


@needs_kubectl
def test_kustomize_adds_the_objects_and_patches_what_the_application_has(exported: Make, tmp_path: Path) -> None:
    scene, export = exported("spot_capacity")
    cluster: Any = scene.target.clients.kubernetes
    base = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": thing["spec"],
         "metadata": {key: thing["metadata"][key] for key in ("name", "namespace")}}
        for (kind, _, name), thing in cluster.objects.items()
        if kind == "Deployment" and name in scene.target.estate.workloads
    ]  # fmt: skip
    (tmp_path / "base.yaml").write_text(yaml.safe_dump_all(base))
    (tmp_path / "kustomization.yaml").write_text("resources: [base.yaml]\ncomponents: [export]\n")
    built = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], check=True, capture_output=True, text=True, timeout=60
    )
    found = {(body["kind"], body["metadata"]["name"]): body for body in yaml.safe_load_all(built.stdout)}
    assert {key for key in found if key[0] != "Deployment"} == {
        ("EC2NodeClass", "akidb"), ("NodePool", "akidb-spot"), ("NodePool", "akidb-on-demand")
    }  # fmt: skip
    for patch in export.patches:
        wanted, spec = patch["spec"]["template"]["spec"], found["Deployment", patch["metadata"]["name"]]["spec"]
        assert spec["template"]["spec"]["tolerations"] == wanted["tolerations"]
        constraints = spec["template"]["spec"]["topologySpreadConstraints"]
        assert sorted(constraints, key=str) == sorted(wanted["topologySpreadConstraints"], key=str)
        assert spec["template"]["spec"]["containers"]


@needs_terraform
@pytest.mark.parametrize("lever", ["spot_capacity", "dns_health_checks", "storage_tiering", "lambda_edge"])
def test_terraform_reads_the_resources_and_their_imports(exported: Make, tmp_path: Path, lever: str) -> None:
    exported(lever)
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
    read = subprocess.run(
        ["terraform", "providers"], cwd=tmp_path / "export", env=environment, capture_output=True, text=True, timeout=60
    )
    assert read.returncode == 0, read.stderr
    assert "hashicorp/aws" in read.stdout
